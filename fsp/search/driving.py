"""The loop of every search, real or replayed: a method yields one trial at a time and is sent its error."""

import math
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fsp.search.candidates import Proposals


class Trial(NamedTuple):
    """One evaluation that a method asks for.

    Attributes:
        row: row of the candidate.
        seed: seed of the evaluation.
        rung: index of the fidelity; 0 if there is only one.
    """

    row: int
    seed: int
    rung: int = 0


# Yields a trial, is sent its error (None if the evaluation failed), and returns a certificate's record or None.
Trials = Generator[Trial, float | None, dict[str, Any] | None]
Evaluate = Callable[[Trial], float | None]
Expect = Callable[[Sequence[Trial]], object]  # is called with the next trials, before the first of them is evaluated


def drive(trials: Trials, evaluate: Evaluate) -> dict[str, Any] | None:
    """Evaluate the trials that a method yields until it ends, and return its return value.

    Example:
        >>> def method():
        ...     error = yield Trial(row=3, seed=0)
        ...     return {"found": error}
        >>> drive(method(), lambda trial: trial.row / 2)
        {'found': 1.5}
    """
    try:
        asked = next(trials)
        while True:
            asked = trials.send(evaluate(asked))
    except StopIteration as end:
        return end.value


def one_by_one(proposals: Proposals, seeds: Sequence[int], budget: int, expect: Expect = lambda trials: None) -> Trials:
    """Yield the trials of proposed rows, each under all seeds, and send the geometric mean errors to the proposals.

    Args:
        proposals: yields rows and is sent errors, NaN if an evaluation failed.
        seeds: seeds of each row's evaluations.
        budget: the most rows.
        expect: see `Expect`.
    """
    try:
        row = next(proposals)
        for _ in range(budget):
            trials = [Trial(row, seed) for seed in seeds]
            expect(trials)
            errors = []
            for trial in trials:
                errors.append((yield trial))
            row = proposals.send(mean_error(errors))
        proposals.close()
        return None
    except StopIteration as end:
        return end.value


def in_turn(
    rows: Sequence[int], seeds: Sequence[int], expect: Expect, rung: int = 0
) -> Generator[Trial, float | None, list[float]]:
    """Yield the trials of rows known beforehand, each under all seeds; return the mean errors, NaN for failed rows."""
    expect([Trial(row, seed, rung) for row in rows for seed in seeds])
    means = []
    for row in rows:
        errors = []
        for seed in seeds:
            errors.append((yield Trial(row, seed, rung)))
        means.append(mean_error(errors))
    return means


def mean_error(errors: Sequence[float | None]) -> float:
    """Return the geometric mean of errors, NaN if one is missing.

    Example:
        >>> mean_error([1.0, 4.0]), mean_error([0.5, None])
        (2.0, nan)
    """
    known = [math.nan if error is None else error for error in errors]
    return known[0] if len(known) == 1 else float(np.exp(np.log(known).mean()))  # exp(log(e)) may differ from e
