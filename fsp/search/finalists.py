"""How certain the choice among the evaluated candidates is: which could be the best, and how often each would win."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fsp.search.certificates.bounds import Floats, Noise

_RESAMPLES = 10_000
TOLERANCE = 0.03  # scores within this share of the best count as equal if the noise is unknown
_LEVEL = 0.95  # confidence level of the test between two candidates if the noise is known
_AT_ONCE = 1_000_000  # numbers drawn at once, to bound memory


def win_shares(log_score: ArrayLike, errors: Sequence[Sequence[float]], *, seed: int = 0) -> Floats | None:
    """Return the share of bootstrap resamples in which each candidate has the best score, `(m,)`.

    A resample draws each candidate's mean log error anew, from a normal distribution with the noise pooled over the
    seeds of all candidates (a parametric bootstrap: single seeds cannot be resampled).

    Args:
        log_score: log S of each candidate, whose score is S/e, `(m,)`.
        errors: its errors, one per seed.
        seed: seed of the resamples.

    Returns:
        The shares, or None if no candidate has two seeds, so that the noise is unknown.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 6.5.

    Example:
        >>> win_shares([0.0, 0.0], [[0.2, 0.21], [0.8, 0.81]]).tolist()
        [1.0, 0.0]
    """
    if all(len(values) < 2 for values in errors):
        return None
    sigma = Noise.pooled(errors).sigma
    centre = np.asarray(log_score, dtype=np.float64) - [np.log(values).mean() for values in errors]
    spread = sigma / np.sqrt([len(values) for values in errors])
    rng = np.random.default_rng(seed)
    wins = np.zeros(len(centre))
    batch = max(1, _AT_ONCE // len(centre))
    for start in range(0, _RESAMPLES, batch):
        drawn = centre + spread * rng.standard_normal((min(batch, _RESAMPLES - start), len(centre)))
        wins += np.bincount(drawn.argmax(axis=1), minlength=len(centre))
    return wins / _RESAMPLES


def undecided(score: ArrayLike, errors: Sequence[Sequence[float]], most: int, *, runs: int = 1) -> list[int]:
    """Return the candidates that are indistinguishable from the best, best first, the best included.

    If some candidate has two seeds, these are the ones whose log score lies within Φ⁻¹(0.95) √(2/r) σ of the best (σ of
    log e pooled over the seeds: the one-sided test of a difference of two means of r evaluations); otherwise those
    within `TOLERANCE`.

    Args:
        score: score of each candidate, larger is better, NaN if it failed, `(n,)`.
        errors: its errors, one per seed.
        most: how many to return at most.
        runs: r, the number of evaluations averaged in each score.

    Example:
        >>> undecided([1.0, 0.98, 0.9, float("nan"), 0.99], [[1.0]] * 5, most=3)
        [0, 4, 1]
    """
    score = np.asarray(score, dtype=np.float64)
    ranked: NDArray[np.intp] = np.argsort(-score, kind="stable")  # NaN comes last
    least = score[ranked[0]] * (1 - TOLERANCE)
    if any(len(values) > 1 for values in errors):
        noise = Noise.pooled(errors)
        least = score[ranked[0]] * np.exp(-noise.quantile(_LEVEL) * np.sqrt(2 / runs) * noise.sigma)
    return [int(row) for row in ranked[:most] if score[row] >= least]
