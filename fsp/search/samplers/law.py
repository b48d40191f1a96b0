"""A law of the error: log e as a quadratic function of log sizes, with the uncertainty of every prediction."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Prior variances of the quadratic terms and of the noise, both relative to that of the linear terms. The evidence
# chooses among the decades from nearly linear to fully quadratic, and from noise-free to pure noise.
_CURVATURES = (0.01, 0.1, 1.0)
_NOISES = np.array([0.001, 0.01, 0.1, 1.0])
_FENCE = 3.0  # interquartile ranges (Tukey's outer fence)


def log_features(*columns: ArrayLike) -> NDArray[np.float64]:
    """Return standardised logarithms of columns, `n x k`; columns that do not vary are left out.

    Args:
        columns: `(n,)` or `n x d` each; a column with a value that is not positive is standardised without logarithm.

    Example:
        >>> log_features([1, 10, 100], [7, 7, 7]).round(2).tolist()
        [[-1.22], [0.0], [1.22]]
    """
    arrays = [np.asarray(c, dtype=np.float64) for c in columns]
    values = np.concatenate([a.reshape(len(a), -1) for a in arrays], axis=1)
    positive = (values > 0).all(axis=0)
    values = np.where(positive, np.log(np.where(positive, values, 1.0)), values)
    values = values[:, np.ptp(values, axis=0) > 0]
    return (values - values.mean(axis=0)) / values.std(axis=0)


class QuadraticLaw:
    """Bayesian regression of a value on all features, their squares and products.

    Ridge priors shrink the terms, the quadratic ones more; the marginal likelihood in closed form chooses how much,
    and the noise. One prediction takes O(m k^2 + k^3 + n k^2) for m observations, n rows and k terms.

    Args:
        features: standardised, `n x d`.

    Source: Bishop, Pattern Recognition and Machine Learning, section 3.5 (evidence approximation).

    Example:
        >>> law = QuadraticLaw(log_features([1, 2, 4, 8, 16]))
        >>> mean, deviation = law.predict(np.array([0, 1, 3, 4]), np.array([4.0, 3.0, 1.0, 0.0]))
        >>> bool(abs(mean[2] - 2) < 0.1), bool(0 < deviation[2] < 0.5)
        (True, True)
    """

    def __init__(self, features: NDArray[np.float64]):
        first, second = np.triu_indices(features.shape[1])
        linear = np.column_stack([np.ones(len(features)), features])
        products = features[:, first] * features[:, second]
        self._designs = [np.column_stack([linear, np.sqrt(c) * products]) for c in _CURVATURES]

    def predict(
        self, rows: NDArray[np.int64], values: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the predicted mean and standard deviation, noise included, of every row, `(n,)` each.

        Args:
            rows: numbers of the observed rows, `(m,)`, m ≥ 1.
            values: their values, `(m,)`, finite. A value far above the others, such as that of a diverged training, is
                clipped to three interquartile ranges above the third quartile.
        """
        lower, upper = np.quantile(values, (0.25, 0.75))
        values = np.minimum(values, upper + _FENCE * (upper - lower))
        centre, scale = values.mean(), values.std() or 1.0
        target = (values - centre) / scale
        # one eigendecomposition gives the evidence of every noise level and the predictions
        best_evidence = -np.inf
        for design in self._designs:
            observed = design[rows]
            eigenvalues, basis = np.linalg.eigh(observed.T @ observed)
            eigenvalues = np.maximum(eigenvalues, 0.0)
            projected = basis.T @ (observed.T @ target)
            damped = eigenvalues + _NOISES[:, None]
            variances = np.maximum(
                (target @ target - (projected**2 / damped).sum(axis=1)) / (_NOISES * len(rows)), 1e-12
            )
            evidence = -0.5 * (
                len(rows) * np.log(variances)
                + np.log(damped / _NOISES[:, None]).sum(axis=1)
                + len(rows) * np.log(_NOISES)
            )
            j = int(evidence.argmax())
            if evidence[j] > best_evidence:
                best_evidence = evidence[j]
                chosen = design, basis, projected, damped[j], _NOISES[j], variances[j]
        design, basis, projected, weights, noise, variance = chosen
        rotated = design @ basis
        mean = rotated @ (projected / weights)
        deviation = np.sqrt(variance * noise * (1 + rotated**2 @ (1 / weights)))
        return centre + scale * mean, scale * deviation


def expected_improvement(mean: NDArray[np.float64], deviation: NDArray[np.float64], best: float) -> NDArray[np.float64]:
    """Return the expected improvement of a normal variable over `best`, `(n,)`; 0 where the mean is -inf.

    Source: Jones, Schonlau and Welch, Efficient global optimization (1998), equation 15.

    Example:
        >>> expected_improvement(np.array([0.0, -np.inf]), np.array([1.0, 1.0]), 0.0).round(3).tolist()
        [0.399, 0.0]
    """
    from scipy.special import ndtr

    z = np.maximum((mean - best) / deviation, -30.0)
    return np.where(np.isfinite(mean), deviation * (z * ndtr(z) + np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)), 0.0)
