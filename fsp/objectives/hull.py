"""The convex hull of known points: inside it a law fitted to them interpolates, outside it extrapolates."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_TOLERANCE = 1e-9  # of the widest spread of the known points


def in_hull(points: Floats, known: Floats) -> NDArray[np.bool_]:
    """Return which points lie in the convex hull of known points, including its boundary, `(n,)`.

    If the known points span fewer dimensions than they have coordinates, the hull lies in their span, and points
    outside the span are outside the hull.

    Args:
        points: `n x k`.
        known: `m x k`, m at least 1.

    Source: Barber, Dobkin and Huhdanpaa, The quickhull algorithm for convex hulls (1996).

    Example:
        >>> triangle = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
        >>> in_hull(np.array([[0.5, 0.5], [1.0, 1.0], [1.5, 1.5]]), triangle).tolist()
        [True, True, False]
    """
    from scipy.spatial import ConvexHull

    centre = known[0]  # one of the points, so that the differences of equal points are exactly 0
    scale = float(np.abs(known - centre).max())
    if scale == 0:
        return np.asarray(np.abs(points - centre).max(axis=1) <= _TOLERANCE)
    _, spread, axes = np.linalg.svd((known - centre) / scale, full_matrices=False)
    axes = axes[spread > _TOLERANCE * spread[0]]
    asked, inside = (points - centre) / scale, (known - centre) / scale @ axes.T
    beside = np.abs(asked - asked @ axes.T @ axes).max(axis=1) > _TOLERANCE
    asked = asked @ axes.T
    if len(axes) == 1:  # Quickhull needs two dimensions
        within = (asked >= inside.min() - _TOLERANCE) & (asked <= inside.max() + _TOLERANCE)
    else:
        sides = ConvexHull(inside).equations
        within = asked @ sides[:, :-1].T + sides[:, -1] <= _TOLERANCE
    return np.asarray(within.all(axis=1) & ~beside)
