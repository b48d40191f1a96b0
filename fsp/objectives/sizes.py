"""p(f): exact parameter counts of many architectures at once."""

import numpy as np
from numpy.typing import NDArray

from fsp.objectives.blocks import in_blocks
from fsp.spaces.space import SearchSpace, family_of


def sizes(space: SearchSpace, points: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Return `parameters`, `embedding_parameters` and `encoder_parameters` of an `n x d` array of architectures.

    Example:
        >>> from fsp.spaces.loading import load_space
        >>> space = load_space("bert_large")
        >>> sizes(space, space.point(dict(D=4, A=8, H=1024, I=768)))["parameters"].tolist()
        [75107328]
    """
    family = family_of(space)
    return in_blocks(lambda rows: family.parameters(space.columns(rows), space.constants), points)
