"""Shapes to compare a choice with, found without any search."""

import numpy as np
import pandas as pd

from fsp.families.architecture import Architecture
from fsp.spaces.space import SearchSpace


def largest(space: SearchSpace, table: pd.DataFrame) -> Architecture:
    """Return the candidate of most encoder parameters: the choice of who trusts their number alone.

    Args:
        space: the search space.
        table: the candidates within the limits, with `encoder_parameters`.
    """
    best = table["encoder_parameters"].to_numpy(dtype=float).argmax()
    return space.architectures(table[list(space.names)].to_numpy()[[best]])[0]


def layer_drop(space: SearchSpace, encoder_parameters: float, *, depth: str = "D") -> Architecture | None:
    """Return T with fewer layers and nothing else changed, of the encoder size nearest to the given one.

    None if T has a single layer.

    Args:
        space: a space whose encoder parameters grow with its depth.
        encoder_parameters: the given size.
        depth: the name of the depth parameter.
    """
    from fsp.objectives.counts import sizes

    depths = np.arange(1, space.maximum[depth])
    if not len(depths):
        return None
    points = np.repeat(space.point(space.maximum), len(depths), axis=0)
    points[:, space.names.index(depth)] = depths
    distance = np.abs(sizes(space, points)["encoder_parameters"] - encoder_parameters)
    return space.architectures(points[[int(distance.argmin())]])[0]
