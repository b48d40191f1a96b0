"""i(f): the paper's surrogate of inference time, scalar operations of one forward pass."""

import numpy as np
from numpy.typing import NDArray

from fsp.families import family_of
from fsp.space import SearchSpace

BATCH, LENGTH = 1, 128  # one sequence of 128 tokens, as the latencies are measured


def operations(
    space: SearchSpace, points: NDArray[np.int64], *, batch: int = BATCH, length: int = LENGTH
) -> NDArray[np.int64]:
    """Return the operations of an `n x d` array of architectures at a batch size and length (tokens).

    Example:
        >>> from fsp.space import load_space
        >>> space = load_space("bert_large")
        >>> full = operations(space, space.point(space.maximum))
        >>> bool((operations(space, space.candidates) < full).all())
        True
    """
    return family_of(space).operations(space.columns(points), space.constants, batch=batch, length=length)
