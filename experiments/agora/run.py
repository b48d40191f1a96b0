"""Agora against its rivals and controls on sentiment, with equal fits and equal steps for all.

    python experiments/agora/fetch.py runs/sentiment
    fsp distill D=2 A=4 H=128 I=512 --out runs/student --tokens 262144
    python experiments/agora/run.py runs/sentiment/movies.csv runs/student --rows 300 --seeds 18

The name of the data's file is the task. Appends to results.csv beside this file, one row a condition, and resumes where
it was: finished rows are not made again, and finished fits are kept in cache/. Two processes share the seeds:
--worker 0 --workers 2 and --worker 1 --workers 2.
"""

import argparse
import csv
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from fsp import load_space
from fsp.distillation import packaged_teacher
from fsp.finetuning.algorithm import Budget, Outcome, Request, agora, leader
from fsp.finetuning.classifier import Classifier
from fsp.finetuning.examples import Data, Example
from fsp.finetuning.expansion import Expansion
from fsp.finetuning.fits import Fits, StoredTrainer
from fsp.finetuning.generators import Edits, Synonyms
from fsp.finetuning.labellers import judge, load_labeller
from fsp.finetuning.pruning import lcs_keep
from fsp.finetuning.refitting import refit
from fsp.finetuning.results import request_of
from fsp.finetuning.rivals import grid_search, random_sets
from fsp.finetuning.theta import SMALL

HERE = Path(__file__).parent
STEPS, POINTS, DEV, TEST = 150, 2, 300, 2000
COLUMNS = ["task", "rows", "seed", "condition", "test", "dev", "fits", "added", "as_source"]
PLAIN = SMALL[3]  # the middle learning rate, batch 16


def load(path: Path, rows: int, seed: int) -> tuple[Data, tuple[Example, ...]]:
    """The last rows of the file are the test set, the same for all seeds; the others are drawn from the rest.

    Returns train, dev and test, and as many rows as dev has that nothing is made of: a fair judge of which fit is best.
    """
    table = pd.read_csv(path)
    labels = tuple(sorted(table["label"].unique()))
    examples = [
        Example((text,), labels.index(label)) for text, label in zip(table["text"], table["label"], strict=True)
    ]
    drawn = np.random.default_rng(seed).permutation(len(examples) - TEST)
    train, dev, apart = (
        tuple(examples[i] for i in part) for part in np.split(drawn, [rows, rows + DEV, rows + 2 * DEV])[:3]
    )
    return Data(labels, train, dev, tuple(examples[-TEST:]), "test"), apart


@dataclass
class Judged(StoredTrainer):
    """Also notes how good each fit is on the rows apart."""

    apart: tuple[Example, ...] = ()

    def accuracy_apart(self, request: Request[Example]) -> float:
        """The share of the rows apart that a finished fit gets right."""
        note = self._note(request)
        if not note.exists():
            self._fitted(request)
        return float(note.read_text())

    def _fitted(self, request):
        model = super()._fitted(request)
        self._note(request).write_text(str(accuracy(self.classifier, model, self.apart)))
        return model

    def _note(self, request: Request[Example]) -> Path:
        return self.folder / f"{self.key(request)}.apart"


def accuracy(classifier: Classifier, model, rows: tuple[Example, ...]) -> float:
    """The share of rows that a model gets right."""
    guesses = classifier.predict(model, rows)
    return float(np.mean([guess == one.label for guess, one in zip(guesses, rows, strict=True)]))


class Gold:
    """The same points, with the label of the row that each was made of instead of the labeller's."""

    def __init__(self, expand: Expansion):
        self.expand = expand

    def __call__(self, mistakes, number):
        """Return the points of the mistakes, rightly labelled as far as the edits keep the label."""
        dev = self.expand.data.dev
        return [Example(one.fields, dev[one.source].label, None, one.source) for one in self.expand(mistakes, number)]


def measure(
    data: Data, apart: tuple[Example, ...], model: str, encoder: str, seed: int, folder: Path, wanted: set[str]
):
    """Yield a row for each condition; its last figure is the share of points labelled as the row they were made of."""
    classifier = Classifier(model, data.labels)
    fixed = {"data": data.digest, "model": classifier.fingerprint, "steps": STEPS, "seed": seed}
    fits = Fits(folder / "fits.journal", fixed)
    trainer = Judged(classifier, data, STEPS, seed, fits, folder / "weights", apart=apart)
    trainer.folder.mkdir(parents=True, exist_ok=True)
    probe = load_labeller(f"probe:{encoder}", data.train, data.labels)
    synonyms = Synonyms(classifier.embedding_table, classifier.tokenizer)

    def expansion(labeller=probe, **more) -> Expansion:
        return Expansion(data, Edits(synonyms, POINTS), labeller, seed, **more)

    def on_test(request: Request) -> float:
        return accuracy(classifier, trainer.weights(request), data.final)

    def of(outcome: Outcome):
        request = request_of(outcome.best, outcome)
        added = [point for one in outcome.rounds for point in one.added]
        same = np.mean([one.label == data.dev[one.source].label for one in added]) if added else None
        return on_test(request), outcome.best.fit.accuracy, len(outcome.fits), len(request.added), same

    def chosen_apart(outcome: Outcome):
        best = max(outcome.fits, key=lambda one: trainer.accuracy_apart(request_of(one, outcome)))
        return of(replace(outcome, best=best))

    def refit_with_dev(outcome: Outcome):
        request, attempts = refit(trainer, outcome)
        points = sum(point.source is not None for point in request.added)
        return on_test(request), None, count + attempts, points, None

    own = agora(SMALL, trainer, expansion(), lcs_keep)
    count = len(own.fits)
    budget = Budget(fits=count)
    if "agora" in wanted:
        yield ("agora", *of(own))
    if "first round" in wanted:
        first = leader(own.rounds[0].tried)
        yield "first round", on_test(Request(first.theta)), first.fit.accuracy, len(SMALL), 0, None
    if "agora, chosen on rows apart" in wanted:
        yield ("agora, chosen on rows apart", *chosen_apart(own))
    if "agora, refit with dev" in wanted:
        yield ("agora, refit with dev", *refit_with_dev(own))
    if "plain" in wanted:
        yield "plain", on_test(Request(PLAIN)), None, 1, 0, None
    grid = grid_search(SMALL, trainer, budget=budget)
    if "grid" in wanted:
        yield ("grid", *of(grid))
    if "grid, refit on train + dev" in wanted:
        yield ("grid, refit on train + dev", *refit_with_dev(grid))
    if "grid, chosen on rows apart" in wanted:
        yield ("grid, chosen on rows apart", *chosen_apart(grid))
    if "random search" in wanted:
        yield ("random search", *of(grid_search(random_sets(SMALL, count, seed), trainer, budget=budget)))
    if "pseudo-labels on random rows" in wanted:
        hard = agora(SMALL, trainer, expansion(of="random"), lcs_keep, budget=budget)
        yield ("pseudo-labels on random rows", *of(hard))
    if "gold labels" in wanted:
        yield ("gold labels", *of(agora(SMALL, trainer, Gold(expansion()), lcs_keep, budget=budget)))
    if "soft labels" in wanted:
        yield ("soft labels", *of(agora(SMALL, trainer, expansion(soft=True), lcs_keep, budget=budget)))
    if any(name.startswith("soft labels on random rows") for name in wanted):
        soft = agora(SMALL, trainer, expansion(of="random", soft=True), lcs_keep, budget=budget)
        if "soft labels on random rows" in wanted:
            yield ("soft labels on random rows", *of(soft))
        if "soft labels on random rows, refit with dev" in wanted:
            yield ("soft labels on random rows, refit with dev", *refit_with_dev(soft))
    tfidf = load_labeller("tfidf", data.train, data.labels)
    if "tf-idf as labeller" in wanted:
        yield ("tf-idf as labeller", *of(agora(SMALL, trainer, expansion(tfidf), lcs_keep, budget=budget)))
    if "tf-idf as labeller, soft labels" in wanted:
        soft = agora(SMALL, trainer, expansion(tfidf, soft=True), lcs_keep, budget=budget)
        yield ("tf-idf as labeller, soft labels", *of(soft))
    if "labeller" in wanted:
        yield "labeller", judge(probe, data.final).accuracy, judge(probe, data.dev).accuracy, 0, 0, None
    if "tf-idf" in wanted:
        yield "tf-idf", judge(tfidf, data.final).accuracy, judge(tfidf, data.dev).accuracy, 0, 0, None


CONDITIONS = [
    *("agora", "first round", "agora, chosen on rows apart", "agora, refit with dev"),
    *("plain", "grid", "grid, refit on train + dev", "grid, chosen on rows apart", "random search"),
    *("pseudo-labels on random rows", "gold labels", "soft labels"),
    *("soft labels on random rows", "soft labels on random rows, refit with dev"),
    *("tf-idf as labeller", "tf-idf as labeller, soft labels", "labeller", "tf-idf"),
]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("model")
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--seeds", type=int, default=18)
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=CONDITIONS)
    parser.add_argument("--worker", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    encoder = str(packaged_teacher(load_space("minilm").teacher))
    path, task = HERE / "results.csv", arguments.data.stem
    if not path.exists():
        path.write_text(",".join(COLUMNS) + "\n")
    for rows in arguments.rows:
        for seed in range(arguments.worker, arguments.seeds, arguments.workers):
            table = pd.read_csv(path)
            of_seed = (table["task"] == task) & (table["rows"] == rows) & (table["seed"] == seed)
            done = set(table[of_seed]["condition"])
            wanted = set(arguments.conditions) - done
            if not wanted:
                continue
            folder = HERE / "cache" / f"{task}-{rows}-{seed}"
            for condition, *figures in measure(
                *load(arguments.data, rows, seed), arguments.model, encoder, seed, folder, wanted
            ):
                cells = ["" if one is None else f"{one:.4f}" if isinstance(one, float) else one for one in figures]
                with path.open("a", newline="") as file:
                    csv.writer(file).writerow([task, rows, seed, condition, *cells])
                print(task, rows, seed, condition, *cells, flush=True)
            shutil.rmtree(folder / "weights")


if __name__ == "__main__":
    main()
