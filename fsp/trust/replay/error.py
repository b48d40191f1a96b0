"""Replays of the error `fitted` over measured tables: fitted to some rows, how well does it rank the others?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.base.progress import Progress
from fsp.objectives.fitted import FittedError
from fsp.objectives.power_law import least_groups
from fsp.trust.agreement import kendall, mean, size_bands, spearman, spearman_in_bands, top_overlap
from fsp.trust.replay.table import Table

_ERROR = ""  # name of the error's column, which no parameter can have
_LEAST_TEST_ROWS = 3  # fewer have no rank correlation


@dataclass(frozen=True)
class ErrorReplay:
    """How well `fitted` predicts a table.

    Attributes:
        table: the table.
        train: number of rows it was fitted to, for each seed.
        scores: one row per seed, with the scores on all other rows: `spearman`, `kendall`, `spearman_in_bands`,
            `top10_overlap` (see `fsp.trust.agreement`), `coverage_90` (the share inside the 90% intervals), and as
            `baseline_params_...` the same rank scores of the table's p, of which more is assumed to be better.
    """

    table: Table
    train: int
    scores: pd.DataFrame

    def describe(self) -> dict[str, Any]:
        """Return the replay as a JSON-like value: the mean of each score over seeds, None if it is undefined.

        `coverage_90_sd` is over seeds; `ahead_in_bands` is the share of seeds in which `fitted` ranks better
        inside bands than p.
        """
        means = {str(name): mean(column.tolist()) for name, column in self.scores.items()}
        ahead = self.scores["spearman_in_bands"] > self.scores["baseline_params_spearman_in_bands"]
        return {
            **{name: None if np.isnan(value) else value for name, value in means.items()},
            "coverage_90_sd": float(self.scores["coverage_90"].std(ddof=0)),
            "ahead_in_bands": float(ahead.mean()),
            "n_train": self.train,
            "n_test": len(self.table) - self.train,
            "seeds": len(self.scores),
            "rows_read": self.table.rows_read,
            "rows_missing": self.table.rows_missing,
            "rows_merged": self.table.rows_merged,
        }


def replay_error(table: Table, *, train: int, seeds: int = 1, display: Progress | None = None) -> ErrorReplay:
    """Return how well the error `fitted` predicts a table from a part of it.

    For each seed 0, 1, ... the law is fitted to `train` random rows, by their parameters alone, and judged on all
    others. The bands are the quintiles of p over the whole table, so they are the same for all seeds.

    Args:
        table: the measurements.
        train: number of rows to fit, from 12 (see `least_groups`) to three fewer than the table has.
        seeds: number of repetitions.
        display: shows progress.

    Raises:
        InputError: train or seeds is out of range, or a parameter is not positive.

    Example:
        >>> d = np.arange(1.0, 41.0)
        >>> table = Table(("d",), d[:, None], np.array([False]), d, d, d**-0.5, np.arange(40), 40, 0, 0)
        >>> round(replay_error(table, train=12).describe()["spearman"], 6)
        1.0
    """
    least = least_groups(len(table.names))
    if len(table) < least + _LEAST_TEST_ROWS:
        raise InputError(
            f"the table has {len(table)} architectures, too few to fit some and judge the others; give at least "
            f"{least + _LEAST_TEST_ROWS}"
        )
    most = len(table) - _LEAST_TEST_ROWS
    if not least <= train <= most:
        raise InputError(
            f"train {train} is out of range; choose {least} to {most} of the table's {len(table)} architectures"
        )
    if seeds < 1:
        raise InputError(f"seeds {seeds} is out of range; fit at least once")
    positive = table.parameters > 0
    if not positive.all():
        row, column = np.argwhere(~positive)[0]
        raise InputError(
            f"line {table.lines[row]}: {table.names[column]} is {table.parameters[row, column]:g}; "
            "the fitted error needs positive parameters"
        )
    bands = size_bands(table.size)
    scores = []
    with (display or Progress()).bar(f"fitted, {seeds} seeds", seeds) as advance:
        for seed in range(seeds):
            rows = np.random.default_rng(seed).permutation(len(table))
            scores.append(_scores(table, bands, rows[:train], rows[train:]))
            advance(1)
    return ErrorReplay(table, train, pd.DataFrame(scores))


def _scores(
    table: Table, bands: NDArray[np.int64], train: NDArray[np.int64], test: NDArray[np.int64]
) -> dict[str, float]:
    shapes = pd.DataFrame(table.parameters, columns=list(table.names))
    law = FittedError.fit(
        shapes.iloc[train].assign(**{_ERROR: table.error[train]}), parameters=table.names, error=_ERROR
    )
    predicted = law.predict(shapes.iloc[test])
    truth = table.error[test]
    return {
        **_rank_scores(predicted["error"].to_numpy(), truth, bands[test]),
        "coverage_90": float(((predicted["low"] <= truth) & (truth <= predicted["high"])).mean()),
        **{f"baseline_params_{k}": v for k, v in _rank_scores(-table.size[test], truth, bands[test]).items()},
    }


def _rank_scores(
    surrogate: NDArray[np.float64], truth: NDArray[np.float64], bands: NDArray[np.int64]
) -> dict[str, float]:
    return {
        "spearman": spearman(surrogate, truth),
        "kendall": kendall(surrogate, truth),
        "spearman_in_bands": spearman_in_bands(surrogate, truth, bands),
        "top10_overlap": top_overlap(surrogate, truth),
    }
