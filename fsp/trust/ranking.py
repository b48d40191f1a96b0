"""How far to trust a surrogate's ranking: correlations inside size bands, their ceiling, and the regret of choosing.

Smaller is better for truth and surrogates; negate a surrogate for which more is better, such as the parameter count.
An undefined value (see `fsp.trust.agreement`) is NaN here and null in JSON.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fsp.base.errors import InputError
from fsp.search.coefficient import w_coefficient
from fsp.trust.agreement import (
    BANDS,
    Floats,
    kendall,
    mean,
    noise_ceiling,
    row_spearman,
    rows_of,
    size_bands,
    spearman,
    top_overlap,
)

Interval = tuple[float, float]
FINALISTS = 5
_NORMAL = 1.96  # 97.5% quantile of the normal distribution


@dataclass(frozen=True)
class Ranking:
    """How well one surrogate predicts the order of the truth. A value that is undefined or was not requested is NaN.

    Each interval is a 95% interval for the value over many more such rows. The minimum over bands has no interval,
    because the minimum of a sample lies far below that of all rows.

    Attributes:
        rows: number of rows.
        band_rows: number of rows in each size band, smallest sizes first.
        spearman: Spearman's correlation over all rows.
        spearman_interval: interval of `spearman`.
        kendall: Kendall's tau-b over all rows.
        in_bands: Spearman's correlation inside each band.
        spearman_in_bands: mean of `in_bands`.
        spearman_in_bands_interval: interval of `spearman_in_bands`.
        least_in_bands: minimum of `in_bands`.
        ceiling: `noise_ceiling` over all rows.
        ceiling_in_bands: mean of `noise_ceiling` over bands.
        top10_overlap: see `top_overlap`.
        caps: size caps.
        regrets: for each cap, the regret of choosing the row of at most this size with the least surrogate.
        w_regret: regret of choosing the largest W by the surrogate.
        finalists_regrets: `regrets` if the truly best of the surrogate's best `FINALISTS` rows is chosen.
        finalists_w_regret: `w_regret` in the same case.
    """

    rows: int
    band_rows: tuple[int, ...]
    spearman: float
    spearman_interval: Interval
    kendall: float
    in_bands: tuple[float, ...]
    spearman_in_bands: float
    spearman_in_bands_interval: Interval
    least_in_bands: float
    ceiling: float
    ceiling_in_bands: float
    top10_overlap: float
    caps: tuple[float, ...]
    regrets: tuple[float, ...]
    w_regret: float
    finalists_regrets: tuple[float, ...]
    finalists_w_regret: float

    def describe(self) -> dict[str, Any]:
        """Return all fields as a JSON-like value, None for undefined values."""
        return {name: _json_like(value) for name, value in asdict(self).items()}


def rank(
    surrogates: Mapping[str, ArrayLike],
    truth: ArrayLike,
    size: ArrayLike,
    /,
    *,
    speed: ArrayLike | None = None,
    maximum: tuple[float, float] | None = None,
    noise: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Ranking]:
    """Return how well each surrogate predicts the order of one truth, all with the same bands, caps and resamples.

    The bands are the quintiles of size (`size_bands`), the caps its quantiles at 20, 40, 60, 80 and 100%.

    Args:
        surrogates: surrogates by name, `(n,)` each, smaller is better.
        truth: the true error, `(n,)`, positive.
        size: p, `(n,)`, positive.
        speed: i, `(n,)`, positive; None for no regrets of W.
        maximum: p and i of T for W; by default the largest of the rows.
        noise: sd of log truth of one row's measurement, a number or `(n,)`; None for no ceiling.
        resamples: number of bootstrap resamples; 0 for no intervals.
        seed: seed of the resamples and the ceiling.

    Raises:
        InputError: there are no rows, lengths differ, a value is not finite, or truth, size or speed is not positive.

    Example:
        >>> truth, size = [0.5, 0.4, 0.3, 0.25], [1, 2, 3, 4]
        >>> found = rank({"good": [5, 4, 3, 2], "poor": [4, 4, 4, 5]}, truth, size, resamples=0)
        >>> found["good"].spearman, round(found["poor"].spearman, 2), round(found["poor"].regrets[-1], 2)
        (1.0, -0.77, 0.6)
    """
    true, p = _column("truth", truth, positive=True), _column("size", size, positive=True)
    columns = {name: _column(name, values) for name, values in surrogates.items()}
    i = None if speed is None else _column("speed", speed, positive=True)
    for name, values in {"size": p, **({} if i is None else {"speed": i}), **columns}.items():
        if len(values) != len(true):
            raise InputError(f"{name} has {len(values)} rows and the truth {len(true)}; give one value per row")
    bands = size_bands(p)
    caps = np.quantile(p, np.arange(1, BANDS + 1) / BANDS)
    ceiling, ceiling_in_bands = math.nan, math.nan
    if noise is not None:
        sd = _column("noise", noise)
        if sd.shape not in ((), true.shape):
            raise InputError(f"noise has {len(sd)} rows and the truth {len(true)}; give one number, or one per row")
        sd = np.broadcast_to(sd, true.shape)
        ceiling = noise_ceiling(true, sd, seed=seed)
        ceiling_in_bands = mean(noise_ceiling(true[rows], sd[rows], seed=seed) for rows in rows_of(bands))
    gain = None if i is None else w_coefficient(p, i, np.ones(len(p)), maximum=maximum or (p.max(), i.max()))
    result = {}
    for name, surrogate in columns.items():
        inside = [spearman(surrogate[rows], true[rows]) for rows in rows_of(bands)]
        every, middle = _intervals(surrogate, true, bands, resamples, seed)
        result[name] = Ranking(
            rows=len(true),
            band_rows=tuple(len(rows) for rows in rows_of(bands)),
            spearman=spearman(surrogate, true),
            spearman_interval=every,
            kendall=kendall(surrogate, true),
            in_bands=tuple(inside),
            spearman_in_bands=mean(inside),
            spearman_in_bands_interval=middle,
            least_in_bands=min((value for value in inside if not math.isnan(value)), default=math.nan),
            ceiling=ceiling,
            ceiling_in_bands=ceiling_in_bands,
            top10_overlap=top_overlap(surrogate, true),
            caps=tuple(caps.tolist()),
            regrets=tuple(regret(surrogate[p <= cap], true[p <= cap]) for cap in caps),
            w_regret=math.nan if gain is None else w_regret(surrogate, true, gain),
            finalists_regrets=tuple(regret(surrogate[p <= cap], true[p <= cap], finalists=FINALISTS) for cap in caps),
            finalists_w_regret=math.nan if gain is None else w_regret(surrogate, true, gain, finalists=FINALISTS),
        )
    return result


def regret(surrogate: ArrayLike, truth: ArrayLike, /, *, finalists: int = 1) -> float:
    """Return (e - e*)/e*, with e the true error of the surrogate's best row and e* the least; ties are averaged.

    With several finalists, e is the least true error of the surrogate's best rows; ties are broken by row order.

    Example:
        >>> regret([3, 1, 2], [0.25, 0.5, 1.0]), regret([1, 1], [0.25, 0.5])
        (1.0, 0.5)
        >>> regret([3, 1, 2], [0.25, 0.5, 1.0], finalists=3)
        0.0
    """
    a, b = np.asarray(surrogate, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if finalists > 1:
        return float(b[np.argsort(a, kind="stable")[:finalists]].min() / b.min() - 1)
    return float(b[a == a.min()].mean() / b.min() - 1)


def w_regret(surrogate: ArrayLike, truth: ArrayLike, gain: ArrayLike, /, *, finalists: int = 1) -> float:
    """Return (W* - W)/W*, with W of the row that is best if the surrogate replaces the error; ties are averaged.

    W = gain/error needs a ratio-scaled error: NaN for a surrogate that is not positive, and if W* is 0.

    Args:
        surrogate: `(n,)`.
        truth: the true error, `(n,)`, positive.
        gain: W without its error, (1 - p/p_T)(1 - i/i_T), `(n,)`.
        finalists: how many of the surrogate's best rows the truly best is chosen from; ties are broken by row order.

    Example:
        >>> w_regret([0.1, 0.5], [0.2, 0.1], [0.5, 0.5]), w_regret([-1, -2], [0.2, 0.1], [0.5, 0.5])
        (0.5, nan)
    """
    a, b, g = (np.asarray(values, dtype=np.float64) for values in (surrogate, truth, gain))
    best = (g / b).max()
    if not (a > 0).all() or best <= 0:
        return math.nan
    believed = g / a
    if finalists > 1:
        return float(1 - (g / b)[np.argsort(-believed, kind="stable")[:finalists]].max() / best)
    return float(1 - (g / b)[believed == believed.max()].mean() / best)


def _intervals(
    surrogate: Floats, truth: Floats, bands: NDArray[np.int64], resamples: int, seed: int
) -> tuple[Interval, Interval]:
    """Return the intervals of Spearman over all rows and of its mean over bands.

    Each is the smallest interval that contains two others: the percentile interval of resamples (rows drawn within each
    band) and Fisher's interval around the unbiased estimate. The first alone lies too low near 1, because rows drawn
    twice rank worse than fresh ones; the second alone is too short for bands of few rows. benchmarks/coverage.md has
    their measured coverage.

    Source: Bonett and Wright, Sample size requirements for estimating Pearson, Kendall and Spearman correlations
    (2000), for the variance on Fisher's scale; Hoeffding, A class of statistics with asymptotically normal
    distribution (1948), for the unbiased estimate.
    """
    if not resamples:
        return ((math.nan, math.nan),) * 2
    generator = np.random.default_rng(seed)
    parts = [rows for rows in rows_of(bands) if len(rows)]
    drawn = [rows[generator.integers(len(rows), size=(resamples, len(rows)))] for rows in parts]
    everywhere = np.concatenate(drawn, axis=1)
    inside = np.stack([row_spearman(surrogate[rows], truth[rows]) for rows in drawn])
    defined = ~np.isnan(inside)
    counts = defined.sum(axis=0)
    means = np.where(defined, inside, 0.0).sum(axis=0)[counts > 0] / counts[counts > 0]
    return (
        _union(_percentiles(row_spearman(surrogate[everywhere], truth[everywhere])), _fisher(surrogate, truth)),
        _union(_percentiles(means), _fisher(surrogate, truth, parts)),
    )


def _percentiles(values: Floats) -> Interval:
    values = values[~np.isnan(values)]
    if not len(values):
        return math.nan, math.nan
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def _fisher(surrogate: Floats, truth: Floats, parts: Sequence[NDArray[np.int64]] | None = None) -> Interval:
    """Return the interval of Spearman over all rows, or of its mean over the parts with more than three rows."""
    found = []
    for rows in [np.arange(len(truth))] if parts is None else parts:
        if len(rows) > 3 and not math.isnan(one := spearman(surrogate[rows], truth[rows])):
            n = len(rows)
            found.append((n, ((n + 1) * one - 3 * kendall(surrogate[rows], truth[rows])) / (n - 2)))
    if not found:
        return math.nan, math.nan
    counts, estimates = np.array(found).T
    edge = 1 - 1 / counts.sum() ** 2  # keeps the Fisher transform finite
    centre = float(np.clip(estimates.mean(), -edge, edge))
    sd = math.sqrt(float(((1 + centre**2 / 2) / (counts - 3)).sum())) / len(counts)
    return math.tanh(math.atanh(centre) - _NORMAL * sd), math.tanh(math.atanh(centre) + _NORMAL * sd)


def _union(one: Interval, other: Interval) -> Interval:
    return float(np.fmin(one[0], other[0])), float(np.fmax(one[1], other[1]))


def _column(name: str, values: ArrayLike, *, positive: bool = False) -> Floats:
    try:
        column = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} holds something that is no number") from None
    if not column.size:
        raise InputError(f"{name} has no rows; nothing can be ranked")
    if not np.isfinite(column).all() or (positive and not (column > 0).all()):
        raise InputError(f"{name} must be finite{' and positive' if positive else ''} in every row; leave others out")
    return column


def _json_like(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_json_like(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value
