"""True errors of candidates, to compare a surrogate with: read from a table, or measured by long training."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fsp.base.errors import InputError
from fsp.base.progress import Progress
from fsp.distillation.error import Distillation
from fsp.families.architecture import Architecture
from fsp.objectives.table import objectives_of
from fsp.spaces.space import SearchSpace
from fsp.studies.evaluator import Evaluator

_TRUTH_SEEDS = 1000  # first seed; no search uses seeds from here on


def read_truth(path: Path, space: SearchSpace) -> tuple[pd.DataFrame, int]:
    """Return measured errors of a space's candidates, one row per training: its parameters and `error`.

    The second result is the number of rows that were left out because their shapes are not candidates.

    Args:
        path: a CSV file with a column per parameter and a column `error`; other columns are ignored.
        space: the search space.

    Raises:
        InputError: the file cannot be read, lacks a column, or holds an error that is not a positive number.
    """
    names = [*space.names, "error"]
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or " ".join(str(problem).split())[:120]
        raise InputError(f"cannot read the truth {path}: {reason}") from None
    missing = [name for name in names if name not in table]
    if missing:
        raise InputError(f"truth {path} has no column {missing[0]}; it needs {', '.join(names)}")
    values = table[names].apply(pd.to_numeric, errors="coerce")
    if not (np.isfinite(values).all(axis=None) and (values > 0).all(axis=None)):
        raise InputError(f"truth {path} holds values that are no positive numbers; leave those rows out")
    if (values[list(space.names)] % 1 != 0).any(axis=None):
        raise InputError(f"truth {path} holds parameters that are no whole numbers; correct those rows")
    values = values.astype(dict.fromkeys(space.names, "int64"))
    candidates = pd.MultiIndex.from_arrays(list(space.columns(space.candidates).values()))
    kept = values[pd.MultiIndex.from_frame(values[list(space.names)]).isin(candidates)].reset_index(drop=True)
    if kept.empty:
        raise InputError(f"truth {path} holds no candidate of space {space.name}; give the table of another space")
    return kept, len(values) - len(kept)


def mean_truth(space: SearchSpace, table: pd.DataFrame) -> tuple[pd.DataFrame, float | None]:
    """Return a table with p, i, geometric mean error `truth` and number of `trainings` of each shape, and the noise.

    The noise is the sd of log e of one training, pooled over the shapes with several; None if there are none.
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
    """Return `count` candidates, evenly spaced over a table ordered by size; all candidates if it has no more."""
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
    display: Progress | None = None,
) -> pd.DataFrame:
    """Train shapes for many steps and return their errors on the test text, as `read_truth` does, without failed ones.

    The seeds, and so the order of the text, differ from those of any search.
    """
    evaluate = Evaluator(_Truth(error.with_steps(steps)), space, study)
    rows = []
    cost = objectives_of(space, np.array([list(shape.values()) for shape in shapes]))["operations"].to_numpy(float)
    with (display or Progress()).bar(f"training {len(shapes)} shapes for {steps} steps", seeds * cost.sum()) as advance:
        for shape, share in zip(shapes, cost, strict=True):
            for seed in range(seeds):
                found = evaluate(shape, _TRUTH_SEEDS + seed)
                advance(share)
                if found.error is not None:
                    rows.append({**shape, "error": found.error})
    return pd.DataFrame(rows, columns=[*space.names, "error"])


class _Truth:
    """The error on the test text after long training."""

    def __init__(self, error: Distillation):
        self._error = error

    @property
    def settings(self) -> dict[str, Any]:
        return {**self._error.settings, "truth": self._error.material.test.digest}

    def __call__(self, architecture: Architecture, seed: int) -> float:
        student = self._error.student(architecture)
        self._error.train(student, steps=self._error.steps_of(architecture), seed=seed)
        return self._error.measure(student, self._error.material.test)
