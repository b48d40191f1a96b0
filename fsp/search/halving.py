"""Successive halving: many candidates are evaluated after little training, the best of them after more."""

import math
from collections.abc import Generator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError

KEPT = 3  # one in this many candidates advances to the next fidelity


def check_fidelities(fidelities: Sequence[int]) -> None:
    """Raise InputError unless the fidelities are two or more rising numbers of steps, from 0."""
    if len(fidelities) < 2 or fidelities[0] < 0 or any(b <= a for a, b in pairwise(fidelities)):
        given = ",".join(map(str, fidelities))
        raise InputError(f"fidelities {given} are no rising numbers of steps; give two or more, e.g. 0,16,64")


def successive_halving(rows: Sequence[int], rungs: int) -> Generator[tuple[int, list[int]], NDArray[np.float64], None]:
    """Yield each rung with its remaining rows, and receive their scores (NaN for failed rows).

    Of n rows at a rung, the n/3 (rounded up) with the largest scores advance to the next; failed rows never do.

    Args:
        rows: the rows of the first rung.
        rungs: number of rungs.

    Source: Jamieson and Talwalkar, Non-stochastic best arm identification and hyperparameter optimization (2016).

    Example:
        >>> halving = successive_halving(range(6), 2)
        >>> next(halving)
        (0, [0, 1, 2, 3, 4, 5])
        >>> halving.send(np.array([9.0, 1, 8, 3, np.nan, 0]))
        (1, [0, 2])
    """
    remaining = list(rows)
    for rung in range(rungs):
        scores = yield rung, remaining
        best = np.argsort(-scores, kind="stable")[: math.ceil(len(remaining) / KEPT)]  # NaN comes last
        remaining = [remaining[k] for k in best if not np.isnan(scores[k])]
        if not remaining:
            return
