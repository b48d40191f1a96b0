"""Replays of latency predictors over measured tables: fitted to some rows, how well does one predict the others?"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.base.progress import Progress
from fsp.objectives.products import LEAST_ROWS, fit_products, relative_errors
from fsp.trust.replay.table import read_columns

_BASELINE_FACTORS = 3  # as in D * H * H or D * H * I, to which most operations of all layers are proportional


@dataclass(frozen=True)
class LatencyTable:
    """Distinct architectures and their measured latencies.

    Attributes:
        names: names of the parameters that vary.
        parameters: values of these parameters, `n x d`.
        latencies: one column per target, `n x m`, positive.
        constant: names of the parameters that are the same in every row and are left out.
        rows_read: as in `fsp.trust.replay.table.Table`.
        rows_missing: as in `fsp.trust.replay.table.Table`.
        rows_merged: as in `fsp.trust.replay.table.Table`.
    """

    names: tuple[str, ...]
    parameters: NDArray[np.float64]
    latencies: NDArray[np.float64]
    constant: tuple[str, ...]
    rows_read: int
    rows_missing: int
    rows_merged: int

    def __len__(self) -> int:
        return len(self.parameters)


def read_latencies(path: str | Path, *, parameters: Sequence[str], targets: Sequence[str]) -> LatencyTable:
    r"""Return the latency table in a CSV file with a header.

    Rows in which a used column is empty are left out; the latencies of rows equal in all parameters are averaged, so
    that no architecture is on both sides of a split.

    Args:
        path: a UTF-8 CSV file.
        parameters: columns that define an architecture, none negative.
        targets: columns of latencies, positive; each is predicted separately, and their sum is judged.

    Raises:
        InputError: the file or a column does not exist, a column is named twice, a cell is not a finite number, a
            latency is not positive, a parameter is negative, or no parameter varies.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        ...     _ = file.write("depth,width,ms\n1,8,5\n2,8,9\n2,8,11\n")
        ...     file.flush()
        ...     table = read_latencies(file.name, parameters=["depth", "width"], targets=["ms"])
        >>> table.latencies.ravel().tolist(), table.constant, table.rows_merged
        ([5.0, 10.0], ('width',), 1)
    """
    if not parameters or not targets:
        raise InputError("name at least one column of parameters and one target")
    used = [*parameters, *targets]
    if twice := [name for k, name in enumerate(used) if name in used[:k]]:
        raise InputError(f"column {twice[0]!r} is named twice; name each column once")
    values, lines, rows_read = read_columns(path, used)
    for j, name in enumerate(used):
        target = j >= len(parameters)
        bad = values[:, j] <= 0 if target else values[:, j] < 0
        if bad.any():
            row = int(bad.argmax())
            rule = "latencies must be positive" if target else "parameters must not be negative"
            raise InputError(f"{path}, line {lines[row]}: {name} is {values[row, j]:g}; {rule}")
    shapes, first, group, count = np.unique(
        values[:, : len(parameters)], axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    latencies = np.zeros((len(first), len(targets)))
    np.add.at(latencies, group.ravel(), values[:, len(parameters) :])
    latencies /= count[:, None]
    sequence = np.argsort(first)
    varies = (shapes != shapes[0]).any(axis=0)
    if not varies.any():
        raise InputError(f"{path}: {', '.join(parameters)} are the same in every row; there is nothing to predict from")
    return LatencyTable(
        tuple(name for name, kept in zip(parameters, varies, strict=True) if kept),
        shapes[sequence][:, varies],
        latencies[sequence],
        tuple(name for name, kept in zip(parameters, varies, strict=True) if not kept),
        rows_read,
        rows_read - len(values),
        len(values) - len(first),
    )


@dataclass(frozen=True)
class SpeedReplay:
    """How well a predictor and the baseline predict rows outside their fit, over several splits.

    Attributes:
        table: the table.
        predicted: scores of the predictor, one entry per split, with `mape`, `within_5_percent`, `within_10_percent`
            and `spearman`.
        baseline: the same scores of the baseline.
        n_train: rows that each split fits.
        n_test: rows that each split predicts.
        law: for each target, the products of the first split's fit.
    """

    table: LatencyTable
    predicted: list[dict[str, float]]
    baseline: list[dict[str, float]]
    n_train: int
    n_test: int
    law: dict[str, dict[str, float]]

    @property
    def warnings(self) -> list[str]:
        """Findings against the predictor, one line each."""
        ours, line = (_means(scores)["mape"] for scores in (self.predicted, self.baseline))
        if ours <= line:
            return []
        return [
            f"the straight line predicts better (MAPE {line:.2%} against {ours:.2%}): this table is no sum of products "
            "with positive coefficients; a latency may fall where a parameter grows"
        ]

    def describe(self) -> dict[str, Any]:
        """Return the replay as a JSON-like value: means over the splits, and the largest `mape` of any.

        Errors and shares are fractions: a `mape` of 0.05 is 5%.
        """
        return {
            **_means(self.predicted),
            "mape_max": max(score["mape"] for score in self.predicted),
            "n_train": self.n_train,
            "n_test": self.n_test,
            "seeds": len(self.predicted),
            "baseline": _means(self.baseline),
            "law": self.law,
            "warnings": self.warnings,
            "architectures": len(self.table),
            "constant": list(self.table.constant),
            "rows_read": self.table.rows_read,
            "rows_missing": self.table.rows_missing,
            "rows_merged": self.table.rows_merged,
        }


def replay_speed(
    table: LatencyTable, *, targets: Sequence[str], train: int, seeds: int = 1, display: Progress | None = None
) -> SpeedReplay:
    """Return how well latencies are predicted from a random part of a table.

    The baseline is a straight line, fitted by ordinary least squares, in the product of at most three parameters that
    fits the latency of the training rows best; it corresponds to a count of operations.

    Args:
        table: the measurements.
        targets: names of the columns of `table.latencies`.
        train: number of rows to fit; all others are predicted.
        seeds: number of splits, with seeds 0, 1, ...
        display: shows progress.

    Raises:
        InputError: fewer than ten rows to fit or to predict, or no seed.
    """
    if not LEAST_ROWS <= train <= len(table) - LEAST_ROWS:
        raise InputError(
            f"{train} training rows of {len(table)} architectures; at least {LEAST_ROWS} are needed to fit to, and "
            f"{LEAST_ROWS} to predict"
        )
    if seeds < 1:
        raise InputError(f"seeds {seeds} is out of range; split at least once")
    predicted, baseline = [], []
    law: dict[str, dict[str, float]] = {}
    with (display or Progress()).bar(f"{seeds} splits", seeds) as advance:
        for seed in range(seeds):
            rows = np.random.default_rng(seed).permutation(len(table))
            known, unknown = rows[:train], rows[train:]
            total = table.latencies.sum(axis=1)
            guess = np.zeros(len(unknown))
            for name, latency in zip(targets, table.latencies.T, strict=True):
                fitted = fit_products(table.parameters[known], latency[known])
                guess += fitted(table.parameters[unknown])
                law.setdefault(name, fitted.describe(table.names))
            line = _line(table.parameters[known], total[known], table.parameters[unknown])
            predicted.append(_score(guess, total[unknown]))
            baseline.append(_score(line, total[unknown]))
            advance(1)
    return SpeedReplay(table, predicted, baseline, train, len(table) - train, law)


def _line(
    parameters: NDArray[np.float64], latency: NDArray[np.float64], others: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the predictions of the straight line in the product that fits the latency best."""
    columns = range(parameters.shape[1])
    best, least = np.full(len(others), latency.mean()), np.inf
    for k in range(1, _BASELINE_FACTORS + 1):
        for term in itertools.combinations_with_replacement(columns, k):
            product = parameters[:, list(term)].prod(axis=1)
            design = np.stack([np.ones_like(product), product / max(product.max(), 1e-300)], axis=1)
            solution, *_ = np.linalg.lstsq(design, latency, rcond=None)
            squares = float(((design @ solution - latency) ** 2).sum())
            if squares < least:
                scaled = others[:, list(term)].prod(axis=1) / max(product.max(), 1e-300)
                best, least = solution[0] + solution[1] * scaled, squares
    return best


def _score(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> dict[str, float]:
    from scipy.stats import spearmanr

    errors = relative_errors(predicted, measured)
    varied = len(np.unique(predicted)) > 1 and len(np.unique(measured)) > 1
    return {
        "mape": float(errors.mean()),
        "within_5_percent": float((errors <= 0.05).mean()),
        "within_10_percent": float((errors <= 0.10).mean()),
        "spearman": float(spearmanr(predicted, measured).statistic) if varied else 0.0,
    }


def _means(scores: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}
