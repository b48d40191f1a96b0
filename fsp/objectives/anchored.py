"""The error after long training, predicted for all candidates from short errors and a few long trainings: the anchors.

Short errors rank similar shapes well and dissimilar shapes badly: at equal short error, a deep network gains more from
further training than one with a single layer, and a narrow network cannot hold all of T's state. A few long trainings,
spread over the shapes, measure these differences.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fsp.base.errors import InputError
from fsp.spaces.space import SearchSpace

Floats = NDArray[np.float64]

LEAST_ANCHORS = 4
_QUANTILE = 0.975  # of Student's distribution; .95 covers 90% of all rows, but fewer of those predicted best
_PRIOR = 1e-2  # precision of standardised coefficients before any anchor; keeps the first choices solvable


def sizes_of(space: SearchSpace, table: pd.DataFrame) -> tuple[Floats, list[int]]:
    """Return the size parameters of a table's rows, `n x k`, and T's, `(k,)`."""
    names = list(space.sizes)
    return table[names].to_numpy(dtype=np.float64), [space.maximum[name] for name in names]


def anchor_rows(short: ArrayLike, sizes: ArrayLike, maximum: ArrayLike, cost: ArrayLike, count: int) -> list[int]:
    """Return the rows to train long, chosen to give the law of `anchored` the most information per cost.

    Greedy: the next row is the one with the largest gain in log determinant of the information (D-optimality) divided
    by the square root of its cost. Division by the cost itself would choose only the cheapest shapes, but the law has
    to predict all others. No long error is used.

    Args:
        short: error after short training, NaN where it failed (never an anchor), `(n,)`.
        sizes: the size parameters, `n x k`.
        maximum: the size parameters of T, `(k,)`.
        cost: cost of the long training of each row, positive, `(n,)`.
        count: number of anchors.

    Raises:
        InputError: fewer than four anchors, or fewer candidates than anchors.

    Source: Fedorov, Theory of Optimal Experiments (1972).

    Example:
        >>> sizes = np.array([[d, h] for d in (1, 2, 4, 6) for h in (128, 256, 384)])
        >>> short = 1 / sizes.prod(axis=1) ** 0.2
        >>> anchor_rows(short, sizes, [6, 384], np.ones(12), 4)
        [0, 9, 11, 2]
    """
    log_short = np.log(np.asarray(short, dtype=np.float64))
    known = np.flatnonzero(np.isfinite(log_short))
    if count < LEAST_ANCHORS:
        raise InputError(f"{count} anchors are too few to fit a law; give at least {LEAST_ANCHORS}")
    if len(known) < count:
        raise InputError(f"{len(known)} evaluated candidates cannot give {count} anchors; evaluate more, or ask fewer")
    design = np.column_stack([np.ones(len(known)), _features(log_short, sizes, maximum)[known]])
    price = np.sqrt(np.asarray(cost, dtype=np.float64)[known])
    covariance = np.eye(design.shape[1]) / _PRIOR
    chosen: list[int] = []
    for _ in range(count):
        gain = np.log1p(np.einsum("ij,jk,ik->i", design, covariance, design)) / price
        gain[chosen] = -np.inf
        row = int(gain.argmax())
        chosen.append(row)
        along = covariance @ design[row]
        covariance -= np.outer(along, along) / (1 + design[row] @ along)
    return [int(known[row]) for row in chosen]


def anchored(short: ArrayLike, long: ArrayLike, sizes: ArrayLike, maximum: ArrayLike) -> pd.DataFrame:
    """Return the error after long training of all rows, `error`, with the ends `low` and `high` of its 90% interval.

    log e_long - log e_short = a + b log e_short + Σ_k (c_k + d_k log e_short)(m_k/x_k - 1), where m_k is T's size and
    x_k the candidate's, by Bayesian ridge regression on the rows whose long error is known: with few of them the law
    shrinks towards a common factor. Rows with a known long error keep it. The half-width of the intervals, in log e, is
    the root mean square of the residuals of anchors left out in turn, times Student's 97.5% quantile at the degrees of
    freedom that the law leaves (n - 1 minus the effective number of its coefficients; at least 1). The intervals
    therefore also hold for the row predicted best, whose prediction is the most likely to be too good, and cover about
    96% of all rows (benchmarks/coverage.md). With 4 to 8 anchors few degrees of freedom are left, and the intervals are
    several times as wide as with 12.

    Args:
        short: error after short training, positive, NaN where it failed, `(n,)`.
        long: error after long training, NaN where not trained, `(n,)`.
        sizes: the size parameters, `n x k`.
        maximum: the size parameters of T, `(k,)`.

    Returns:
        One row per candidate; NaN where the short error is NaN.

    Raises:
        InputError: fewer than four rows with both errors.

    Source: the autoregressive model of Kennedy and O'Hagan, Predicting the output from a complex computer code when
    fast approximations are available (2000); MacKay, Bayesian interpolation (1992), for the strength of the ridge and
    the effective number of coefficients.

    Example:
        >>> sizes = np.array([[d, h] for d in (1, 2, 4, 6) for h in (128, 256, 384)])
        >>> short = 1 / sizes.prod(axis=1) ** 0.2
        >>> long = 0.8 * short * (6 / sizes[:, 0]) ** 0.1
        >>> predicted = anchored(short, np.where(np.arange(12) % 2, long, np.nan), sizes, [6, 384])
        >>> bool(np.allclose(predicted["error"], long, rtol=0.02)), list(predicted.columns)
        (True, ['error', 'low', 'high'])
    """
    from scipy.stats import t
    from sklearn.linear_model import BayesianRidge

    log_short, log_long = (np.log(np.asarray(values, dtype=np.float64)) for values in (short, long))
    known = np.flatnonzero(np.isfinite(log_long) & np.isfinite(log_short))
    if len(known) < LEAST_ANCHORS:
        raise InputError(f"{len(known)} anchors with an error are too few for a law; {LEAST_ANCHORS} are needed")
    features, change = _features(log_short, sizes, maximum), log_long - log_short

    def fit(rows: NDArray[np.intp]) -> Any:
        return BayesianRidge().fit(features[rows], change[rows])

    law = fit(known)
    left_out = [change[row] - fit(known[known != row]).predict(features[[row]])[0] for row in known]
    half_width = t.ppf(_QUANTILE, _freedom(law, features[known])) * math.sqrt(np.mean(np.square(left_out)))
    there = np.isfinite(log_short)
    told = np.full((len(log_short), 3), np.nan)
    told[there] = (log_short[there] + law.predict(features[there]))[:, None] + half_width * np.array([0, -1, 1])
    told[known] = log_long[known, None]
    return pd.DataFrame(np.exp(told), columns=["error", "low", "high"])


def _freedom(law: Any, features: Floats) -> float:
    """Return the degrees of freedom that a ridge regression leaves of its rows, at least 1."""
    centred = features - features.mean(axis=0)
    effective = law.alpha_ * float(np.einsum("ij,jk,ik->", centred, law.sigma_, centred))
    return max(len(features) - 1 - effective, 1.0)


def _features(log_short: Floats, sizes: ArrayLike, maximum: ArrayLike) -> Floats:
    """Return features standardised over the rows with a short error, `n x (1 + 2k)`; constant ones are zero."""
    lacking = np.asarray(maximum, dtype=np.float64) / np.asarray(sizes, dtype=np.float64) - 1
    features = np.column_stack([log_short, lacking, lacking * log_short[:, None]])
    centre, scale = np.nanmean(features, axis=0), np.nanstd(features, axis=0)
    return np.divide(features - centre, scale, out=np.zeros_like(features), where=scale > 0)
