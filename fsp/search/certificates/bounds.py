"""The certificate's formulas: the order of shapes, intervals, bounds on errors never measured, evidence about M."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from fsp.base.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Order:
    """The partial order a ≼ b (b is no smaller in any size) and what assumption M(tau) says about it.

    M(tau): a ≼ b implies E(a) >= (1 - tau) E(b), with a further factor 1 - tau_j for every neutral parameter j in
    which a and b differ.

    Attributes:
        sizes: the parameters that are sizes, `n x d`.
        equal: parameters in which comparable shapes must be equal, `n x q`.
        neutral: parameters in which comparable shapes may differ, `n x k`.
        tau: tolerance of M, in [0, 1).
        neutral_tau: tolerance of each neutral parameter, `k` numbers in [0, 1).

    Raises:
        InputError: a tolerance out of range.

    Example:
        >>> order = Order(np.array([[1, 8], [2, 4], [2, 8]]), np.empty((3, 0)), np.empty((3, 0)))
        >>> order.below(2).tolist(), order.below(0).tolist()
        ([True, True, True], [True, False, False])
    """

    sizes: NDArray
    equal: NDArray
    neutral: NDArray
    tau: float = 0.0
    neutral_tau: Sequence[float] = ()

    def __post_init__(self) -> None:
        for value in (self.tau, *self.neutral_tau):
            if not 0 <= value < 1:
                raise InputError(f"tolerance {value} is out of range; give a number from 0 to below 1, e.g. 0.02")

    @classmethod
    def of(
        cls, columns: Mapping[str, ArrayLike], *, equal: Sequence[str], neutral: Mapping[str, float], tau: float
    ) -> "Order":
        """Return the order on named columns; columns that are neither `equal` nor `neutral` are the sizes."""
        sizes = [name for name in columns if name not in equal and name not in neutral]

        def stack(names: Sequence[str]) -> NDArray:
            length = len(np.asarray(next(iter(columns.values()))))
            return np.stack([np.asarray(columns[n]) for n in names], axis=1) if names else np.empty((length, 0))

        return cls(stack(sizes), stack(equal), stack(list(neutral)), tau, tuple(neutral.values()))

    def below(self, row: int) -> NDArray[np.bool_]:
        """Return which candidates are ≼ the one in `row`, itself included, `(n,)`."""
        return (self.sizes <= self.sizes[row]).all(axis=1) & (self.equal == self.equal[row]).all(axis=1)

    def log_slacks(self, rows: ArrayLike, others: ArrayLike) -> Floats:
        """Return the log of M's factor between `m` candidates and `r` others, given by row, `m x r`."""
        rows, others = np.asarray(rows), np.asarray(others)
        slack = np.full((len(rows), len(others)), np.log1p(-self.tau))
        for values, tau in zip(self.neutral.T, self.neutral_tau, strict=True):
            slack += np.where(values[rows, None] != values[others], np.log1p(-tau), 0.0)
        return slack

    def log_slack(self, row: int) -> Floats:
        """Return the log of M's factor between each candidate and the one in `row`, `(n,)`."""
        return self.log_slacks(np.arange(len(self.sizes)), [row])[:, 0]

    def matrix(self) -> NDArray[np.bool_]:
        """Return whether row a ≼ row b, `n x n` (n² bytes)."""
        below = np.ones((len(self.sizes),) * 2, dtype=bool)
        for column in self.sizes.T:
            below &= column[:, None] <= column
        for column in self.equal.T:
            below &= column[:, None] == column
        return below


@dataclass(frozen=True)
class Noise:
    """The standard deviation of log e over seeds, the same for all candidates.

    Attributes:
        sigma: the standard deviation; 0 if an evaluation depends on the architecture alone.
        freedom: degrees of freedom of its estimate; infinite if sigma is declared.

    Example:
        >>> round(Noise(0.03).half_width(1, alpha=0.05, comparisons=1), 4)
        0.0588
    """

    sigma: float
    freedom: float = np.inf

    @classmethod
    def pooled(cls, errors: Sequence[Sequence[float]]) -> "Noise":
        """Return the noise pooled over the seeds of several candidates.

        Raises:
            InputError: no candidate was evaluated with two seeds.
        """
        freedom = sum(len(values) - 1 for values in errors)
        if freedom < 1:
            raise InputError("the noise cannot be estimated from one seed; give two or more, or declare sigma")
        squares = sum(squared_deviations(values) for values in errors)
        return cls(float(np.sqrt(squares / freedom)), freedom)

    def quantile(self, probability: float) -> float:
        """Return the quantile of a mean's deviation, in standard errors."""
        normal = np.isinf(self.freedom)
        return float(special.ndtri(probability) if normal else special.stdtrit(self.freedom, probability))

    def half_width(self, runs: int, *, alpha: float, comparisons: int) -> float:
        """Return half the width of each of `comparisons` simultaneous (1 - alpha) intervals on a mean of log e.

        Source: Šidák, Rectangular confidence regions (JASA 62, 1967); it holds for adaptively chosen candidates as
        long as `comparisons`, `runs` and the candidates that give sigma are fixed beforehand.
        """
        each = -np.expm1(np.log1p(-alpha) / comparisons)
        return self.quantile(1 - each / 2) * self.sigma / float(np.sqrt(runs)) if self.sigma else 0.0


def squared_deviations(errors: Sequence[float]) -> float:
    """Return the sum of squared deviations of log e from its mean; exactly 0 where all errors are equal.

    Example:
        >>> squared_deviations([0.1] * 3)
        0.0
    """
    logs = np.log(errors) - np.log(errors[0])
    return float(((logs - logs.mean()) ** 2).sum())


def log_error_bounds(order: Order, rows: Sequence[int], log_lower: ArrayLike, *, log_floor: float = -np.inf) -> Floats:
    """Return log E_lo of all candidates, `(n,)`: the lower bounds that follow from M and the evaluated candidates.

    Args:
        order: the candidates and M.
        rows: the evaluated ones, `m` row numbers.
        log_lower: the lower ends of their intervals on log e, `(m,)`.
        log_floor: a lower limit of log e of all candidates.

    Example:
        >>> order = Order(np.array([[1], [2], [3]]), np.empty((3, 0)), np.empty((3, 0)), tau=0.5)
        >>> np.exp(log_error_bounds(order, [1], [0.0], log_floor=np.log(0.1))).round(3).tolist()
        [0.5, 1.0, 0.1]
    """
    bounds = np.full(len(order.sizes), log_floor)
    for row, lower in zip(rows, np.asarray(log_lower, dtype=np.float64), strict=True):
        bounds = np.where(order.below(row), np.maximum(bounds, lower + order.log_slack(row)), bounds)
        bounds[row] = max(bounds[row], lower)
    return bounds


def highest_values(log_score: ArrayLike, log_error_lo: ArrayLike) -> Floats:
    """Return log(S_hi/E_lo) of each candidate, `(n,)`: -inf where S_hi is 0, whatever E_lo is."""
    log_score = np.asarray(log_score, dtype=np.float64)
    return np.subtract(log_score, log_error_lo, out=np.full(log_score.shape, -np.inf), where=~np.isneginf(log_score))


def gap_of(log_score: ArrayLike, log_error_lo: ArrayLike, *, selected: int, log_value: float) -> tuple[float, int]:
    """Return the gap and the candidate that sets it.

    Args:
        log_score: log S_hi of each candidate, -inf if it is not a rival (infeasible, failed, S = 0), `(n,)`.
        log_error_lo: log E_lo of each, `(n,)`.
        selected: row of the choice, which is not its own rival.
        log_value: log of S_lo/U of the choice.

    Returns:
        max(0, r / (S_lo/U of the choice) - 1), r being the maximum of S_hi/E_lo over the others, and the row of that
        maximum (the choice's own row if it has no rival).

    Raises:
        InputError: the choice's S is 0, for which no gap is defined.
    """
    if not np.isfinite(log_value):
        raise InputError("W of the choice is not positive, so no gap is defined; choose another, or objective limits")
    rivals = highest_values(log_score, log_error_lo)
    rivals[selected] = -np.inf
    worst = int(rivals.argmax())
    if np.isneginf(rivals[worst]):
        return 0.0, selected
    with np.errstate(over="ignore"):
        return max(0.0, float(np.expm1(rivals[worst] - log_value))), worst


@dataclass(frozen=True)
class Evidence:
    """The evidence about M from the evaluated candidates.

    Attributes:
        pairs: number of comparable pairs that were tested.
        violations: the pairs that refute M(tau), as (smaller, larger) row numbers, worst first.
        least_tau: the smallest tau that no pair refutes.
    """

    pairs: int
    violations: tuple[tuple[int, int], ...]
    least_tau: float

    def describe(self) -> dict[str, Any]:
        """Return the numbers as a JSON-like value: `pairs`, `against` (pairs that refute M(tau)), `least_tau`."""
        return {"pairs": self.pairs, "against": len(self.violations), "least_tau": self.least_tau}


def evidence(
    order: Order, rows: Sequence[int], log_mean: ArrayLike, runs: ArrayLike, noise: Noise, *, alpha: float
) -> Evidence:
    """Test M on every comparable pair of evaluated candidates; a false rejection has probability `alpha` at most.

    A pair a ≼ b refutes M(tau) if log e(a) falls below log e(b) + log(1 - tau) by more than
    sigma sqrt(1/n_a + 1/n_b) times the normal (or t) quantile at 1 - alpha/pairs.

    Args:
        order: the candidates and M.
        rows: the evaluated ones, `m` row numbers.
        log_mean: mean log e of each, `(m,)`.
        runs: evaluations (seeds) of each, `(m,)`.
        noise: of log e.
        alpha: level of all tests together.
    """
    index, log_mean, runs = np.asarray(rows, dtype=int), np.asarray(log_mean), np.asarray(runs)
    tested = [order.below(row)[index] for row in rows]
    pairs = sum(int(below.sum()) - 1 for below in tested)
    quantile = noise.quantile(1 - alpha / pairs) if pairs and noise.sigma else 0.0
    found: list[tuple[float, int, int]] = []
    least_tau = 0.0
    for j, below in enumerate(tested):
        below[j] = False
        level = noise.sigma * np.sqrt(1 / runs + 1 / runs[j]) * quantile + 1e-12  # rounding must not refute M
        neutral = order.log_slack(rows[j])[index] - np.log1p(-order.tau)
        shortfall = np.where(below, log_mean - log_mean[j] - neutral + level, 0.0)
        least_tau = max(least_tau, float(-np.expm1(shortfall.min(initial=0.0))))
        for i in np.flatnonzero(shortfall < np.log1p(-order.tau)).tolist():
            found.append((float(shortfall[i]), rows[i], rows[j]))
    return Evidence(pairs, tuple((a, b) for _, a, b in sorted(found)), least_tau)


def audit_bound(failures: int, audited: int, *, alpha: float) -> float:
    """Return the upper (1 - alpha) confidence limit on the share of failures, from a random sample.

    Source: Clopper and Pearson, Biometrika 26 (1934), one-sided.

    Example:
        >>> round(audit_bound(0, 20, alpha=0.05), 3)
        0.139
    """
    return 1.0 if failures >= audited else float(special.betaincinv(failures + 1, audited - failures, 1 - alpha))


def transferred(gap: float, *, low: float, high: float) -> float:
    """Return the gap after full training if e_final/e_s lies in [low, high] for all candidates.

    Example:
        >>> round(transferred(0.05, low=0.8, high=1.0), 4)
        0.3125
    """
    return high / low * (1 + gap) - 1
