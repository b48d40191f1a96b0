"""The report card of a surrogate error: how well it ranks candidates whose true error after long training is known."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fsp.base.errors import Diverged, InputError
from fsp.base.progress import Progress
from fsp.distillation.error import Distillation
from fsp.families.architecture import Architecture
from fsp.objectives.anchored import anchor_rows, anchored, sizes_of
from fsp.objectives.fitted import FittedError
from fsp.objectives.table import objectives_at
from fsp.spaces.space import SearchSpace
from fsp.studies.evaluator import Evaluator
from fsp.trust.agreement import size_bands, spearman_in_bands
from fsp.trust.ranking import Ranking, rank
from fsp.trust.truth import mean_truth
from fsp.trust.zero_cost import zero_cost_for

Value = TypeVar("Value")

_FOLDS = 5
ANCHORS = 12  # anchors of the law that is judged beside the surrogates, but at most half of the shapes
_NOISE_SHAPES = 8
_NOISE_PARTS = 16  # parts of the test text
_STABLE = 0.9  # from this Spearman with longer training inside bands, more steps are not worth their cost
LEAST_SHAPES = 10


@dataclass(frozen=True)
class ReportCard:
    """How far to trust a surrogate on a space.

    Attributes:
        table: one row per shape: parameters, p, i, `truth` (geometric mean over seeds), and each surrogate's value,
            smaller is better (zero-cost scores are negated).
        rankings: how well each surrogate ranks, by its name.
        noise: sd of log truth of one training due to its seed, None if no shape has two seeds.
        text_noise: sd of log truth due to the text it is measured on, from a few shapes (see `text_noise_of`); None if
            all of them failed. The ceilings include both: a row's sd is the root of noise²/trainings + text_noise².
        seconds: mean cost of one evaluation of each surrogate, if it was measured.
        stability: Spearman inside size bands between the errors after 0 and s steps, and after s and 2s steps, by the
            name of the shorter training.
        surrogate_noise: sd of log e after s steps with one seed, from a few shapes; None if all of them failed.
        anchored: number of anchors, and the share of the others' truths that the 90% intervals cover.
        fitted: Spearman inside bands and coverage of the 90% intervals of `fitted`, which is fitted to the errors after
            s steps of four fifths of the shapes and predicts the errors of the others.
        controls: the errors of T's mean output and of T without its layers.
    """

    table: pd.DataFrame
    rankings: dict[str, Ranking]
    noise: float | None
    text_noise: float | None
    seconds: dict[str, float]
    stability: dict[str, float]
    surrogate_noise: float | None
    anchored: dict[str, dict[str, float]]
    fitted: dict[str, float]
    controls: dict[str, float]

    @property
    def suffices(self) -> str | None:
        """The least training after which more hardly changes the ranking inside bands, None if none suffices."""
        return next((name for name, agreement in self.stability.items() if agreement >= _STABLE), None)

    def describe(self) -> dict[str, Any]:
        """Return all but the table as a JSON-like value."""
        return {
            "shapes": len(self.table),
            "rankings": {name: ranking.describe() for name, ranking in self.rankings.items()},
            "noise": self.noise,
            "text_noise": self.text_noise,
            "seconds": self.seconds,
            "surrogate_noise": self.surrogate_noise,
            "stability": {name: None if math.isnan(value) else value for name, value in self.stability.items()},
            "suffices": self.suffices,
            "anchored": self.anchored,
            "fitted": self.fitted,
            "controls": self.controls,
        }


def report_card(
    space: SearchSpace,
    error: Distillation,
    truth: pd.DataFrame,
    *,
    study: Path | None = None,
    seed: int = 0,
    display: Progress | None = None,
) -> ReportCard:
    """Return the report card of the error `distillation` after its number of steps s, beside zero-cost baselines.

    The surrogates are the errors after 0 (`s=0`), s and 2s steps; the extrapolation of the last two by a power law; the
    error at equal FLOPs (those of s steps for the shape of median cost); the laws fitted to the truths of 12 anchors
    and the errors after 0 or s steps (see `fsp.objectives.anchored`; the anchors keep their truth); and the baselines
    of `fsp.trust.zero_cost` that take the space's networks.

    Args:
        space: the search space, with T's embedding tables.
        error: with at least one step.
        truth: see `read_truth`; at least 10 shapes. The text noise assumes that it was measured on as much text as the
            test text of `error`.
        study: a journal file in which evaluations are kept and from which finished ones are taken.
        seed: seed of the surrogate's evaluations.
        display: shows progress.

    Raises:
        InputError: surrogates and truth are known for fewer than 10 shapes, or the error has no steps.
    """
    steps = error.settings["steps"]
    if steps < 1:
        raise InputError("a report card compares the error after s and 2s steps; give at least 1 step")
    table, noise = mean_truth(space, truth)
    if len(table) < LEAST_SHAPES:
        raise InputError(f"the truth has {len(table)} shapes; a report card needs {LEAST_SHAPES} or more")
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
        table[name], seconds[name] = _evaluated(space, surrogate, shapes, name, study, seed, display or Progress())
    first, second = table[f"s={steps}"], table[f"s={2 * steps}"]
    table["extrapolated"] = second * second / first
    surrogate_noise = _noise_of(error, space, shapes, first, study, seed)
    text_noise = text_noise_of(error, _few(shapes), seed=seed)
    anchors = {}
    for name in ("s=0", f"s={steps}"):
        table[f"anchored, {name}"], anchors[name] = _anchored(space, table, name)
    scores = zero_cost_for(space)
    with (display or Progress()).bar("zero-cost baselines", len(scores) * len(shapes)) as advance:
        for name, score in scores.items():
            table[f"zero-cost {name}"] = [_score(score, space, shape, advance) for shape in shapes]
    table = table.dropna().reset_index(drop=True)
    if len(table) < LEAST_SHAPES:
        raise InputError(f"only {len(table)} shapes could be evaluated; a report card needs {LEAST_SHAPES} or more")
    surrogates = [
        *errors,
        "extrapolated",
        *(f"anchored, {name}" for name in anchors),
        *(f"zero-cost {name}" for name in scores),
    ]
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
            noise=None
            if noise is None or text_noise is None
            else np.hypot(noise / np.sqrt(table["trainings"]), text_noise),
        ),
        noise,
        text_noise,
        seconds,
        {
            short: spearman_in_bands(table[short], table[long], size_bands(size))
            for short, long in (("s=0", f"s={steps}"), (f"s={steps}", f"s={2 * steps}"))
        },
        surrogate_noise,
        anchors,
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
    display: Progress,
) -> tuple[list[float], float]:
    """Return the error of each shape, NaN if it failed, and the mean seconds per shape."""
    evaluate = Evaluator(error, space, study)
    with display.bar(f"surrogate {name}", len(shapes)) as advance:
        found = []
        for shape in shapes:
            found.append(evaluate(shape, seed))
            advance(1)
    return [math.nan if e.error is None else e.error for e in found], float(np.mean([e.seconds for e in found]))


def _anchored(space: SearchSpace, table: pd.DataFrame, short: str) -> tuple[pd.Series, dict[str, float]]:
    """Return the truth of every shape as predicted from anchors, and the coverage of the others' intervals."""
    sizes, top = sizes_of(space, table)
    rows = anchor_rows(table[short], sizes, top, table["operations"], min(ANCHORS, len(table) // 2))
    known = np.isin(np.arange(len(table)), rows)
    told = anchored(table[short], table["truth"].where(known), sizes, top)
    others = told[~known & told["error"].notna()]
    inside = table["truth"][others.index].between(others["low"], others["high"])
    return told["error"], {"anchors": len(rows), "coverage_90": float(inside.mean())}


def _noise_of(
    error: Distillation,
    space: SearchSpace,
    shapes: Sequence[Architecture],
    known: pd.Series,
    study: Path | None,
    seed: int,
) -> float | None:
    """Return the sd of log e over seeds, from a few shapes evaluated with a second seed; `known` holds the first."""
    evaluate = Evaluator(error, space, study)
    by_shape = zip(_few(range(len(shapes))), _few(shapes), strict=True)
    pairs = [(known[k], evaluate(shape, seed + 1).error) for k, shape in by_shape if not math.isnan(known[k])]
    changes = [math.log(other / one) for one, other in pairs if other is not None]
    return float(np.sqrt(np.mean(np.square(changes)) / 2)) if changes else None


def _few(values: Sequence[Value]) -> list[Value]:
    """Return at most `_NOISE_SHAPES` of the values, evenly spaced."""
    rows = np.unique(np.linspace(0, len(values) - 1, min(_NOISE_SHAPES, len(values))).round().astype(int))
    return [values[row] for row in rows]


def text_noise_of(error: Distillation, shapes: Sequence[Architecture], *, seed: int = 0) -> float | None:
    """Return the sd of log e that the choice of the test text adds to a comparison of shapes.

    The shapes are trained like `error` and measured on 16 parts of its test text. An effect of a part that is equal for
    all shapes changes no order and is removed: the sd is that of the residuals of log e after subtracting the mean of
    each shape and of each part, divided by the root of the number of parts. Shapes that fail are left out.

    Args:
        error: the error; the sd is for a text of the size of its test text.
        shapes: two or more.
        seed: seed of the trainings.

    Returns:
        The sd; None if fewer than two shapes could be measured.

    Source: variance components of a two-way layout; Searle, Casella and McCulloch, Variance Components (1992).
    """
    blocks = error.material.test
    cuts = np.unique(np.linspace(0, len(blocks), _NOISE_PARTS + 1).round().astype(int))
    measured = []
    for shape in shapes:
        student = error.student(shape)
        try:
            error.train(student, steps=error.steps_of(shape), seed=seed)
            measured.append([error.measure(student, blocks[a:b]) for a, b in pairwise(cuts)])
        except Diverged:
            continue
    return interaction_sd(np.log(measured)) if len(measured) > 1 else None


def interaction_sd(logs: NDArray[np.float64], /) -> float:
    """Return the sd of a row's mean due to the interaction of rows and columns.

    Args:
        logs: two rows or more of two columns or more.

    Example:
        >>> interaction_sd(np.array([[1.0, 2.0], [2.0, 3.0]])), round(interaction_sd(np.array([[1.0, 2], [2, 1]])), 3)
        (0.0, 0.707)
    """
    rows, columns = logs.shape
    rest = logs - logs.mean(axis=0) - logs.mean(axis=1, keepdims=True) + logs.mean()
    return math.sqrt(float((rest**2).sum()) / ((rows - 1) * (columns - 1)) / columns)


def _score(score: Any, space: SearchSpace, shape: Mapping[str, int], advance: Any) -> float:
    """Return a zero-cost score, negated, NaN if there is none."""
    advance(1)
    try:
        return -float(score(space, shape))
    except Diverged:
        return math.nan


def _fitted_quality(space: SearchSpace, table: pd.DataFrame, column: str) -> dict[str, float]:
    """Return how well `fitted` predicts shapes outside its fit, by cross-validation; {} if there are too few."""
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
