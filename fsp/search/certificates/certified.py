"""The adaptive search: it evaluates the candidates that lower the certified gap most, until the gap is proven."""

from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fsp.base.errors import AllFailed, InputError
from fsp.search.certificates.bounds import Floats, Noise, gap_of, highest_values, log_error_bounds
from fsp.search.certificates.certificate import Problem, problem_of
from fsp.search.certificates.settings import CertifiedSettings
from fsp.search.certificates.trend import log_linear
from fsp.search.driving import Expect, Trial, drive

_T = TypeVar("_T")
_Asking = Generator[Trial, float | None, _T]

_MOST = 20_000  # candidates; the matrix of their order takes n² bytes
_PILOT = 12  # candidates whose seeds give sigma, if it is estimated
_FIRST = 16  # the most maximal shapes that are evaluated before the adaptive part
_WEIGHED = 2_000  # the most open rivals that are considered per step
_AT_ONCE = 250  # open rivals per batch, to bound memory
FRESH_ROUNDS = 3  # the most choices that are evaluated again on fresh seeds


def search(
    record: Mapping[str, Any],
    cost: ArrayLike,
    evaluate: Callable[[int, int], float | None],
    settings: CertifiedSettings,
    *,
    seed: int = 0,
    expect: Expect = lambda trials: None,
) -> dict[str, Any]:
    """Evaluate candidates until the gap of the best is at most the record's `target`, or cannot be lowered further.

    The maximal shapes come first, because each bounds all shapes below it. Then, until the gap is proven, the next
    candidate is the one predicted to beat the best so far. If there is none, it is the one expected to exclude the
    most open rivals, weighted by their cost, per unit of its own cost (greedy weighted cover). Predictions are
    log-linear, within the bounds that M gives.

    Args:
        record: a certificate's record without evaluations (see `fsp.search.certificates.certificate.problem_of`).
        cost: of evaluating each candidate once, `(n,)`.
        evaluate: returns the error of the candidate in a row under a seed, None if the evaluation failed.
        settings: see `CertifiedSettings`.
        seed: the first seed of the evaluations; also draws the audit.
        expect: called with the next trials before the first of them is evaluated; it does not change the result.

    Returns:
        The record completed, ready for `fsp.search.certificates.certificate.seal`.

    Raises:
        InputError: a gap out of range, too many candidates, no feasible one.
        AllFailed: every candidate failed.

    Example:
        >>> record = {"parameters": {"D": [1, 2, 3]}, "objectives": {"size": [1.0, 2.0, 3.0]}, "equal": [],
        ...           "choice": {"objective": "limits", "limits": {"size": 2}}, "alpha": 0.05, "target": 0.05,
        ...           "assumptions": CertifiedSettings(sigma=0).assumptions(), "space": None, "maximum": {}}
        >>> found = search(record, [1, 2, 3], lambda row, seed: 1 / (row + 1), CertifiedSettings(sigma=0, seeds=1))
        >>> found["selected"], found["evaluations"]
        (1, [{'row': 1, 'errors': [0.5], 'role': 'search'}])
    """
    asking = trials(record, cost, settings, seed=seed, expect=expect)
    found = drive(asking, lambda trial: evaluate(trial.row, trial.seed))
    assert found is not None
    return found


def trials(
    record: Mapping[str, Any],
    cost: ArrayLike,
    settings: CertifiedSettings,
    *,
    seed: int = 0,
    expect: Expect = lambda trials: None,
) -> _Asking[dict[str, Any]]:
    """Yield the trials of `search` one at a time, for a caller that evaluates them and sends their errors."""
    target = record["target"]
    if not 0 <= target < np.inf:
        raise InputError(f"gap {target} is out of range; give a share from 0, e.g. 0.05 for 5%")
    problem = problem_of(record)
    if len(problem.feasible) > _MOST:
        raise InputError(f"{len(problem.feasible)} candidates are too many to certify; restrict them to {_MOST}")
    run = _Run(problem, np.asarray(cost, dtype=np.float64), settings, seed, expect)
    yield from run.start()
    while True:
        yield from run.explore(target)
        if not run.audited:
            yield from run.audit()
        elif not (yield from run.reevaluate()) or run.confirms(target):
            break
    return {**record, **run.record()}


class _Run:
    """The state of one search: what was evaluated, and the bounds that follow."""

    def __init__(self, problem: Problem, cost: Floats, settings: CertifiedSettings, seed: int, expect: Expect):
        self._expect = expect
        self._problem, self._cost, self._settings, self._seed = problem, cost, settings, seed
        self._below = problem.order.matrix()
        feasible = int(problem.feasible.sum())
        self._budget = min(settings.evaluations or feasible, feasible)
        self._comparisons = min(self._budget + settings.audit, feasible) + FRESH_ROUNDS
        self._noise = None if settings.sigma is None else Noise(settings.sigma)
        n = len(cost)
        self._entries: list[dict[str, Any]] = []
        self._fresh: list[dict[str, Any]] = []
        self._failed: list[int] = []
        self._pilot = 1
        self._mean = np.full(n, np.nan)
        self._lower = np.full(n, -np.inf if not settings.error_floor else np.log(settings.error_floor))
        self._upper = np.full(n, np.inf)
        self._log_score = problem.log_score_hi.copy()
        self.audited = settings.audit == 0

    def start(self) -> _Asking[None]:
        """Evaluate candidates that are chosen without regard to any error, and estimate the noise from them."""
        below, cost = self._below, self._cost
        usable = np.flatnonzero(self._problem.feasible)
        above = below[np.ix_(usable, usable)]
        maximal = usable[~(above & ~above.T).any(axis=1)]
        first: list[int] = []
        covered = np.zeros(len(cost), dtype=bool)
        for row in maximal[np.argsort(-below[:, maximal].sum(axis=0), kind="stable")]:
            if not covered[row]:  # a shape that differs from an earlier one in neutral parameters alone adds nothing
                first.append(int(row))
                covered |= below[:, row]
        if self._noise is None:
            spread = usable[np.argsort(cost[usable], kind="stable")]
            spread = spread[np.linspace(0, len(spread) - 1, min(_PILOT, len(spread))).astype(int)]
            first = list(dict.fromkeys([*first[: _PILOT // 2], *spread.tolist()]))[:_PILOT]
        first = first[: min(_FIRST, self._budget)]
        self._expect([Trial(row, seed) for row in first for seed in self._seeds()])
        for row in first:
            yield from self._add(row, "pilot" if self._noise is None else "search")
        if not self._entries and self._noise is None:
            raise AllFailed(f"all {len(self._failed)} candidates that were to give the noise failed")
        self._pilot = max(1, len(self._entries))
        if self._noise is None:
            self._noise = Noise.pooled([entry["errors"] for entry in self._entries])
        for entry in self._entries:
            self._bound(entry["row"])

    def explore(self, target: float) -> _Asking[None]:
        """Evaluate until the gap is at most the target, or no remaining candidate would lower it."""
        while (row := self._next(target)) is not None:
            self._expect([Trial(row, seed) for seed in self._seeds()])
            yield from self._add(row, "search")
            if row not in self._failed:
                self._bound(row)
        if not self._alive():
            raise AllFailed(f"all {len(self._failed)} evaluated candidates failed")

    def audit(self) -> _Asking[None]:
        """Evaluate unevaluated candidates drawn at random."""
        left = np.flatnonzero(self._problem.feasible & ~self._done())
        drawn = np.random.default_rng(self._seed).permutation(left)[: self._settings.audit].tolist()
        self._expect([Trial(row, seed) for row in drawn for seed in self._seeds()])
        for row in drawn:
            yield from self._add(row, "audit")
        for entry in self._entries:
            if entry["role"] == "audit":
                self._bound(entry["row"])
        self.audited = True

    def reevaluate(self) -> _Asking[bool]:
        """Evaluate the best candidate on fresh seeds if that is still needed; return whether it was."""
        best = self._best()
        known = any(entry["row"] == best for entry in self._fresh)
        if self._noise is None or not self._noise.sigma or known or len(self._fresh) == FRESH_ROUNDS:
            return False
        seeds = range(self._seed + self._settings.seeds, self._seed + 2 * self._settings.seeds)
        self._expect([Trial(best, seed) for seed in seeds])
        errors = []
        for seed in seeds:
            if (error := (yield Trial(best, seed))) is not None:
                errors.append(error)
        if len(errors) < len(seeds):
            self._fail(best)
        else:
            self._fresh.append({"row": best, "errors": errors})
        return True

    def confirms(self, target: float) -> bool:
        """Return whether the best candidate was evaluated on fresh seeds and its gap is at most the target."""
        return bool(self._alive()) and any(e["row"] == self._best() for e in self._fresh) and self.gap()[0] <= target

    def gap(self) -> tuple[float, int]:
        """Return the gap of the best candidate, and its rival."""
        best = self._best()
        value = self._value(best)
        if np.isneginf(value):
            return np.inf, best
        return gap_of(self._log_score, self._lower, selected=best, log_value=value)

    def record(self) -> dict[str, Any]:
        """Return what was evaluated, as keys of a certificate's record."""
        return {
            "evaluations": self._entries,
            "failed": self._failed,
            "fresh": self._fresh,
            "pilot": self._pilot,
            "comparisons": self._comparisons,
            "selected": self._best(),
        }

    def _done(self) -> NDArray[np.bool_]:
        done = ~np.isnan(self._mean)
        done[self._failed] = True
        return done

    def _seeds(self) -> range:
        return range(self._seed, self._seed + self._settings.seeds)

    def _add(self, row: int, role: str) -> _Asking[None]:
        errors = []
        for seed in self._seeds():
            error = yield Trial(row, seed)
            if error is None:
                self._fail(row)
                return
            errors.append(error)
        self._entries.append({"row": row, "errors": errors, "role": role})
        self._mean[row] = np.log(errors).mean()

    def _fail(self, row: int) -> None:
        self._failed.append(row)
        self._log_score[row] = -np.inf

    def _half(self, runs: int) -> float:
        assert self._noise is not None
        return self._noise.half_width(runs, alpha=self._settings.alpha, comparisons=self._comparisons)

    def _bound(self, row: int) -> None:
        """Update the bounds of the candidates below and above an evaluated one."""
        order, half = self._problem.order, self._half(self._settings.seeds)
        self._lower = np.maximum(self._lower, log_error_bounds(order, [row], [self._mean[row] - half]))
        above = self._below[row]
        highest = self._mean[row] + half - order.log_slack(row)
        self._upper = np.where(above, np.minimum(self._upper, highest), self._upper)

    def _values(self) -> Floats:
        """Return the log score of each evaluated candidate at its mean error, -inf for all others."""
        values = np.where(np.isnan(self._mean), -np.inf, self._problem.log_score_lo - np.nan_to_num(self._mean))
        values[self._failed] = -np.inf
        return values

    def _alive(self) -> list[int]:
        """Return the rows evaluated without failure; any of them may still fail on fresh seeds."""
        return [entry["row"] for entry in self._entries if entry["row"] not in self._failed]

    def _best(self) -> int:
        evaluated = np.array(sorted(self._alive()))  # only these, as all of them may have W = 0
        return int(evaluated[self._values()[evaluated].argmax()])

    def _value(self, row: int) -> float:
        fresh = next((entry["errors"] for entry in reversed(self._fresh) if entry["row"] == row), None)
        centre, runs = (self._mean[row], self._settings.seeds) if not fresh else (np.log(fresh).mean(), len(fresh))
        return float(self._problem.log_score_lo[row] - centre - self._half(runs))

    def _next(self, target: float) -> int | None:
        """Return the candidate to evaluate next, None when the search is over."""
        done = self._done()
        left = np.flatnonzero(self._problem.feasible & ~done)
        if not len(left) or done.sum() >= self._budget:
            return None
        if not self._alive():
            return int(left[0])
        gap, _ = self.gap()
        if gap <= target:
            return None
        predicted, half = self._predicted(), self._half(self._settings.seeds)
        best = self._best()
        promise = self._log_score[left] - predicted[left]
        if promise.max() > self._values()[best] + 1e-12:
            return int(left[promise.argmax()])
        # the gap cannot fall below the limit that the evaluated candidates' own intervals set
        highest = highest_values(self._log_score, self._lower)
        fixed = np.where(done, highest, -np.inf)
        fixed[best] = -np.inf
        threshold = max(np.log1p(target) + self._value(best), fixed.max())
        open_ = left[highest[left] > threshold + 1e-12]
        if not len(open_):
            return None
        open_ = open_[:: -(-len(open_) // _WEIGHED)]
        saved = np.zeros(len(left))
        for part in np.array_split(open_, -(-len(open_) // _AT_ONCE)):
            need = self._log_score[part, None] - threshold
            reached = predicted[left] - half + self._problem.order.log_slacks(part, left) >= need
            saved += self._cost[part] @ (reached & self._below[np.ix_(part, left)] | (part[:, None] == left))
        return int(left[(saved / self._cost[left]).argmax()])

    def _predicted(self) -> Floats:
        """Return log e of all candidates: the mean of the evaluated ones, a prediction within M's bounds of others."""
        rows = [entry["row"] for entry in self._entries]
        guess = log_linear(self._problem.order, rows, self._mean[rows])
        guess = np.minimum(np.maximum(guess, self._lower), np.maximum(self._upper, self._lower))
        return np.where(np.isnan(self._mean), guess, self._mean)
