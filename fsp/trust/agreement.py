"""Rank agreement of two columns: over all rows, inside size bands, at the top, and the ceiling that noise sets.

A correlation is undefined (NaN) for fewer than three rows or if the truth does not vary; such a band is left out of
means and minima. A surrogate that does not vary while the truth does ranks nothing and scores 0.
"""

import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fsp.base.errors import InputError

Floats = NDArray[np.float64]

BANDS = 5
_LEAST_ROWS = 3  # two rows always correlate perfectly
_CEILING_DRAWS = 200


def spearman(surrogate: ArrayLike, truth: ArrayLike, /) -> float:
    """Return Spearman's rank correlation, ties at their mean rank; NaN or 0 as described in the module.

    Example:
        >>> spearman([1, 2, 3], [10, 30, 20]), spearman([1, 1, 1], [1, 2, 3]), spearman([1, 2], [1, 2])
        (0.5, 0.0, nan)
    """
    from scipy.stats import spearmanr

    return _correlation(lambda a, b: spearmanr(a, b).statistic, surrogate, truth)


def kendall(surrogate: ArrayLike, truth: ArrayLike, /) -> float:
    """Return Kendall's tau-b; NaN or 0 as described in the module.

    Example:
        >>> round(kendall([1, 2, 3], [10, 30, 20]), 3)
        0.333
    """
    from scipy.stats import kendalltau

    return _correlation(lambda a, b: kendalltau(a, b).statistic, surrogate, truth)


def size_bands(size: ArrayLike, /) -> NDArray[np.int64]:
    """Return the quintile of each row's size, 0 to 4, `(n,)`; equal sizes share a band, so bands may be empty.

    Example:
        >>> size_bands([1, 2, 3, 4, 5, 5]).tolist()
        [0, 1, 2, 3, 4, 4]
    """
    values = np.asarray(size, dtype=np.float64)
    edges = np.quantile(values, np.arange(1, BANDS) / BANDS)
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def spearman_in_bands(surrogate: ArrayLike, truth: ArrayLike, bands: NDArray[np.int64], /) -> float:
    """Return the mean over bands of Spearman's correlation inside them; NaN if it is undefined in every band.

    Example:
        >>> spearman_in_bands([1, 2, 3, 3, 2, 1], [1, 2, 3, 4, 5, 6], np.array([0, 0, 0, 1, 1, 1]))
        0.0
    """
    a, b = np.asarray(surrogate, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    return mean(spearman(a[rows], b[rows]) for rows in rows_of(bands))


def top_overlap(surrogate: ArrayLike, truth: ArrayLike, /, *, share: float = 0.1) -> float:
    """Return the share of the truly best rows that are among the surrogate's best, equally many of both.

    Their number is `share` of the rows, rounded, at least one. If a tie straddles the end, its rows count with the
    probability that breaking ties at random includes them, so the result does not depend on the order of rows.

    Example:
        >>> top_overlap([1, 2, 3, 4], [1, 3, 2, 4], share=0.5), top_overlap([0, 0, 0, 0], [1, 2, 3, 4], share=0.5)
        (0.5, 0.5)
    """
    a, b = np.asarray(surrogate, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    count = max(1, round(share * len(a)))
    return float(_taken_in(a, count) @ _taken_in(b, count) / count)


def noise_ceiling(truth: ArrayLike, noise: ArrayLike, /, *, seed: int = 0) -> float:
    """Return the Spearman correlation to expect between the truth and an independent measurement of it.

    It is the mean correlation of two measurements of the same rows over 200 parametric resamples. Two assumptions are
    made: the noise of log e is normal with the given sd, and independent between rows; and the log errors without noise
    are distributed like the measured ones, shrunk to their mean until added noise restores the measured variance
    (without shrinking, the noise would be included twice and the ceiling would be too high). A noise-free surrogate may
    exceed this ceiling, because only one side of its comparison is noisy.

    Args:
        truth: measured errors, `(n,)`, positive.
        noise: sd of log e of a row's measurement (divided by the square root of the number of seeds if they were
            averaged), a number or `(n,)`, not negative.
        seed: seed of the draws.

    Returns:
        1 without noise, about 0 if noise explains all differences, NaN for fewer than three rows or if the truth does
        not vary.

    Example:
        >>> noise_ceiling([0.1, 0.2, 0.4, 0.8], 0.0), noise_ceiling([0.1, 0.2, 0.4, 0.8], 0.3) < 0.95
        (1.0, True)
    """
    logs = np.log(np.asarray(truth, dtype=np.float64))
    sd = np.broadcast_to(np.asarray(noise, dtype=np.float64), logs.shape)
    if not (np.isfinite(sd).all() and (sd >= 0).all()):
        raise InputError("the noise of the truth must be finite and not negative")
    if len(logs) < _LEAST_ROWS or np.ptp(logs) == 0:
        return math.nan
    shrinkage = math.sqrt(max(0.0, 1 - float((sd**2).mean() / logs.var(ddof=1))))
    expected = logs.mean() + shrinkage * (logs - logs.mean())
    draws = np.random.default_rng(seed).normal(size=(2, _CEILING_DRAWS, len(logs))) * sd
    return float(np.mean(row_spearman(expected + draws[0], expected + draws[1])))


def row_spearman(surrogates: Floats, truths: Floats, /) -> Floats:
    """Return the Spearman correlation of each row of one `k x n` array with the same row of another, `(k,)`.

    Example:
        >>> row_spearman(np.array([[1.0, 2, 3], [1, 1, 1]]), np.array([[1.0, 2, 3], [3, 2, 1]])).tolist()
        [1.0, 0.0]
    """
    from scipy.stats import rankdata

    a, b = (rankdata(values, axis=1) for values in (surrogates, truths))
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (a, b))
    products, spread = (a * b).sum(axis=1), np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    result = np.divide(products, spread, out=np.zeros(len(a)), where=spread > 0)
    result[(np.ptp(truths, axis=1) == 0) | (truths.shape[1] < _LEAST_ROWS)] = math.nan
    return result


def rows_of(bands: NDArray[np.int64], /) -> list[NDArray[np.int64]]:
    """Return the row numbers of each of the five bands.

    Example:
        >>> [rows.tolist() for rows in rows_of(np.array([0, 4, 0]))]
        [[0, 2], [], [], [], [1]]
    """
    return [np.flatnonzero(bands == band) for band in range(BANDS)]


def mean(values: Iterable[float], /) -> float:
    """Return the mean of the values that are defined, NaN if none is.

    Example:
        >>> mean([0.5, math.nan, 1.0]), mean([math.nan])
        (0.75, nan)
    """
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _correlation(measure: Callable[[Floats, Floats], float], surrogate: ArrayLike, truth: ArrayLike) -> float:
    a, b = np.asarray(surrogate, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if len(b) < _LEAST_ROWS or np.ptp(b) == 0:
        return math.nan
    return 0.0 if np.ptp(a) == 0 else float(measure(a, b))


def _taken_in(values: Floats, count: int) -> Floats:
    """Return the probability that each row is among the `count` least, ties broken at random, `(n,)`."""
    last = np.partition(values, count - 1)[count - 1]
    before, tied = values < last, values == last
    return np.where(before, 1.0, np.where(tied, (count - before.sum()) / tied.sum(), 0.0))
