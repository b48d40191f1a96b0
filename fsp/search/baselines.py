"""Shapes to compare a choice with, found without any search."""

import numpy as np
import pandas as pd

from fsp.families.architecture import Architecture
from fsp.spaces.space import SearchSpace

_NEAR = 0.1  # of the choice's encoder parameters


def most_even(space: SearchSpace, table: pd.DataFrame, selected: Architecture) -> Architecture | None:
    """Return the candidate near the choice's encoder size that shrinks T most evenly, or None if there is none.

    "Near" means within 10% of the choice's encoder parameters, "most evenly" with the least variance of log(d / d_T)
    over the parameters d. The choice itself is left out.

    Args:
        space: the search space.
        table: all candidates with `encoder_parameters`, in the order of `space.candidates`.
        selected: the choice.
    """
    points = space.candidates
    is_selected = (points == space.point(selected)).all(axis=1)
    size = table["encoder_parameters"].to_numpy(dtype=float)
    near = np.abs(size - size[is_selected][0]) <= _NEAR * size[is_selected][0]
    shrink = np.log(points / space.point(space.maximum))
    variance = np.where(near & ~is_selected, shrink.var(axis=1), np.inf)
    best = int(variance.argmin())
    return space.architectures(points[[best]])[0] if np.isfinite(variance[best]) else None


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
