"""A finite set of points for an ask-and-tell search: the valid points, and the choice of the next one."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.search.interval import every_kth, order
from fsp.search.samplers.axis import Axis, is_number
from fsp.search.samplers.fitted import best_expected, start_size, stratified
from fsp.search.samplers.law import QuadraticLaw, log_features
from fsp.spaces.space import SearchSpace

Point = dict[str, Any]

MAX_POINTS = 100_000  # larger grids are sampled at random, so that a proposal takes milliseconds


@dataclass(frozen=True)
class Points:
    """The valid points of a finite space.

    Attributes:
        axes: the values of each parameter, by name.
        positions: position of each point's values on the axes, `n x d`, at least one point.
    """

    axes: Mapping[str, Axis]
    positions: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.positions)

    def point(self, row: int) -> Point:
        """Return one point as a dictionary."""
        return _point(self.axes, self.positions[row].tolist())

    def those(self, is_valid: Callable[[Point], bool] | None) -> "Points":
        """Return the points that are also valid. Raises InputError if there are none."""
        if is_valid is None:
            return self
        kept = [is_valid(_point(self.axes, row)) for row in self.positions.tolist()]
        if not any(kept):
            raise InputError("is_valid excludes every point of the search space; relax it")
        return Points(self.axes, self.positions[np.array(kept, dtype=bool)])


def _point(axes: Mapping[str, Axis], row: Sequence[int]) -> Point:
    return {name: axis.choices[k] for (name, axis), k in zip(axes.items(), row, strict=True)}


class Grid:
    """The valid points of a finite space, and the proposal of the next one.

    Args:
        points: the valid points.
        size: returns the size of a point, along which the start is spread; None for the mean rank of its values.
        interval: start with every K-th point along the order; None for one point from each of d + 1 equal parts.
        seed: determines the start and the order among ties.

    Raises:
        InputError: the interval is out of range, or a size is not finite.

    Example:
        >>> points = grid_points({"A": Axis([4, 8]), "H": Axis([12, 16])}, lambda p: p["H"] % p["A"] == 0, seed=0)
        >>> grid = Grid(points, None, None, seed=0)
        >>> grid.row({"A": 8, "H": 16}), grid.row({"A": 8, "H": 12})
        (2, None)
    """

    def __init__(
        self, points: Points, size: Callable[[Point], float] | None, interval: int | None, *, seed: int | None
    ):
        self.points = points
        self.axes = points.axes
        self._rows: dict[tuple[int | None, ...], int] = {
            tuple(positions): row for row, positions in enumerate(points.positions.tolist())
        }
        columns = [_column(axis)[points.positions[:, j]] for j, axis in enumerate(self.axes.values())]
        ranks = np.stack([np.unique(c, axis=0, return_inverse=True)[1].ravel() for c in columns], axis=1)
        if size is None:
            sizes, features = ranks.mean(axis=1), log_features(*columns)
        else:
            sizes = np.array([float(size(points.point(row))) for row in range(len(points))])
            if not np.isfinite(sizes).all():
                raise InputError(f"size is not finite at {points.point(int(np.argmin(np.isfinite(sizes))))}")
            features = log_features(*columns, sizes)
        ordered = order(sizes, sizes, ranks, seed=seed)
        if interval is None:
            self._start = stratified(ordered, start_size(len(self.axes)), seed=seed).tolist()
        else:
            self._start = every_kth(ordered, interval).tolist()
        self._law = QuadraticLaw(features)

    def row(self, point: Mapping[str, Any]) -> int | None:
        """Return the row of a point, or None if it is incomplete or not one of the valid points."""
        if not point.keys() >= self.axes.keys():
            return None
        return self._rows.get(tuple(axis.index(point[name]) for name, axis in self.axes.items()))

    def matching(self, fixed: Mapping[str, Any]) -> NDArray[np.bool_]:
        """Return which rows have these values, `(n,)`; names that the grid does not have are ignored."""
        rows = np.ones(len(self.points), dtype=bool)
        for j, (name, axis) in enumerate(self.axes.items()):
            if name in fixed:
                position = axis.index(fixed[name])
                rows &= self.points.positions[:, j] == (-1 if position is None else position)
        return rows

    def propose(
        self,
        open_rows: NDArray[np.bool_],
        observed: Mapping[int, float],
        generator: np.random.Generator,
    ) -> int:
        """Return the next open row: from the start while any is left, then the largest expected improvement.

        Args:
            open_rows: which rows may be proposed, `(n,)`, at least one.
            observed: finite values by row; smaller is better.
            generator: draws a row while nothing is observed.
        """
        for row in self._start:
            if open_rows[row]:
                return row
        if not observed:
            return int(generator.choice(np.flatnonzero(open_rows)))
        rows = np.fromiter(observed.keys(), dtype=np.int64, count=len(observed))
        values = np.fromiter(observed.values(), dtype=np.float64, count=len(observed))
        return best_expected(self._law, rows, values, open_rows)


def grid_points(axes: Mapping[str, Axis], is_valid: Callable[[Point], bool] | None, *, seed: int | None) -> Points:
    """Return the valid points of a product of choices; a product above MAX_POINTS is sampled at random.

    Raises:
        InputError: no point is valid.

    Example:
        >>> points = grid_points({"A": Axis([4, 8]), "H": Axis([12, 16])}, lambda p: p["H"] % p["A"] == 0, seed=0)
        >>> [points.point(row) for row in range(len(points))]
        [{'A': 4, 'H': 12}, {'A': 4, 'H': 16}, {'A': 8, 'H': 16}]
    """
    counts = [len(axis) for axis in axes.values()]
    if math.prod(counts) <= MAX_POINTS:
        positions = np.indices(counts).reshape(len(counts), -1).T
    else:
        positions = np.unique(np.random.default_rng(seed).integers(counts, size=(MAX_POINTS, len(counts))), axis=0)
    return Points(axes, positions).those(is_valid)


def space_points(space: SearchSpace, is_valid: Callable[[Point], bool] | None, *, seed: int | None) -> Points:
    """Return the valid candidates of a search space; of more than MAX_POINTS candidates a random sample is taken.

    Raises:
        InputError: no candidate is valid.
    """
    points = space.candidates
    if len(points) > MAX_POINTS:
        points = points[np.random.default_rng(seed).choice(len(points), MAX_POINTS, replace=False)]
    columns = [np.unique(column, return_inverse=True) for column in points.T]
    axes = {name: Axis(values.tolist()) for name, (values, _) in zip(space.names, columns, strict=True)}
    return Points(axes, np.stack([positions for _, positions in columns], axis=1)).those(is_valid)


def _column(axis: Axis) -> NDArray[np.float64]:
    """Return the features of an axis' values: numbers as one column, anything else as one indicator per value."""
    if not axis.ambiguous and all(is_number(value) for value in axis.choices):
        return np.array(axis.choices, dtype=np.float64)[:, None]
    return np.eye(len(axis))
