"""The paper's FPTAS: order the search space, evaluate every K-th architecture, keep the best."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fsp.base.errors import InputError


def order(
    size: ArrayLike, speed: ArrayLike, points: NDArray[np.int64 | np.float64], *, seed: int | None
) -> NDArray[np.int64]:
    """Return the row numbers of `points` by size, then speed, then the architecture itself.

    Args:
        size: p of each row, `(n,)`.
        speed: i of each row, `(n,)`.
        points: architectures, `n x d`.
        seed: seed of the order among rows that are equal in everything.

    Example:
        >>> order([3, 1, 1], [1, 5, 4], np.array([[1], [2], [3]]), seed=0).tolist()
        [2, 1, 0]
    """
    speed, size = np.asarray(speed), np.asarray(size)
    ordered = np.lexsort((speed, size))
    before, after = ordered[:-1], ordered[1:]
    equal = (size[before] == size[after]) & (speed[before] == speed[after])
    if not equal.any():
        return ordered
    # few rows tie in both, so only those are sorted further: this takes a third of the time at ten million rows
    tied = np.flatnonzero(np.append(equal, False) | np.append(False, equal))
    rows = ordered[tied]
    run = np.cumsum(np.append(True, ~equal))[tied]
    shuffled = np.random.default_rng(seed).permutation(len(points))[rows]
    ordered[tied] = rows[np.lexsort((shuffled, *points[rows].T[::-1], run))]
    return ordered


def every_kth(ordered: NDArray[np.int64], interval: int) -> NDArray[np.int64]:
    """Return every K-th element of an order, counted back from the last, which is included: ceil(n / K) elements.

    The paper does not define where to start. Counting K, 2K, ... from the first element would never include the last
    n mod K elements, and these are the largest architectures, which have the least errors.

    Raises:
        InputError: the interval is not between 1 and the number of elements.

    Source: arXiv 2010.08512, Algorithm 1; its epsilon is this interval.

    Example:
        >>> every_kth(np.array([5, 6, 7, 8, 9]), 2).tolist()
        [5, 7, 9]
    """
    if not 1 <= interval <= len(ordered):
        raise InputError(f"interval {interval} is out of range; choose 1 to {len(ordered)}, the number of candidates")
    return ordered[(len(ordered) - 1) % interval :: interval]


def interval_for(count: int, evaluations: int) -> int:
    """Return the K for which `every_kth` takes closest to `evaluations` of `count` elements, the smaller K of a tie.

    Example:
        >>> [interval_for(count, 16) for count in (5, 16, 17, 24, 300)]
        [1, 1, 1, 2, 19]
    """
    below = max(1, count // evaluations)
    return min((below, below + 1), key=lambda interval: (abs(math.ceil(count / interval) - evaluations), interval))
