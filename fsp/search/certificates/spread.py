"""The test of a certificate's assumption that all evaluated candidates have the same noise as the pilot."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from fsp.search.certificates.bounds import Noise, squared_deviations


@dataclass(frozen=True)
class Spread:
    """The spread of errors over seeds, compared with sigma.

    Attributes:
        tested: number of evaluations with two seeds or more that were compared with sigma.
        larger: how many of them spread more than sigma allows.
        others: standard deviation of log e pooled over the evaluations that did not give sigma, None if there are none.
        contradicted: whether one evaluation, or those of `others` together, spread more than sigma allows.
    """

    tested: int
    larger: int
    others: float | None
    contradicted: bool


def spread_of(errors: Sequence[Sequence[float]], noise: Noise, *, pilot: int, alpha: float, comparisons: int) -> Spread:
    """Test whether any candidate's noise is larger than sigma; a false rejection has probability `alpha` at most.

    Half of `alpha` goes to the tests of single evaluations: s_i²/sigma², with sigma from the other candidates, against
    the F quantile (chi-square if sigma is declared) at 1 - alpha/(2 comparisons). The other half goes to one test of
    all evaluations that did not give sigma. Equal errors under all seeds contradict no sigma, and any spread
    contradicts a sigma of 0.

    Args:
        errors: one list per evaluation with one error per seed; those that gave sigma come first.
        noise: sigma and its degrees of freedom.
        pilot: how many of the lists gave sigma; 0 if it is declared.
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
    """Return the probability that the ratio of two sample variances of equal noise is at least this large."""
    if variance == 0:
        return 1.0
    if reference == 0:
        return 0.0
    ratio = variance / reference
    if np.isinf(of_reference):
        return float(special.chdtrc(freedom, freedom * ratio))
    return float(special.fdtrc(freedom, of_reference, ratio))
