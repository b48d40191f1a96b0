"""A power law fitted robustly, with prediction intervals calibrated by leaving shapes out.

log e = a + b·x, where x are logarithms. Each exponent b has a prior N(0, 1), which matters only where the rows carry
little information: a constant column keeps its full uncertainty, so predictions away from it have wide intervals.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.9  # of the prediction intervals
_HUBER = 1.345  # sd; larger residuals get less weight (95% efficient under normal noise)
_MAD = 1.4826  # sd of a normal variable over its median absolute deviation
_LEAST_SD = 1e-6  # of log e; keeps noise-free rows solvable, and their intervals wider than rounding errors
_PARTS = 200  # up to this number, groups are left out one by one; more groups are left out in this number of parts


@dataclass(frozen=True)
class PowerLaw:
    """The fitted law with k exponents.

    Attributes:
        centre: mean of the logarithms, `(k,)`.
        coefficients: value at the centre, then the exponents, `(k + 1,)`.
        covariance: covariance of the coefficients in units of the noise variance, `(k + 1) x (k + 1)`.
        half_width: half-width of the prediction interval if the coefficients were known exactly.
    """

    centre: Floats
    coefficients: Floats
    covariance: Floats
    half_width: float

    def predict(self, logs: Floats) -> tuple[Floats, Floats]:
        """Return the predicted log e and the half-width of its interval, `(n,)` each.

        Args:
            logs: logarithms of the sizes, `n x k`.
        """
        design = _design(logs, self.centre)
        return design @ self.coefficients, self.half_width * _spread(design, self.covariance)


def least_groups(exponents: int) -> int:
    """Return how many groups a law with `exponents` exponents needs for intervals with their nominal coverage.

    The quantile exists from 9 groups on, but with so few the left-out residuals depend on each other: with five
    exponents and 9 groups the intervals cover 76% (benchmarks/coverage.md).

    Example:
        >>> least_groups(1), least_groups(4), least_groups(6)
        (12, 12, 16)
    """
    return max(12, 2 * (exponents + 1) + 2)


def fit_power_law(logs: Floats, values: Floats, groups: NDArray[np.int64]) -> PowerLaw:
    """Return the law fitted to the rows.

    The fit is Huber's M-estimator by iterated reweighting; the noise is the median absolute deviation of residuals. For
    the intervals, each group of rows is left out in turn, the rest is refitted, and the absolute residuals of the group
    are divided by their predicted spread. The half-width is their quantile at level 0.9 (G + 1)/G, where each of the G
    groups has the same weight. New groups like the fitted ones then lie inside with a probability of about 0.9 for any
    distribution of the noise (exactly 0.9 if the refits were independent of the rows left out).

    Args:
        logs: logarithms of the sizes, `n x k`.
        values: log e, `(n,)`.
        groups: index of the shape of each row, `(n,)`, 0 to G - 1; see `least_groups`.

    Source: Huber, Robust Statistics (1981), section 7.8; Papadopoulos, Inductive conformal prediction (2008), for
    intervals from normalised residuals; Barber et al., Predictive inference with the jackknife+ (2021).

    Example:
        >>> x = np.log(np.arange(1.0, 21.0))[:, None]
        >>> noisy = -0.5 * x[:, 0] + 0.01 * (-1.0) ** np.arange(20)
        >>> law = fit_power_law(x, noisy, np.arange(20))
        >>> law.coefficients.round(2)[1], law.half_width < 0.03
        (np.float64(-0.5), True)
    """
    centre = logs.mean(axis=0)
    design = _design(logs, centre)
    coefficients, covariance, sd = _huber(design, values)
    count = int(groups.max()) + 1
    parts = groups % _PARTS
    scores = np.empty(len(values))
    for part in range(int(parts.max()) + 1):
        out = parts == part
        rest, rest_covariance, _ = _huber(design[~out], values[~out], sd)
        scores[out] = np.abs(values[out] - design[out] @ rest) / _spread(design[out], rest_covariance)
    weights = 1 / np.bincount(groups)[groups] / count
    half_width = _quantile(scores, weights, LEVEL * (count + 1) / count)
    return PowerLaw(centre, coefficients, covariance, max(half_width, _LEAST_SD))


def _design(logs: Floats, centre: Floats) -> Floats:
    return np.column_stack([np.ones(len(logs)), logs - centre])


def _spread(design: Floats, covariance: Floats) -> Floats:
    """Return the sd of a prediction in units of the noise, `(n,)`."""
    return np.sqrt(1 + np.einsum("ij,jk,ik->i", design, covariance, design))


def _huber(design: Floats, values: Floats, sd: float | None = None) -> tuple[Floats, Floats, float]:
    """Return the coefficients, their covariance in units of the noise variance, and the noise; `sd` fixes the noise."""
    weights = np.ones(len(values))
    prior = np.ones(design.shape[1])
    prior[0] = 0.0
    noise = max(float(values.std()), _LEAST_SD) if sd is None else sd
    coefficients: Floats = np.zeros(design.shape[1])
    for _ in range(100):
        information = design.T @ (weights[:, None] * design) + noise**2 * np.diag(prior)
        covariance = np.linalg.inv(information).astype(np.float64)
        previous, coefficients = coefficients, covariance @ (design.T @ (weights * values))
        residuals = values - design @ coefficients
        if sd is None:
            leverage = weights * np.einsum("ij,jk,ik->i", design, covariance, design)
            noise = _MAD * float(np.median(np.abs(residuals) / np.sqrt(np.maximum(1 - leverage, 1e-3))))
            noise = max(noise, _LEAST_SD)
        if np.abs(coefficients - previous).max() <= 1e-4 * noise:
            break
        bound = _HUBER * noise
        weights = bound / np.maximum(np.abs(residuals), bound)
    return coefficients, covariance, noise


def _quantile(values: Floats, weights: Floats, level: float) -> float:
    """Return the least value that at least `level` of the weight does not exceed; weights sum to 1."""
    ascending = np.argsort(values)
    reached = np.cumsum(weights[ascending])
    position = int(np.searchsorted(reached, min(level, 1.0) - 1e-9))
    return float(values[ascending][min(position, len(values) - 1)])
