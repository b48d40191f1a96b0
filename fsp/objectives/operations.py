"""i(f): the paper's surrogate of inference time, scalar operations of one forward pass."""

import numpy as np
from numpy.typing import NDArray

from fsp.base.defaults import BATCH, LENGTH
from fsp.objectives.blocks import in_blocks
from fsp.spaces.space import SearchSpace, family_of


def operations(
    space: SearchSpace, points: NDArray[np.int64], *, batch: int = BATCH, length: int = LENGTH
) -> NDArray[np.int64]:
    """Return the operations of an `n x d` array of architectures at a batch size and length (tokens).

    Example:
        >>> from fsp.spaces.loading import load_space
        >>> space = load_space("bert_large")
        >>> full = operations(space, space.point(space.maximum))
        >>> bool((operations(space, space.candidates) < full).all())
        True
    """
    family = family_of(space)

    def evaluate(rows: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        return {"operations": family.operations(space.columns(rows), space.constants, batch=batch, length=length)}

    return in_blocks(evaluate, points)["operations"]
