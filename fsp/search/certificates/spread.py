"""The test of what a certificate assumes of the noise: that all evaluated candidates have that of the pilot."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from fsp.search.certificates.bounds import Noise, squared_deviations


@dataclass(frozen=True)
class Spread:
    """How the seeds of the candidates spread, beside sigma.

    Attributes:
        tested: how many evaluations of two seeds or more were compared with sigma.
        larger: how many of them spread more than sigma allows.
        others: their standard deviation of log e pooled over those that had no say in sigma, None where there is none.
        contradicted: whether one of them, or those of `others` together, spread more than sigma allows.
    """

    tested: int
    larger: int
    others: float | None
    contradicted: bool


def spread_of(errors: Sequence[Sequence[float]], noise: Noise, *, pilot: int, alpha: float, comparisons: int) -> Spread:
    """Test whether any candidate's noise is larger than sigma; all tests together refuse falsely at most `alpha`.

    Half of `alpha` is that of single evaluations: s_i² over sigma², with sigma from the other candidates, against the
    F quantile (chi-square where sigma is declared) at 1 - alpha/(2 comparisons). The other half is that of all
    together that had no say in sigma. Seeds that agree to the last digit contradict no sigma, and a sigma of 0 is
    contradicted by any spread.

    Args:
        errors: one list for each evaluation, an error for each seed; those that gave sigma first.
        noise: sigma and its degrees of freedom.
        pilot: how many of the lists gave sigma; 0 where it is declared.
        alpha: level of all tests together.
        comparisons: the most evaluations there may be, fixed beforehand.

    Source: for normal log e the ratio of two independent variances has an F distribution; Bonferroni.

    Example:
        >>> quiet, loud = [[0.50, 0.51], [0.40, 0.41], [0.30, 0.31]], [0.20, 0.90]
        >>> spread_of([*quiet, loud], Noise.pooled(quiet), pilot=3, alpha=0.05, comparisons=4)
        Spread(tested=4, larger=1, others=1.0635433266899128, contradicted=True)
    """
    squares = np.array([squared_deviations(values) for values in errors])
    freedom = np.array([len(values) - 1.0 for values in errors])
    single = alpha / (2 * comparisons)
    larger = tested = 0
    total, free = squares[:pilot].sum(), freedom[:pilot].sum()
    for k in np.flatnonzero(freedom):
        if k < pilot:
            reference, left = total - squares[k], free - freedom[k]
            if not left:
                continue
            reference = max(0.0, reference) / left
        else:
            reference, left = noise.sigma**2, noise.freedom
        tested += 1
        larger += _tail(squares[k] / freedom[k], reference, freedom[k], left) < single
    rest = float(freedom[pilot:].sum())
    others = float(squares[pilot:].sum() / rest) if rest else None
    together = others is not None and _tail(others, noise.sigma**2, rest, noise.freedom) < alpha / 2
    return Spread(tested, int(larger), None if others is None else float(np.sqrt(others)), bool(larger or together))


def _tail(variance: float, reference: float, freedom: float, of_reference: float) -> float:
    """Return the probability of so large a ratio of two variances of equal noise."""
    if variance == 0:
        return 1.0
    if reference == 0:
        return 0.0
    ratio = variance / reference
    if np.isinf(of_reference):
        return float(special.chdtrc(freedom, freedom * ratio))
    return float(special.fdtrc(freedom, of_reference, ratio))
