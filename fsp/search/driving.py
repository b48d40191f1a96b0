"""The one loop of every search, real or replayed: a method asks for trials one at a time and is told their errors."""

import math
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fsp.search.candidates import Proposals


class Trial(NamedTuple):
    """One evaluation that a method asks for.

    Attributes:
        row: of the candidate.
        seed: of the evaluation.
        rung: which of several fidelities; 0 where there is one.
    """

    row: int
    seed: int
    rung: int = 0


# Yields what to evaluate, is sent its error (None where the evaluation failed), and returns a certificate's record if
# it has one.
Trials = Generator[Trial, float | None, dict[str, Any] | None]
Evaluate = Callable[[Trial], float | None]
Expect = Callable[[Sequence[Trial]], object]  # is told which trials will be asked for, whatever comes of them


def drive(trials: Trials, evaluate: Evaluate) -> dict[str, Any] | None:
    """Evaluate what a method asks for until it ends, and return what it returns.

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
    """Ask for at most so many proposed rows, each under all seeds; the proposals are sent the geometric mean error.

    Args:
        proposals: yields rows and is sent errors, NaN where an evaluation failed.
        seeds: of each row's evaluations.
        budget: rows.
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
    """Ask for rows that are known beforehand, each under all seeds; return their mean errors, NaN for a failed one."""
    expect([Trial(row, seed, rung) for row in rows for seed in seeds])
    means = []
    for row in rows:
        errors = []
        for seed in seeds:
            errors.append((yield Trial(row, seed, rung)))
        means.append(mean_error(errors))
    return means


def mean_error(errors: Sequence[float | None]) -> float:
    """Return the geometric mean of errors, NaN where one is missing.

    Example:
        >>> mean_error([1.0, 4.0]), mean_error([0.5, None])
        (2.0, nan)
    """
    known = [math.nan if error is None else error for error in errors]
    return known[0] if len(known) == 1 else float(np.exp(np.log(known).mean()))  # one seed: not a digit is lost
