"""Agora as a pure function: rounds of fits, mistakes, generated points, labels, pruning. Its caller trains."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar

from fsp.base.errors import RunFailed
from fsp.finetuning.pruning import Rule
from fsp.finetuning.theta import Hyperparameters

Point = TypeVar("Point")

FAILED = -1.0  # rank of a failed fit, below every accuracy


@dataclass(frozen=True)
class Request(Generic[Point]):
    """A fit to be made, always from the same checkpoint.

    Attributes:
        theta: hyperparameters.
        added: labelled points to train on besides the train set.
        attempt: number of replays of the round so far; changes only the seed of the fit.
        share: share of the full number of steps.
    """

    theta: Hyperparameters
    added: tuple[Point, ...] = ()
    attempt: int = 0
    share: float = 1.0


@dataclass(frozen=True)
class Fit:
    """The result of a fit.

    Attributes:
        accuracy: accuracy on dev; None if the fit failed.
        mistakes: rows of dev that it classifies wrongly.
        seconds: duration.
        key: the trainer's name of the fit.
        failure: why there is no accuracy.
    """

    accuracy: float | None
    mistakes: tuple[int, ...] = ()
    seconds: float = 0.0
    key: str = ""
    failure: str | None = None

    @property
    def rank(self) -> float:
        """The accuracy, or `FAILED`, which is below all accuracies."""
        return FAILED if self.accuracy is None else self.accuracy


Trainer = Callable[[Sequence[Request[Any]]], Iterable[Fit]]  # yields the fits one by one, in the order of the requests


@dataclass(frozen=True)
class Budget:
    """When to stop early.

    Attributes:
        fits: the largest number of fits; a fit of a share of the steps counts as that share.
        seconds: total duration of the fits after which no other fit is started.
    """

    fits: float = float("inf")
    seconds: float = float("inf")


@dataclass(frozen=True)
class Tried:
    """A fit with its request.

    Attributes:
        theta: hyperparameters.
        attempt: which replay of the round it belongs to.
        share: share of the full number of steps.
        fit: the result.
    """

    theta: Hyperparameters
    attempt: int
    share: float
    fit: Fit


@dataclass(frozen=True)
class Round(Generic[Point]):
    """A round or a replay of a round.

    Attributes:
        number: number of the round, from 0.
        attempt: 0, or the number of the replay.
        tried: its fits, in the order of the sets.
        best: accuracy of the best fit so far, including this round.
        added: labelled points that were added after it.
        removed: sets that were removed after it.
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
    """The result of a search.

    Attributes:
        best: the best fit.
        rounds: all rounds and their replays.
        stopped: why it ended: `pruned` (no set is left), `perfect` (the best makes no mistake on dev) or `budget`.
    """

    best: Tried
    rounds: tuple[Round[Point], ...]
    stopped: Stop

    @property
    def fits(self) -> list[Tried]:
        """All fits, in order."""
        return [tried for one in self.rounds for tried in one.tried]


def leader(tried: Sequence[Tried]) -> Tried:
    """Return the most accurate fit, the first one if there are several."""
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
    """Run Agora's rounds and return the best fit.

    A round fits every remaining set on the train set and all points added so far; each fit restarts from the same
    checkpoint. The mistakes of the round's best fit are expanded into new labelled points, which are added; then
    the pruning rule removes at least one set. A round that does not improve on the best so far is first repeated with
    new seeds, at most `replays` times; the attempt with the best leader counts. So there are at most
    `len(sets) * (1 + replays)` rounds.

    Args:
        sets: Θ, distinct.
        train: makes the fits.
        expand: returns new labelled points, given the rows of dev that the round's best fit classifies wrongly and the
            number of the round, from 0. Not called if there is no mistake.
        prune: see `fsp.finetuning.pruning`.
        replays: the largest number of replays per round.
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
        counts: tuple[Tried, ...] = ()  # this round's attempt with the best leader
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
    """Return the best fit. Raises RunFailed if all fits failed."""
    if best is None or best.fit.accuracy is None:
        failures = [one.fit.failure for done in rounds for one in done.tried]
        raise RunFailed(f"all {len(failures)} fits failed; the first: {failures[0] if failures else 'none was made'}")
    return best


class Meter:
    """Makes fits while the budget lasts.

    Args:
        train: makes the fits.
        budget: when to stop.
    """

    def __init__(self, train: Trainer, budget: Budget):
        self._train, self._budget = train, budget
        self._fits, self._seconds = 0.0, 0.0

    def is_left(self) -> bool:
        """Return whether another fit may start."""
        return self._fits < self._budget.fits and self._seconds < self._budget.seconds

    def tried(self, requests: Sequence[Request[Any]]) -> tuple[Tried, ...]:
        """Make as many of the requested fits, in order, as the budget allows, and return them."""
        done: list[Tried] = []
        if self.is_left():
            for request, fit in zip(requests, self._train(requests), strict=False):
                done.append(Tried(request.theta, request.attempt, request.share, fit))
                self._fits = round(self._fits + request.share, 9)
                self._seconds += fit.seconds
                if not self.is_left():
                    break
        return tuple(done)
