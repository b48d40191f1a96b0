"""Ground truth for `minilm`: every shape that the default run may choose, trained long, and measured in three ways.

    python experiments/ground_truth/probes.py                             # once: the texts of the two probes
    python experiments/ground_truth/run.py --worker 0 --workers 2 &       # one thread each; both may be stopped
    python experiments/ground_truth/run.py --worker 1 --workers 2         # and started again at any time

Kinds: `cut` and healed, as the search does it; from `random` weights; and `kl`, cut and trained to match the
predictions of a T with a head for masked language modelling, which mlm_teacher.py makes (--kind kl).

A row is a function of (kind, shape, seed) and the settings below alone, whichever worker computes it and when. Rows are
added to cut.csv, random.csv, kl.csv and curves.csv as they are finished.
"""

import argparse
import csv
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import probes
import torch
from filelock import FileLock

from fsp import Architecture, load_space
from fsp.base import Progress, environment, write_json
from fsp.distillation import Student
from fsp.distillation.cutting import Cut
from fsp.distillation.fitting import fit
from fsp.distillation.inputs import load_inputs, surrogate
from fsp.distillation.models.sentence_layout import plain_layout
from fsp.distillation.settings import SurrogateSettings
from fsp.distillation.similarity import similarity_agreement
from fsp.distillation.source import Source
from fsp.families import bert
from fsp.search import plan

HERE = Path(__file__).parent
SETTINGS = {
    "space": "minilm",
    "corpus": "documentation in Python's standard library",
    "length": 64,
    "batch": 8,
    "steps": 1000,
    "steps_of_kl": 100,
    "warmup": 0.1,
    "learning_rate_of_cuts": "4e-3 e0^2 for a cut of error e0",
    "learning_rate_from_random": 2e-3,
    "train_tokens": 600_000,
    "held_out_tokens": 16_384,
    "threads": 1,
}
CURVE = (0, 16, 32, 64, 125, 250, 500, 1000)
CURVE_BLOCKS = 128  # of the validation text, for every point of a curve
REPEATED = 24  # shapes with seeds 1 and 2 besides 0
RANDOM = 36  # shapes also trained from random weights
PREDICTING = 40  # shapes also trained to match predictions
HEADS = {  # shapes whose heads have another size than T's, and the same with T's
    "3,4,256,512": "3,8,256,512",
    "5,4,256,384": "5,8,256,384",
    "2,6,384,384": "2,12,384,384",
    "2,8,384,384": "2,12,384,384",
    "4,8,128,512": "4,4,128,512",
    "4,12,192,512": "4,6,192,512",
    "3,3,192,768": "3,6,192,768",
    "6,12,192,256": "6,6,192,256",
}
COLUMNS = [*"DAHI", "seed", "start", "error", "spearman", "movies", "reviews", "cpu_seconds"]


@dataclass(frozen=True)
class Task:
    """One training run. kind: `cut`, `random` or `kl`."""

    kind: str
    shape: Architecture
    seed: int

    @property
    def key(self) -> tuple[str, ...]:
        """What the row is of."""
        return (self.kind, *map(str, self.shape.values()), str(self.seed))


def tasks(kind: str) -> list[Task]:
    """All runs with T (kind `cut`) or with its predicting sibling (`kl`), any beginning spread over kinds and sizes."""
    space = load_space(SETTINGS["space"])
    shapes = space.architectures(plan(space, interval=1).table[list(space.names)].to_numpy())
    if kind == "kl":
        groups = [[Task("kl", shape, 0) for shape in _spread(shapes, PREDICTING)]]
    else:
        changed, same = map(_shapes, (HEADS, HEADS.values()))
        fresh = dict.fromkeys([*_spread(shapes, RANDOM), *changed, *same])
        groups = [
            [Task("cut", shape, 0) for shape in [*shapes, *changed]],
            [Task("cut", shape, seed) for shape in _spread(shapes, REPEATED) for seed in (1, 2)],
            [Task("random", shape, 0) for shape in fresh],
        ]
    weighted = []
    for group in groups:
        order = np.random.default_rng(0).permutation(len(group))
        weighted += [((place + 0.5) / len(group), group[k]) for place, k in enumerate(order)]
    return [task for _, task in sorted(weighted, key=lambda pair: pair[0])]


def _shapes(texts: Iterable[str]) -> list[Architecture]:
    return [Architecture(dict(zip("DAHI", map(int, text.split(",")), strict=True))) for text in texts]


def _spread(shapes: list[Architecture], count: int) -> list[Architecture]:
    return [shapes[k] for k in np.linspace(0, len(shapes) - 1, count).round().astype(int)]


class Bench:
    """T, text and probes, loaded once a process."""

    def __init__(self, kind: str) -> None:
        source = Source(str(HERE / "cache" / "minilm-mlm") if kind == "kl" else None)
        task = "masked" if kind == "kl" else "states"
        inputs = load_inputs(load_space(SETTINGS["space"]), source, Progress(), task=task)
        settings = SurrogateSettings(
            tokens=SETTINGS["train_tokens"],
            length=SETTINGS["length"],
            held_out_tokens=SETTINGS["held_out_tokens"],
            threads=SETTINGS["threads"],
        )
        self.error = surrogate(inputs, settings, HERE / "cache", Progress())
        self.teacher, self.material = inputs.teacher, self.error.material
        if kind == "kl":  # only its error is looked at
            return
        self.sentences = inputs.data.test_sentences[:512]
        self.means = replace(plain_layout(self.teacher.folder), after=())  # the mean of token states, of any length
        self.reference = self.means.encode(self.teacher.network, self.sentences)
        self.probes = {"movies": probes.movies(), "reviews": probes.reviews()}

    def run(self, task: Task) -> tuple[list[object], list[list[object]]]:
        """Return a row of the kind's file and the rows of curves.csv."""
        began = time.process_time()
        student = self._student(task)
        self.error.task.fit(student, self.material)
        start = self.error.start_of(student)
        held_out = self.material.validation[:CURVE_BLOCKS]
        curve = [[*task.key, 0, round(self.error.measure(student, held_out), 5)]]

        def watch(step: int, loss: float) -> None:
            if step in CURVE and (task.kind != "kl" or step <= 16):
                curve.append([*task.key, step, round(self.error.measure(student, held_out), 5)])

        cut = task.kind != "random"
        fit(
            student.eval().requires_grad_(True),
            self.error.task.loss,
            self.material.train.shuffled(SETTINGS["batch"], 1000 + task.seed),  # not the order of any search
            steps=SETTINGS["steps_of_kl" if task.kind == "kl" else "steps"],
            learning_rate=4e-3 * min(1.0, start) ** 2 if cut else SETTINGS["learning_rate_from_random"],
            warmup=SETTINGS["warmup"],
            after_step=watch,
        )
        self.error.task.refit(student, self.material)
        error = self.error.measure(student, self.material.test)
        if task.kind == "kl":
            return [*task.key[1:], round(start, 5), round(error, 5), "", "", "", _since(began)], curve
        own = self._embed(student, self.sentences)
        agreement = similarity_agreement(self.reference, own)

        def embed(texts: list[str]) -> np.ndarray:
            return self._embed(student, texts)

        accuracies = [round(probes.accuracy(embed, texts), 5) for texts in self.probes.values()]
        measured = [round(start, 5), round(error, 5), round(agreement, 5), *accuracies]
        return [*task.key[1:], *measured, _since(began)], curve

    def _embed(self, student: Student, texts: list[str]) -> np.ndarray:
        """Return T's mean token states as the readout of token states reads them from the student's, `n x H`."""
        own = torch.from_numpy(self.means.encode(student.network, texts))
        with torch.inference_mode():
            return student.readout(own).numpy()

    def _student(self, task: Task) -> Student:
        if task.kind != "random":
            return self.error.student(task.shape)
        torch.manual_seed(task.seed)
        network = bert.build(task.shape, self.teacher.constants).eval()
        return self.error.task.fresh(Cut(network, torch.arange(task.shape["H"]), [], None, None))


def _since(began: float) -> float:
    return round(time.process_time() - began, 1)


def done() -> set[tuple[str, ...]]:
    found = set()
    for kind in ("cut", "random", "kl"):
        path = HERE / f"{kind}.csv"
        if path.exists():
            with path.open(newline="") as file:
                found |= {(kind, *(row[name] for name in (*"DAHI", "seed"))) for row in csv.DictReader(file)}
    return found


def keep(name: str, columns: list[str], rows: list[list[object]]) -> None:
    path = HERE / name
    new = not path.exists()
    with path.open("a", newline="") as file:
        csv.writer(file).writerows([columns, *rows] if new else rows)


def open_tasks(kind: str, worker: int, workers: int) -> Iterator[Task]:
    finished = done()
    return (task for task in tasks(kind)[worker::workers] if task.key not in finished)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--worker", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--kind", choices=("cut", "kl"), default="cut")
    asked = parser.parse_args()
    (HERE / "cache").mkdir(exist_ok=True)
    bench = Bench(asked.kind)
    write_json(HERE / "settings.json", {**SETTINGS, "environment": environment()})
    for task in open_tasks(asked.kind, asked.worker, asked.workers):
        row, curve = bench.run(task)
        with FileLock(HERE / "cache" / "rows.lock"):
            keep("curves.csv", ["kind", *"DAHI", "seed", "step", "error"], curve)
            keep(f"{task.kind}.csv", COLUMNS, [row])
        print(task.kind, json.dumps(dict(zip(COLUMNS, row, strict=True))), flush=True)


if __name__ == "__main__":
    main()
