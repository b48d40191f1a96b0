"""The methods that Agora is compared with, for the same abstract trainer: grid search, random search, Hyperband."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from math import ceil
from typing import Any

import numpy as np

from fsp.finetuning.algorithm import Budget, Meter, Outcome, Request, Round, Trainer, Tried, checked, leader
from fsp.finetuning.theta import Hyperparameters

_ETA = 3  # Hyperband keeps a third at each rung
_RUNGS = 2  # its smallest share of the steps is 1/3²; shorter fits are not informative

AfterRound = Callable[[Round[Any], int], object]


def grid_search(
    sets: Sequence[Hyperparameters],
    train: Trainer,
    *,
    budget: Budget,
    after_round: AfterRound = lambda done, left: None,
) -> Outcome[Any]:
    """Fit every set in turn, in passes with new seeds while the budget lasts, and return the best fit.

    Args:
        sets: Θ.
        train: makes the fits.
        budget: when to stop.
        after_round: called after each pass.

    Raises:
        RunFailed: every fit failed.
    """
    meter, rounds = Meter(train, budget), list[Round[Any]]()
    best: Tried | None = None
    for number in itertools.count():
        tried = meter.tried([Request(theta, attempt=number) for theta in sets])
        if not tried:
            break
        if best is None or leader(tried).fit.rank > best.fit.rank:
            best = leader(tried)
        rounds.append(Round(number, number, tried, best.fit.rank))
        after_round(rounds[-1], len(sets))
    return Outcome(checked(best, rounds), tuple(rounds), "budget")


def random_sets(sets: Sequence[Hyperparameters], count: int, seed: int) -> tuple[Hyperparameters, ...]:
    """Return sets drawn from the box that Θ spans.

    Learning rates and positive weight decays are drawn log-uniformly, warm-ups uniformly, batches and seeds from Θ.

    Example:
        >>> from fsp.finetuning.theta import SMALL
        >>> all(1e-4 <= t.learning_rate <= 1e-3 for t in random_sets(SMALL, 20, seed=0))
        True
    """
    generator = np.random.default_rng([seed, 1])

    def draw(name: str) -> float:
        values = [getattr(one, name) for one in sets]
        low, high = min(values), max(values)
        if low > 0 and name != "warmup":
            return float(min(max(np.exp(generator.uniform(np.log(low), np.log(high))), low), high))
        return float(generator.uniform(low, high))

    return tuple(
        Hyperparameters(
            draw("learning_rate"),
            draw("weight_decay"),
            draw("warmup"),
            int(generator.choice([one.batch for one in sets])),
            int(generator.choice([one.seed for one in sets])),
        )
        for _ in range(count)
    )


def hyperband(
    sets: Sequence[Hyperparameters],
    train: Trainer,
    *,
    budget: Budget,
    seed: int,
    after_round: AfterRound = lambda done, left: None,
) -> Outcome[Any]:
    """Run Hyperband and return its best fit of the full number of steps.

    Its resource is the share of the steps. A survivor restarts from the checkpoint at the next rung, because a fit's
    learning rate decays over its own steps; the repeated steps count. Brackets are repeated while the budget lasts.

    Args:
        sets: Θ; drawn without replacement, then again with new seeds.
        train: makes the fits.
        budget: when to stop, counted in fits of the full number of steps.
        seed: seed of the draws.
        after_round: called after each rung.

    Raises:
        RunFailed: every fit failed.

    Source: Li et al., Hyperband (JMLR 18, 2018), algorithm 1.
    """
    meter, rounds, source = Meter(train, budget), list[Round[Any]](), _draws(sets, seed)
    best: Tried | None = None
    for bracket in itertools.cycle(range(_RUNGS, -1, -1)):
        if not meter.is_left():
            break
        entrants = [next(source) for _ in range(ceil((_RUNGS + 1) / (bracket + 1) * _ETA**bracket))]
        for rung in range(bracket, -1, -1):
            tried = meter.tried([Request(theta, attempt=k, share=_ETA**-rung) for theta, k in entrants])
            if not tried:
                break
            lead = leader(tried)
            if best is None or _standing(lead) > _standing(best):
                best = lead
            rounds.append(Round(len(rounds), 0, tried, best.fit.rank))
            after_round(rounds[-1], 0)
            ranking = sorted(range(len(tried)), key=lambda i: (-tried[i].fit.rank, i))
            entrants = [entrants[i] for i in ranking[: len(entrants) // _ETA]]
    return Outcome(checked(best, rounds), tuple(rounds), "budget")


def _standing(tried: Tried) -> tuple[bool, float, float]:
    """Return the sort key of fits: a fit of more steps beats a more accurate fit of fewer steps."""
    return tried.fit.accuracy is not None, tried.share, tried.fit.rank


def _draws(sets: Sequence[Hyperparameters], seed: int) -> Iterator[tuple[Hyperparameters, int]]:
    """Yield sets, each with the number of times that it was drawn before."""
    generator = np.random.default_rng([seed, 2])
    for attempt in itertools.count():
        for i in generator.permutation(len(sets)):
            yield sets[i], attempt
