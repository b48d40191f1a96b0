"""Successive halving: many candidates after little training, the best of them after more."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError

KEPT = 3  # one candidate of so many goes on to the next fidelity


def check_fidelities(fidelities: Sequence[int]) -> None:
    """Raise InputError for fewer than two numbers of steps, some that do not rise, or one below 0."""
    if len(fidelities) < 2 or fidelities[0] < 0 or any(b <= a for a, b in pairwise(fidelities)):
        given = ",".join(map(str, fidelities))
        raise InputError(f"fidelities {given} are no rising numbers of steps; give two or more, e.g. 0,16,64")


def successive_halving(
    rows: Sequence[int], rungs: int, score: Callable[[int, Sequence[int]], NDArray[np.float64]]
) -> NDArray[np.int64]:
    """Return at which rung each row was dropped, or `rungs - 1` where it went all the way, `(len(rows),)`.

    Of n rows at a rung the n/3 with the largest score go on to the next (rounded up); a row without one never does.

    Args:
        rows: what is halved.
        rungs: how many evaluations the best rows get, the first included.
        score: called with a rung and the rows still in it; their scores, NaN for a failed one.

    Source: Jamieson and Talwalkar, Non-stochastic best arm identification and hyperparameter optimization (2016).

    Example:
        >>> successive_halving(range(6), 2, lambda rung, rows: np.array([9.0, 1, 8, 3, np.nan, 0])[rows]).tolist()
        [1, 0, 1, 0, 0, 0]
    """
    place = {row: k for k, row in enumerate(rows)}
    reached = np.zeros(len(place), dtype=np.int64)
    remaining = list(rows)
    for rung in range(rungs):
        scores = score(rung, remaining)
        reached[[place[row] for row in remaining]] = rung
        best = np.argsort(-scores, kind="stable")[: math.ceil(len(remaining) / KEPT)]  # NaN comes last
        remaining = [remaining[k] for k in best if not np.isnan(scores[k])]
        if not remaining:
            break
    return reached
