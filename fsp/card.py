"""The report card of a surrogate error: how it ranks candidates whose true error, after long training, is known."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fsp.agreement import size_bands, spearman_in_bands
from fsp.errors import Diverged, InputError
from fsp.evaluating import Evaluator
from fsp.objectives.error import Distillation
from fsp.objectives.fitted import FittedError
from fsp.objectives.zero_cost import ZERO_COST
from fsp.planning import objectives_at, objectives_of
from fsp.progress import Silent
from fsp.ranking import Ranking, rank
from fsp.space import Architecture, SearchSpace

_FOLDS = 5
_STABLE = 0.9  # Spearman inside bands between s and 2s from which on more steps are not worth their cost
_LEAST_SHAPES = 10
_TRUTH_SEEDS = 1000  # from here on: no search uses them


@dataclass(frozen=True)
class ReportCard:
    """How far to trust a surrogate on a space.

    table: one row a shape: parameters, p, i, `truth` (geometric mean over seeds), and each surrogate's value, smaller
        is better (zero-cost scores with their sign turned).
    rankings: by surrogate.
    noise: sd of log truth of one training, None where no shape has two seeds.
    seconds: mean cost of one evaluation, where it was measured.
    stability: Spearman inside size bands between the errors after s and after 2s steps.
    fitted: Spearman inside bands and coverage of the 90% intervals of `fitted`, fitted to the errors after s steps
        of four fifths of the shapes and predicting those of the others.
    controls: the errors of T's mean state and of its embeddings without layers.
    """

    table: pd.DataFrame
    rankings: dict[str, Ranking]
    noise: float | None
    seconds: dict[str, float]
    stability: float
    fitted: dict[str, float]
    controls: dict[str, float]

    @property
    def stable(self) -> bool:
        """Whether the ranking inside bands hardly changes when the steps are doubled."""
        return self.stability >= _STABLE

    def describe(self) -> dict[str, Any]:
        """Return all but the table as a JSON-like value."""
        return {
            "shapes": len(self.table),
            "rankings": {name: ranking.describe() for name, ranking in self.rankings.items()},
            "noise": self.noise,
            "seconds": self.seconds,
            "stability": None if math.isnan(self.stability) else self.stability,
            "stable": self.stable,
            "fitted": self.fitted,
            "controls": self.controls,
        }


def read_truth(path: Path, space: SearchSpace) -> pd.DataFrame:
    """Return measured errors of a space's shapes: its parameters and `error`, one row a training.

    Args:
        path: a CSV file with a column for every parameter and one `error`; others are ignored.
        space: decides the parameters.

    Raises:
        InputError: the file cannot be read, lacks a column, or holds an error that is no positive number.
    """
    names = [*space.names, "error"]
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as problem:
        raise InputError(f"cannot read the truth {path}: {' '.join(str(problem).split())[:120]}") from None
    missing = [name for name in names if name not in table]
    if missing:
        raise InputError(f"truth {path} has no column {missing[0]}; it needs {', '.join(names)}")
    values = table[names].apply(pd.to_numeric, errors="coerce")
    if not (np.isfinite(values).all(axis=None) and (values > 0).all(axis=None)):
        raise InputError(f"truth {path} holds values that are no positive numbers; leave those rows out")
    return values.astype(dict.fromkeys(space.names, "int64"))


def mean_truth(space: SearchSpace, table: pd.DataFrame) -> tuple[pd.DataFrame, float | None]:
    """Return one row a shape with p, i, its geometric mean error `truth` and number of `trainings`, and the noise.

    The noise is the sd of log e of one training, pooled over the shapes with several.
    """
    groups = np.log(table["error"]).groupby([table[name] for name in space.names])
    logs = groups.agg(["mean", "count", "var"]).reset_index()
    freedom = (logs["count"] - 1).clip(lower=0)
    noise = None
    if freedom.sum():
        noise = math.sqrt(float((logs["var"].fillna(0) * freedom).sum() / freedom.sum()))
    shapes = objectives_of(space, logs[list(space.names)].to_numpy(dtype=np.int64))
    return shapes.assign(truth=np.exp(logs["mean"]), trainings=logs["count"]), noise


def sample(space: SearchSpace, table: pd.DataFrame, count: int) -> list[Architecture]:
    """Return that many candidates evenly spaced over a table that is ordered by size; all if it has no more."""
    rows = np.unique(np.linspace(0, len(table) - 1, min(count, len(table))).round().astype(int))
    return space.architectures(table.iloc[rows][list(space.names)].to_numpy())


def train_truth(
    space: SearchSpace,
    error: Distillation,
    shapes: Sequence[Architecture],
    *,
    steps: int,
    seeds: int,
    study: Path | None = None,
    display: Silent | None = None,
) -> pd.DataFrame:
    """Train shapes long and return their errors on the test text, as `read_truth` does; failed ones are left out.

    The seeds, and so the order of the text, differ from those of any search.
    """
    evaluate = Evaluator(_Truth(error.with_steps(steps)), space, study)
    rows = []
    cost = objectives_of(space, np.array([list(shape.values()) for shape in shapes]))["operations"].to_numpy(float)
    with (display or Silent()).bar(f"training {len(shapes)} shapes for {steps} steps", seeds * cost.sum()) as advance:
        for shape, share in zip(shapes, cost, strict=True):
            for seed in range(seeds):
                found = evaluate(shape, _TRUTH_SEEDS + seed)
                advance(share)
                if found.error is not None:
                    rows.append({**shape, "error": found.error})
    return pd.DataFrame(rows, columns=[*space.names, "error"])


class _Truth:
    """The error on the test text after training long."""

    def __init__(self, error: Distillation):
        self._error = error

    @property
    def settings(self) -> dict[str, Any]:
        return {**self._error.settings, "truth": self._error.material.test.digest}

    def __call__(self, architecture: Architecture, seed: int) -> float:
        student = self._error.student(architecture)
        self._error.train(student, steps=self._error.steps_of(architecture), seed=seed)
        return self._error.measure(student, self._error.material.test)


def report_card(
    space: SearchSpace,
    error: Distillation,
    truth: pd.DataFrame,
    *,
    study: Path | None = None,
    seed: int = 0,
    display: Silent | None = None,
) -> ReportCard:
    """Return the report card of the error `distillation` at its number of steps s, beside zero-cost baselines.

    The surrogates: the error without any step (`s=0`), after s, after 2s, extrapolated by a power law through both,
    at equal FLOPs (those that s steps take in the shape of median cost), and the baselines of
    `fsp.objectives.zero_cost`.

    Args:
        space: the search space, with T's embedding tables.
        error: with at least one step.
        truth: see `read_truth`; at least 10 shapes.
        study: a journal file in which evaluations are kept and from which finished ones are taken.
        seed: of the surrogate's evaluations.
        display: where progress goes.

    Raises:
        InputError: fewer than 10 shapes whose surrogates and truth are known, or an error without steps.
    """
    steps = error.settings["steps"]
    if steps < 1:
        raise InputError("a report card compares the error after s and 2s steps; give at least 1 step")
    table, noise = mean_truth(space, truth)
    if len(table) < _LEAST_SHAPES:
        raise InputError(f"the truth has {len(table)} shapes; a report card needs {_LEAST_SHAPES} or more")
    flops = error.flops_per_step
    shapes = space.architectures(table[list(space.names)].to_numpy())
    middle = steps * float(np.median([flops(shape) for shape in shapes]))
    errors = {
        "s=0": error.with_steps(0),
        f"s={steps}": error,
        f"s={2 * steps}": error.with_steps(2 * steps),
        "equal FLOPs": error.with_flops(middle),
    }
    seconds = {}
    for name, surrogate in errors.items():
        table[name], seconds[name] = _evaluated(space, surrogate, shapes, name, study, seed, display or Silent())
    first, second = table[f"s={steps}"], table[f"s={2 * steps}"]
    table["extrapolated"] = second * second / first
    with (display or Silent()).bar("zero-cost baselines", len(ZERO_COST) * len(shapes)) as advance:
        for name, score in ZERO_COST.items():
            table[f"zero-cost {name}"] = [_score(score, space, shape, advance) for shape in shapes]
    table = table.dropna().reset_index(drop=True)
    if len(table) < _LEAST_SHAPES:
        raise InputError(f"only {len(table)} shapes could be evaluated; a report card needs {_LEAST_SHAPES} or more")
    surrogates = [*errors, "extrapolated", *(f"zero-cost {name}" for name in ZERO_COST)]
    maximum = objectives_at(space, space.maximum)
    size = table["encoder_parameters"]
    return ReportCard(
        table,
        rank(
            {name: table[name] for name in surrogates},
            table["truth"],
            size,
            speed=table["operations"],
            maximum=(maximum["encoder_parameters"], maximum["operations"]),
            noise=None if noise is None else noise / np.sqrt(table["trainings"]),
        ),
        noise,
        seconds,
        spearman_in_bands(table[f"s={steps}"], table[f"s={2 * steps}"], size_bands(size)),
        _fitted_quality(space, table, f"s={steps}"),
        error.controls(),
    )


def _evaluated(
    space: SearchSpace,
    error: Distillation,
    shapes: Sequence[Architecture],
    name: str,
    study: Path | None,
    seed: int,
    display: Silent,
) -> tuple[list[float], float]:
    """The error of each shape, NaN where it failed, and the mean seconds of one."""
    evaluate = Evaluator(error, space, study)
    with display.bar(f"surrogate {name}", len(shapes)) as advance:
        found = []
        for shape in shapes:
            found.append(evaluate(shape, seed))
            advance(1)
    return [math.nan if e.error is None else e.error for e in found], float(np.mean([e.seconds for e in found]))


def _score(score: Any, space: SearchSpace, shape: Mapping[str, int], advance: Any) -> float:
    """A zero-cost score with its sign turned, NaN where there is none."""
    advance(1)
    try:
        return -float(score(space, shape))
    except Diverged:
        return math.nan


def _fitted_quality(space: SearchSpace, table: pd.DataFrame, column: str) -> dict[str, float]:
    """How well `fitted` predicts the errors of shapes it was not fitted to, by cross-validation; empty if too few."""
    folds = np.random.default_rng(0).permutation(len(table)) % _FOLDS
    predicted = []
    try:
        for fold in range(_FOLDS):
            law = FittedError.fit(table[folds != fold], parameters=list(space.names), error=column)
            predicted.append(law.predict(table[folds == fold]))
    except InputError:
        return {}
    found = pd.concat(predicted).sort_index()
    inside = table[column].between(found["low"], found["high"])
    bands = size_bands(table["encoder_parameters"])
    return {
        "spearman_in_bands": spearman_in_bands(found["error"], table[column], bands),
        "coverage_90": float(inside.mean()),
    }
