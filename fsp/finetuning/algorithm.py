"""Agora as a pure function: rounds of fits, mistakes, generated points, labels, pruning. It trains nothing itself."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar

from fsp.base.errors import RunFailed
from fsp.finetuning.pruning import Rule
from fsp.finetuning.theta import Hyperparameters

Point = TypeVar("Point")

FAILED = -1.0  # where a failed fit stands among accuracies: below every other


@dataclass(frozen=True)
class Request(Generic[Point]):
    """One fit to be made, always from the same checkpoint.

    theta: its hyperparameters. added: the labelled points it trains on besides the train set.
    attempt: 0, and one more with each replay of a round: it changes the fit's seed and nothing else.
    share: of the full number of steps.
    """

    theta: Hyperparameters
    added: tuple[Point, ...] = ()
    attempt: int = 0
    share: float = 1.0


@dataclass(frozen=True)
class Fit:
    """What came of a fit.

    accuracy: on dev, None where it failed. mistakes: the rows of dev that it gets wrong.
    seconds: how long it took. key: names it for the trainer. failure: why there is no accuracy.
    """

    accuracy: float | None
    mistakes: tuple[int, ...] = ()
    seconds: float = 0.0
    key: str = ""
    failure: str | None = None

    @property
    def rank(self) -> float:
        """The accuracy, or a number below all accuracies."""
        return FAILED if self.accuracy is None else self.accuracy


Trainer = Callable[[Sequence[Request[Any]]], Iterable[Fit]]  # yields the fits one by one, in the order of the requests


@dataclass(frozen=True)
class Budget:
    """When to stop early.

    fits: how many, at most; one of a share of the steps counts as that share.
    seconds: no fit begins once the fits took so long together.
    """

    fits: float = float("inf")
    seconds: float = float("inf")


@dataclass(frozen=True)
class Tried:
    """A fit together with what it was: its hyperparameters, attempt and share of the steps."""

    theta: Hyperparameters
    attempt: int
    share: float
    fit: Fit


@dataclass(frozen=True)
class Round(Generic[Point]):
    """One round or a replay of one.

    number: of the round, from 0. attempt: 0, or which replay it is. tried: its fits, in the order of the sets.
    best: the accuracy of the best fit so far, this round included. added: the labelled points that were appended
    after it. removed: the sets that went after it.
    """

    number: int
    attempt: int
    tried: tuple[Tried, ...]
    best: float
    added: tuple[Point, ...] = ()
    removed: tuple[Hyperparameters, ...] = ()


Stop = Literal["pruned", "perfect", "budget", "failed"]


@dataclass(frozen=True)
class Outcome(Generic[Point]):
    """The result: the best fit, all rounds with their replays, and why no more of them were done.

    stopped: `pruned` (no set is left), `perfect` (the best makes no mistake on dev), `budget`.
    """

    best: Tried
    rounds: tuple[Round[Point], ...]
    stopped: Stop

    @property
    def fits(self) -> list[Tried]:
        """All fits, in order."""
        return [tried for one in self.rounds for tried in one.tried]


def leader(tried: Sequence[Tried]) -> Tried:
    """Return the first of the most accurate fits."""
    return max(tried, key=lambda one: one.fit.rank)


def agora(
    sets: Sequence[Hyperparameters],
    train: Trainer,
    expand: Callable[[Sequence[int], int], Sequence[Point]],
    prune: Rule,
    *,
    replays: int = 0,
    budget: Budget | None = None,
    after_round: Callable[[Round[Point], int], object] = lambda done, left: None,
) -> Outcome[Point]:
    """Return the best fit that Agora's rounds come to.

    A round fits every set that is left on the train set and all points added so far; each fit restarts from the same
    checkpoint. The mistakes of the round's best fit are expanded into new labelled points, which are added; then
    the pruning rule removes at least one set. A round that does not improve the best so far is first done again with
    new seeds, at most `replays` times; of its attempts, the one with the best leader counts. So there are at most
    `len(sets) * (1 + replays)` rounds.

    Args:
        sets: Θ, distinct.
        train: makes the fits.
        expand: of the rows of dev that the round's best fit gets wrong, and the round's number from 0: the new
            points, labelled. Not called where there is no mistake.
        prune: see `fsp.finetuning.pruning`.
        replays: of each round, at most.
        budget: when to stop early.
        after_round: called with each finished round and the number of sets left.

    Raises:
        RunFailed: every fit of the first round failed.

    Source: arXiv 2010.07990, the procedure Agora.

    Example:
        >>> from fsp.finetuning.pruning import halving
        >>> from fsp.finetuning.theta import SMALL
        >>> train = lambda requests: [Fit(0.5 + 0.1 * len(r.added), mistakes=(0, 3)) for r in requests]
        >>> done = agora(SMALL, train, lambda mistakes, number: ["new"], halving)
        >>> done.best.fit.accuracy, [len(r.tried) for r in done.rounds], done.stopped
        (0.8, [6, 3, 2, 1], 'pruned')
    """
    left, added = tuple(sets), ()  # type: tuple[tuple[Hyperparameters, ...], tuple[Point, ...]]
    meter = Meter(train, budget or Budget())
    rounds: list[Round[Point]] = []
    best: Tried | None = None
    number = 0

    def finished(stopped: Stop) -> Outcome[Point]:
        return Outcome(checked(best, rounds), tuple(rounds), stopped)

    while left:
        counts: tuple[Tried, ...] = ()  # of this round's attempts, the one with the best leader
        for attempt in range(replays + 1):
            tried = meter.tried([Request(theta, added, attempt) for theta in left])
            if not tried:
                return finished("budget")
            improved = False
            if best is None or leader(tried).fit.rank > best.fit.rank:
                best, improved = leader(tried), True
            if not counts or leader(tried).fit.rank > leader(counts).fit.rank:
                counts = tried
            rounds.append(Round(number, attempt, tried, best.fit.rank))
            if len(tried) < len(left):
                return finished("budget")
            if improved:
                break
            if attempt < replays:
                after_round(rounds[-1], len(left))
        if best is None or best.fit.accuracy is None:
            return finished("failed")
        if not best.fit.mistakes:
            after_round(rounds[-1], 0)
            return finished("perfect")
        going = prune(left, [one.fit.rank for one in counts])
        removed = tuple(left[i] for i in sorted(going))
        left = tuple(theta for i, theta in enumerate(left) if i not in going)
        mistakes = leader(counts).fit.mistakes
        new = tuple(expand(mistakes, number)) if left and mistakes else ()
        added += new
        rounds[-1] = replace(rounds[-1], added=new, removed=removed)
        after_round(rounds[-1], len(left))
        number += 1
    return finished("pruned")


def checked(best: Tried | None, rounds: Sequence[Round[Any]]) -> Tried:
    """Return the best fit. Raises RunFailed where all of them failed."""
    if best is None or best.fit.accuracy is None:
        failures = [one.fit.failure for done in rounds for one in done.tried]
        raise RunFailed(f"all {len(failures)} fits failed; the first: {failures[0] if failures else 'none was made'}")
    return best


class Meter:
    """Makes fits while the budget lasts.

    Args:
        train: makes them.
        budget: when to stop.
    """

    def __init__(self, train: Trainer, budget: Budget):
        self._train, self._budget = train, budget
        self._fits, self._seconds = 0.0, 0.0

    def is_left(self) -> bool:
        """Tell whether another fit may begin."""
        return self._fits < self._budget.fits and self._seconds < self._budget.seconds

    def tried(self, requests: Sequence[Request[Any]]) -> tuple[Tried, ...]:
        """Return the fits of as many of the requests, in order, as the budget allows."""
        done: list[Tried] = []
        if self.is_left():
            for request, fit in zip(requests, self._train(requests), strict=False):
                done.append(Tried(request.theta, request.attempt, request.share, fit))
                self._fits = round(self._fits + request.share, 9)
                self._seconds += fit.seconds
                if not self.is_left():
                    break
        return tuple(done)
