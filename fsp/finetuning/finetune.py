"""Fine-tuning a text classifier on few rows: Agora or a rival, from files to a saved model and honest figures."""

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from scipy.stats import binomtest

import fsp
from fsp.errors import InputError
from fsp.files import read_json, write_json, write_text
from fsp.finetuning import algorithm, rivals
from fsp.finetuning.algorithm import Budget, Outcome, Request, Round, Tried, leader
from fsp.finetuning.classifier import Classifier
from fsp.finetuning.examples import Data, Example, load_data, majority_share
from fsp.finetuning.expansion import Expansion
from fsp.finetuning.fits import Fits, StoredTrainer
from fsp.finetuning.generators import Edits, Generator, Mix, Refill, Synonyms, load_masked
from fsp.finetuning.labellers import Verdict, embedder, judge, load_labeller
from fsp.finetuning.near_copies import near_copies
from fsp.finetuning.pruning import pruning_rule
from fsp.finetuning.saving import join, locked, save_classifier
from fsp.finetuning.settings import Settings
from fsp.progress import Silent
from fsp.timing import environment

SCHEMA = 1


def agora(
    model: str | Path,
    *,
    train: str | Path,
    dev: str | Path,
    out: str | Path,
    labeller: str,
    test: str | Path | None = None,
    text: Sequence[str] = (),
    label: str = "label",
    settings: Settings | None = None,
    display: Silent | None = None,
) -> dict[str, Any]:
    """Fine-tune a text classifier on few rows by Agora, save the best model, and return what is known of it.

    Args:
        model: a Hugging Face directory or hub name that `AutoModelForSequenceClassification` can load.
        train: CSV, JSONL or parquet file of the rows to train on.
        dev: file of the rows whose mistakes are expanded and by which the best is chosen.
        out: folder for everything that is written; called again with the same arguments it goes on where it was, and
            several processes with the same arguments share the fits.
        labeller: S: `tfidf`, `probe:DIR`, or a trained classifier's directory.
        test: file of the rows of the final figures; by default a third of dev is held out for them.
        text: one or two columns of text, see `fsp.finetuning.examples.load_data`.
        label: the column of the label.
        settings: everything else.
        display: where progress goes.

    Returns:
        What result.json holds, see docs/agora.md.

    Raises:
        InputError: model, data or labeller cannot be used, the labeller is no better than guessing, or `out` holds
            something else.
        RunFailed: every fit failed.

    Source: arXiv 2010.07990; docs/agora.md lists what it leaves open.
    """
    settings = settings or Settings()
    if settings.method != "agora":
        raise InputError(f"agora() takes settings of method agora, not {settings.method}; see finetune()")
    return finetune(
        model,
        train=train,
        dev=dev,
        out=out,
        labeller=labeller,
        test=test,
        text=text,
        label=label,
        settings=settings,
        display=display,
    )


def finetune(
    model: str | Path,
    *,
    train: str | Path,
    dev: str | Path,
    out: str | Path,
    labeller: str | None = None,
    test: str | Path | None = None,
    text: Sequence[str] = (),
    label: str = "label",
    settings: Settings | None = None,
    display: Silent | None = None,
) -> dict[str, Any]:
    """Fine-tune a text classifier by the method that the settings name; see `agora`.

    A labeller is needed by Agora and not used by the others.
    """
    settings, display, out = settings or Settings(), display or Silent(), Path(out)
    if settings.method == "agora" and labeller is None:
        raise InputError("agora needs a labeller: tfidf, probe:DIR or the directory of a trained classifier")
    torch.set_num_threads(settings.processor_threads)
    data = load_data(train, dev, test, text=text, label=label, seed=settings.seed)
    with display.bar("loading the model", 1) as advance:
        classifier = Classifier(model, data.labels, head=settings.head, length=settings.length)
        advance(1)
    fixed = _fixed(classifier, data, settings)
    join(out, {**fixed, **_searched(settings, labeller)})
    if (out / "result.json").exists():
        shutil.rmtree(out / "weights", ignore_errors=True)  # a killed process may have left some
        found: dict[str, Any] = read_json(out / "result.json")
        return found
    started = time.perf_counter()
    trainer = StoredTrainer(
        classifier, data, settings.steps, settings.seed, Fits(out / "fits.journal", fixed), out / "weights"
    )
    trainer.folder.mkdir(exist_ok=True)
    expansion, verdict = None, None
    if settings.method == "agora":
        label_points = load_labeller(str(labeller), data.train, data.labels)
        verdict = _accepted(judge(label_points, data.dev), settings, display)
        generator = load_generator(settings.generator, classifier, data.train, settings.points)
        expansion = Expansion(data, generator, label_points, settings.seed, settings.confidence, settings.soft)
    outcome = search(trainer, expansion, settings, display)
    with locked(out):
        if not (out / "result.json").exists():
            result = {
                "schema": SCHEMA,
                "fsp": fsp.__version__,
                "method": settings.method,
                "model": Path(model).name if Path(model).is_dir() else str(model),
                **_facts(trainer, outcome, settings),
            }
            if expansion is not None and verdict is not None:
                result["labeller"] = {"source": labeller, **asdict(verdict)}
                result["added"] = _added(expansion, outcome)
            result["final"] = _final(trainer, outcome, expansion)
            result |= {"environment": environment(), "seconds": round(time.perf_counter() - started, 1)}
            _write(out, result, trainer, outcome)
    written: dict[str, Any] = read_json(out / "result.json")
    return written


def load_generator(source: str, classifier: Classifier, train: Sequence[Example], points: int) -> Generator:
    """Return a generator τ by its name, see `Settings`. Raises InputError where its model cannot be used."""
    kind, _, model = source.partition(":")
    if kind == "edits":
        return Edits(Synonyms(classifier.embedding_table, classifier.tokenizer), points)
    if kind == "mask":
        return Refill(load_masked(model), points)
    return Mix(embedder(model), [one.fields for one in train], points)


def search(
    trainer: StoredTrainer, expansion: Expansion | None, settings: Settings, display: Silent
) -> Outcome[Example]:
    """Make the fits that the settings' method asks for and return what came of them."""
    theta, budget = settings.theta, Budget(settings.fits or len(settings.theta), settings.seconds or math.inf)
    if settings.method != "agora":
        with display.bar(f"{settings.method}: {settings.fits or len(theta)} fits", budget.fits) as trainer.advance:
            if settings.method == "hyperband":
                return rivals.hyperband(theta, trainer, budget=budget, seed=settings.seed)
            if settings.method == "random":
                theta = rivals.random_sets(theta, int(budget.fits), settings.seed)
            return rivals.grid_search(theta, trainer, budget=budget)
    if expansion is None:
        raise InputError("agora needs a labeller and a generator")
    most = _most_fits(len(theta), settings)
    with display.bar(f"agora: at most {most} fits", most) as advance:
        trainer.advance = advance
        return algorithm.agora(
            theta,
            trainer,
            expansion,
            pruning_rule(settings.pruning),
            replays=settings.replays,
            budget=Budget(settings.fits or math.inf, settings.seconds or math.inf),
            after_round=_tell(display, advance, settings),
        )


def _tell(display: Silent, advance: Callable[[float], object], settings: Settings) -> Callable[[Round[Any], int], None]:
    """Tell what a round came to, and move the bar over the fits that pruning spared."""
    seconds: list[float] = []

    def tell(done: Round[Any], left: int) -> None:
        seconds.extend(tried.fit.seconds for tried in done.tried)
        again = f", replay {done.attempt}" if done.attempt else ""
        most = _most_fits(left, settings)
        display.say(
            f"round {done.number + 1}{again}: {leader(done.tried).fit.rank:.1%} on dev, best {done.best:.1%}; "
            f"{len(done.added)} points added, {left} sets left"
            + (f": at most {most} fits, {most * sum(seconds) / len(seconds):.0f} s" if left else "")
        )
        if done.removed:
            before = left + len(done.removed)
            advance(max(0, _most_fits(before, settings) - (1 + done.attempt) * before - most))

    return tell


def _most_fits(sets: int, settings: Settings) -> int:
    """The most fits that rounds can take which begin with so many sets: each round removes at least one."""
    most = sets * (sets + 1) // 2 * (1 + settings.replays)
    return min(most, settings.fits or most)


def _accepted(verdict: Verdict, settings: Settings, display: Silent) -> Verdict:
    """Return the verdict on a labeller that may be used, with a warning where it is not good enough."""
    if verdict.level == "chance" and not settings.force:
        raise InputError(f"{verdict}; points it labels would teach noise: give a better labeller, or --force")
    display.say(("" if verdict.level == "enough" else "warning: ") + str(verdict))
    return verdict


def _fixed(classifier: Classifier, data: Data, settings: Settings) -> dict[str, Any]:
    """What every fit depends on besides its request."""
    return {
        "checkpoint": classifier.fingerprint,
        "data": data.digest,
        "head": settings.head,
        "length": settings.length,
        "seed": settings.seed,
        "threads": settings.processor_threads,
    }


def _searched(settings: Settings, labeller: str | None) -> dict[str, Any]:
    """What the search depends on besides the fits."""
    asked = asdict(settings)
    asked["theta"] = [asdict(theta) for theta in settings.theta]
    return {**asked, "threads": settings.processor_threads, "labeller": labeller}


def _facts(trainer: StoredTrainer, outcome: Outcome[Example], settings: Settings) -> dict[str, Any]:
    data, fits = trainer.data, outcome.fits
    return {
        "labels": list(data.labels),
        "outside_theory": len(data.labels) > 2,
        "rows": {
            "train": len(data.train),
            "dev": len(data.dev),
            "final": len(data.final),
            "cut_off": trainer.classifier.truncated([*data.train, *data.dev, *data.final]),
            "train_near_final": int(
                near_copies([one.fields for one in data.train], [one.fields for one in data.final]).sum()
            ),
        },
        "search": {
            "fits": len(fits),
            "steps": settings.steps,
            "all_steps": sum(max(1, round(one.share * settings.steps)) for one in fits),
            "failed": [f"{one.theta}: {one.fit.failure}" for one in fits if one.fit.accuracy is None],
            "rounds": [
                {
                    "number": one.number,
                    "attempt": one.attempt,
                    "fits": len(one.tried),
                    "leader": leader(one.tried).fit.accuracy,
                    "best": one.best,
                    "added": len(one.added),
                    "removed": [str(theta) for theta in one.removed],
                }
                for one in outcome.rounds
            ],
            "stopped": outcome.stopped,
        },
        "chosen": {
            "theta": str(outcome.best.theta),
            "attempt": outcome.best.attempt,
            "round": _round_of(outcome.best, outcome).number,
        },
        "dev_accuracy": outcome.best.fit.accuracy,
    }


def _round_of(tried: Tried, outcome: Outcome[Example]) -> Round[Example]:
    return next(one for one in outcome.rounds if any(tried is other for other in one.tried))


def _request(tried: Tried, outcome: Outcome[Example]) -> Request[Example]:
    """Return what a fit was asked with: with the points added after all rounds before its own."""
    number = _round_of(tried, outcome).number
    added = tuple(point for one in outcome.rounds if one.number < number for point in one.added)
    return Request(tried.theta, added, tried.attempt, tried.share)


def _added(expansion: Expansion, outcome: Outcome[Example]) -> dict[str, int]:
    return {**asdict(expansion.total), "seen_by_winner": len(_request(outcome.best, outcome).added)}


def _final(trainer: StoredTrainer, outcome: Outcome[Example], expansion: Expansion | None) -> dict[str, Any]:
    """The final figures: of the rows that no step and no choice has seen."""
    data = trainer.data

    def right(tried: Tried) -> int:
        guesses = trainer.classifier.predict(trainer.weights(_request(tried, outcome)), data.final)
        return int(sum(guess == one.label for guess, one in zip(guesses, data.final, strict=True)))

    count, rows = right(outcome.best), len(data.final)
    interval = binomtest(count, rows).proportion_ci(method="wilson")
    figures = {
        "set": data.final_is,
        "accuracy": count / rows,
        "interval_95": [float(interval.low), float(interval.high)],
        "majority": majority_share(data.final),
    }
    if expansion is not None:
        figures["first_round"] = right(leader(outcome.rounds[0].tried)) / rows
        figures["labeller"] = judge(expansion.labeller, data.final).accuracy
    return figures


def _write(out: Path, result: dict[str, Any], trainer: StoredTrainer, outcome: Outcome[Example]) -> None:
    """Write all files; result.json last, because it says that all is there."""
    import pandas as pd

    data = trainer.data
    model = trainer.weights(_request(outcome.best, outcome))
    save_classifier(model, trainer.classifier.tokenizer, out / "model", result)
    fits = [
        {
            "round": one.number,
            **asdict(tried.theta),
            "attempt": tried.attempt,
            "share": tried.share,
            "dev_accuracy": tried.fit.accuracy,
            "seconds": tried.fit.seconds,
            "failure": tried.fit.failure,
        }
        for one in outcome.rounds
        for tried in one.tried
    ]
    write_text(out / "fits.csv", pd.DataFrame(fits).to_csv(index=False))
    if trainer.data and result["method"] == "agora":
        names = ("text", "text_pair")[: len(data.train[0].fields)]
        added = [
            {
                "round": one.number,
                "dev_row": point.source,
                **dict(zip(names, point.fields, strict=True)),
                "label": data.labels[point.label],
            }
            for one in outcome.rounds
            for point in one.added
        ]
        columns = ["round", "dev_row", *names, "label"]
        write_text(out / "added.csv", pd.DataFrame(added, columns=columns).to_csv(index=False))
    write_json(out / "result.json", result)
    shutil.rmtree(out / "weights", ignore_errors=True)
