"""The error after long training, told for all candidates from short errors and a few that were trained long: anchors.

Short errors rank well among like shapes and err between unlike ones: at equal short error a deep network still gains
from training where one of a single layer does not, and a narrow one cannot hold all of T's state. A few long trainings,
spread over the shapes, show by how much.
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
_QUANTILE = 0.975  # of Student's distribution; .95 covers 90% of all rows, but of those predicted best fewer
_PRIOR = 1e-2  # precision of standardised coefficients before any anchor; keeps the first choices solvable


def sizes_of(space: SearchSpace, table: pd.DataFrame) -> tuple[Floats, list[int]]:
    """Return the size parameters of a table's rows, `n x k`, and T's, `(k,)`."""
    names = list(space.sizes)
    return table[names].to_numpy(dtype=np.float64), [space.maximum[name] for name in names]


def anchor_rows(short: ArrayLike, sizes: ArrayLike, maximum: ArrayLike, cost: ArrayLike, count: int) -> list[int]:
    """Return the rows to train long, such that the law of `anchored` learns most for its cost.

    Greedily, each next row is the one with the largest gain in log determinant of the information (D-optimality) over
    the square root of its cost; over the cost itself the cheapest shapes alone would be taken, and the law has to reach
    all others. No long error is looked at.

    Args:
        short: error after short training, NaN where it failed (never an anchor), `(n,)`.
        sizes: the size parameters, `n x k`.
        maximum: those of T, `(k,)`.
        cost: of the long training of each, positive, `(n,)`.
        count: how many anchors.

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
        raise InputError(f"{count} anchors are too few to tell a law by; give at least {LEAST_ANCHORS}")
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

    log e_long - log e_short = a + b log e_short + Σ_k (c_k + d_k log e_short)(m_k/x_k - 1), m_k T's size and x_k the
    candidate's, by Bayesian ridge regression on the rows whose long error is known: with few of them the law shrinks
    towards a common factor. Rows that are known keep their value. The half-width of the intervals, in log e, is
    the root mean square of the residuals of anchors left out in turn, times Student's 97.5% quantile at as many degrees
    of freedom as the law leaves (n - 1 less the effective number of its coefficients; at least 1). So they also hold
    for the row that is predicted best, which is the likeliest to be flattered, and of all rows they cover 96% or so
    (benchmarks/coverage.md). With 4 to 8 anchors little is left, and they are several times as wide as with 12.

    Args:
        short: error after short training, positive, NaN where it failed, `(n,)`.
        long: error after long training, NaN where not trained, `(n,)`.
        sizes: the size parameters, `n x k`.
        maximum: those of T, `(k,)`.

    Returns:
        A row each; NaN where the short error is.

    Raises:
        InputError: fewer than four rows with both errors.

    Source: the autoregressive model of Kennedy and O'Hagan, Predicting the output from a complex computer code when
    fast approximations are available (2000); MacKay, Bayesian interpolation (1992), for the strength of the ridge and
    the effective number of coefficients.

    Example:
        >>> sizes = np.array([[d, h] for d in (1, 2, 4, 6) for h in (128, 256, 384)])
        >>> short = 1 / sizes.prod(axis=1) ** 0.2
        >>> long = 0.8 * short * (6 / sizes[:, 0]) ** 0.1
        >>> told = anchored(short, np.where(np.arange(12) % 2, long, np.nan), sizes, [6, 384])
        >>> bool(np.allclose(told["error"], long, rtol=0.02)), list(told.columns)
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
    """The degrees of freedom that a ridge regression leaves of its rows, at least 1."""
    centred = features - features.mean(axis=0)
    effective = law.alpha_ * float(np.einsum("ij,jk,ik->", centred, law.sigma_, centred))
    return max(len(features) - 1 - effective, 1.0)


def _features(log_short: Floats, sizes: ArrayLike, maximum: ArrayLike) -> Floats:
    """Standardised over the rows with a short error, `n x (1 + 2k)`; what never varies is zero."""
    lacking = np.asarray(maximum, dtype=np.float64) / np.asarray(sizes, dtype=np.float64) - 1
    features = np.column_stack([log_short, lacking, lacking * log_short[:, None]])
    centre, scale = np.nanmean(features, axis=0), np.nanstd(features, axis=0)
    return np.divide(features - centre, scale, out=np.zeros_like(features), where=scale > 0)
