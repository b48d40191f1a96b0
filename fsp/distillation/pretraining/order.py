"""The order of blocks: a pseudo-random permutation that takes no memory, for any number of blocks."""

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 6
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def shuffled(places: NDArray[np.int64], blocks: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the block at each place of an endless sequence of passes, and the pass that the place belongs to.

    Each pass holds every block once, in an order of its own. The permutation is a Feistel network over the next power
    of four, applied until the result is below `blocks` (cycle walking, Black and Rogaway, 2002), with the splitmix64
    finaliser as round function.

    Args:
        places: numbers from 0 on, `n`.
        blocks: number of blocks.
        seed: seed of the order.

    Example:
        >>> found, epochs = shuffled(np.arange(6), 3, seed=0)
        >>> sorted(found[:3].tolist()), epochs.tolist()
        ([0, 1, 2], [0, 0, 0, 1, 1, 1])
    """
    epochs = places // blocks
    half = max(1, ((blocks - 1).bit_length() + 1) // 2)
    keys = _mixed(epochs.astype(np.uint64) ^ _mixed(np.uint64(seed) + np.uint64(1)))
    result = _feistel((places % blocks).astype(np.uint64), keys, half)
    while (outside := result >= blocks).any():
        result[outside] = _feistel(result[outside], keys[outside], half)
    return result.astype(np.int64), epochs


def _feistel(values: NDArray[np.uint64], keys: NDArray[np.uint64], half: int) -> NDArray[np.uint64]:
    """Return the images of numbers under a bijection of numbers of `2 * half` bits, with a key per number."""
    low = np.uint64((1 << half) - 1)
    left, right = values >> np.uint64(half), values & low
    for k in range(_ROUNDS):
        with np.errstate(over="ignore"):
            mixed = _mixed(right + keys * np.uint64(2 * k + 1)) & low
        left, right = right, left ^ mixed
    return (left << np.uint64(half)) | right


def _mixed(values: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        mixed = np.asarray(values, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        for shift, multiplier in zip((30, 27), _MULTIPLIERS, strict=True):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * multiplier
        return mixed ^ (mixed >> np.uint64(31))
