"""The results of a search: its facts, the final figures, and the files with them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from fsp.base.files import write_json, write_text
from fsp.distillation.text.near_copies import near_copies
from fsp.finetuning.algorithm import Outcome, Request, Round, Tried, leader
from fsp.finetuning.examples import Example, majority_share
from fsp.finetuning.expansion import Expansion
from fsp.finetuning.fits import StoredTrainer
from fsp.finetuning.labellers import judge
from fsp.finetuning.saving import save_classifier
from fsp.finetuning.settings import FinetuningSettings


def facts_of(trainer: StoredTrainer, outcome: Outcome[Example], settings: FinetuningSettings) -> dict[str, Any]:
    """Return the entries of result.json for the data, the search and the chosen fit, see docs/agora.md."""
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


def request_of(tried: Tried, outcome: Outcome[Example]) -> Request[Example]:
    """Return the request of a fit, including the points added after all earlier rounds."""
    number = _round_of(tried, outcome).number
    added = tuple(point for one in outcome.rounds if one.number < number for point in one.added)
    return Request(tried.theta, added, tried.attempt, tried.share)


def added_points(expansion: Expansion, outcome: Outcome[Example]) -> dict[str, int]:
    """Return the numbers of points that were made, kept and dropped, and the number that the chosen fit saw."""
    return {**asdict(expansion.total), "seen_by_winner": len(request_of(outcome.best, outcome).added)}


def final_figures(
    trainer: StoredTrainer, outcome: Outcome[Example], expansion: Expansion | None, last: Request[Example]
) -> dict[str, Any]:
    """Return the figures of `last`, the best fit or its refit, on rows used in no training step and no choice."""
    data, best = trainer.data, request_of(outcome.best, outcome)

    def right(request: Request[Example]) -> int:
        guesses = trainer.classifier.predict(trainer.weights(request), data.final)
        return int(sum(guess == one.label for guess, one in zip(guesses, data.final, strict=True)))

    count, rows = right(last), len(data.final)
    interval = binomtest(count, rows).proportion_ci(method="wilson")
    figures = {
        "set": data.final_is,
        "accuracy": count / rows,
        "interval_95": [float(interval.low), float(interval.high)],
        "majority": majority_share(data.final),
    }
    if last != best:
        figures["before_refit"] = right(best) / rows
    if expansion is not None:
        figures["first_round"] = right(request_of(leader(outcome.rounds[0].tried), outcome)) / rows
        figures["labeller"] = judge(expansion.labeller, data.final).accuracy
    return figures


def write(
    out: Path, result: dict[str, Any], trainer: StoredTrainer, outcome: Outcome[Example], last: Request[Example]
) -> None:
    """Write all files; result.json last, because it marks the results as complete."""
    import pandas as pd

    data = trainer.data
    model = trainer.weights(last)
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
    if result["method"] == "agora":
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
