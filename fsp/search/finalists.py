"""How sure a choice is among the evaluated candidates: the share of resamples in which each of them wins."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from fsp.search.bounds import Floats, Noise

_RESAMPLES = 10_000
_AT_ONCE = 1_000_000  # numbers drawn at once, to bound memory


def win_shares(log_score: ArrayLike, errors: Sequence[Sequence[float]], *, seed: int = 0) -> Floats | None:
    """Return the share of bootstrap resamples in which each candidate has the best score, `(m,)`.

    A resample draws each candidate's mean log error anew, from a normal distribution with the noise pooled over the
    seeds of all candidates (a parametric bootstrap: single seeds cannot be resampled).

    Args:
        log_score: log S of each candidate, its score being S/e, `(m,)`.
        errors: its errors, one a seed.
        seed: of the resamples.

    Returns:
        The shares, or None where no candidate has two seeds, and so the noise is unknown.

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
