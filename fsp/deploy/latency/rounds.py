"""Timing in rounds, and the intervals of medians and ratios that follow.

All networks are timed in every round, so that a change of the machine's speed affects all of them equally, and two of
them are compared by their ratio within each round.
"""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.base.progress import Advance
from fsp.deploy.latency.settings import LEAST_ROUNDS

Call = Callable[[], object]


@dataclass(frozen=True)
class Median:
    """A median with its 95% interval, which assumes only that the rounds are independent and identically distributed.

    Attributes:
        value: the median.
        low: lower end of the interval.
        high: upper end of the interval.
    """

    value: float
    low: float
    high: float

    @property
    def uncertainty(self) -> float:
        """Half the interval's width, relative to the median."""
        return (self.high - self.low) / 2 / self.value


def median_of(samples: NDArray[np.float64]) -> Median:
    """Return the median of n >= 6 samples with its 95% interval.

    Raises:
        InputError: there are fewer samples.

    Source:
        Order statistics x_(k) and x_(n+1-k) with the largest k such that P(Binomial(n, 1/2) < k) <= 2.5%; Conover,
        Practical Nonparametric Statistics, 3rd edition, section 3.2.

    Example:
        >>> median_of(np.arange(1.0, 11.0))
        Median(value=5.5, low=2.0, high=9.0)
    """
    from scipy.stats import binom

    n = len(samples)
    if n < LEAST_ROUNDS:
        raise InputError(f"{n} rounds give no interval; time at least {LEAST_ROUNDS}")
    k = int(binom.ppf(0.025, n, 0.5))  # the least k with P(Binomial <= k) >= 2.5%
    if binom.cdf(k, n, 0.5) <= 0.025:
        k += 1
    ordered = np.sort(samples)
    return Median(float(np.median(ordered)), float(ordered[k - 1]), float(ordered[n - k]))


def ratio_of(first: NDArray[np.float64], second: NDArray[np.float64]) -> Median:
    """Return the median of `first / second` round by round, with its 95% interval."""
    return median_of(first / second)


def told_apart(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    """Return whether the rounds show that two networks differ: the interval of their ratio excludes 1."""
    ratio = ratio_of(first, second)
    return not ratio.low <= 1 <= ratio.high


def time_rounds(
    calls: Mapping[str, Call],
    *,
    rounds: int,
    warmup: int = 3,
    advance: Advance = lambda amount: None,
) -> dict[str, NDArray[np.float64]]:
    """Return milliseconds of each call in each round, `(rounds,)`.

    Each timed call directly follows an untimed call of the same network, so that its weights are cached as far as they
    are in serving, and threads of other runtimes are idle. Each round starts with another network. The garbage
    collector is off during all rounds.

    Args:
        calls: what to time, by name; nothing else is inside the timed region.
        rounds: timed rounds.
        warmup: rounds before them.
        advance: called with 1 after every round.
    """
    names = list(calls)
    taken = {name: np.empty(rounds) for name in names}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for round_ in range(-warmup, rounds):
            first = round_ % len(names)
            for name in names[first:] + names[:first]:
                call = calls[name]
                call()
                start = time.perf_counter()
                call()
                if round_ >= 0:
                    taken[name][round_] = 1000 * (time.perf_counter() - start)
            advance(1)
    finally:
        if collecting:
            gc.enable()
    return taken
