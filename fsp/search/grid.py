"""A finite set of points under an ask-and-tell search: which are left, and which of them to try next."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsp.errors import InputError
from fsp.search.fitted import best_expected, start_size, stratified
from fsp.search.interval import every_kth, order
from fsp.search.law import QuadraticLaw, log_features
from fsp.space import SearchSpace

Point = dict[str, Any]

MAX_POINTS = 100_000  # of a larger grid a random part is considered, to keep a proposal in milliseconds


class Grid:
    """The valid points of a finite space, and what was tried of them.

    Args:
        points: the valid points, equal in their parameters' names, at least one.
        size: of a point; the start is spread along it. By default the mean rank of its values.
        interval: start with every K-th point along the order instead of one in each of d + 1 equal parts.
        seed: decides the start and the order among ties.

    Raises:
        InputError: the interval is out of range, or a size is not finite.

    Example:
        >>> grid = Grid([{"A": 4, "H": 12}, {"A": 8, "H": 16}], None, None, seed=0)
        >>> grid.row({"A": 8, "H": 16}), grid.row({"A": 8, "H": 12})
        (1, None)
    """

    def __init__(
        self, points: list[Point], size: Callable[[Point], float] | None, interval: int | None, *, seed: int | None
    ):
        self.names = tuple(points[0])
        self.points = points
        self._rows = {self._key(point): row for row, point in enumerate(points)}
        columns = [_column([point[name] for point in self.points]) for name in self.names]
        ranks = np.stack([np.unique(c, axis=0, return_inverse=True)[1].ravel() for c in columns], axis=1)
        if size is None:
            sizes, features = ranks.mean(axis=1), log_features(*columns)
        else:
            sizes = np.array([float(size(dict(point))) for point in self.points])
            if not np.isfinite(sizes).all():
                raise InputError(f"size is not finite at {self.points[int(np.argmin(np.isfinite(sizes)))]}")
            features = log_features(*columns, sizes)
        ordered = order(sizes, sizes, ranks, seed=seed)
        if interval is None:
            self._start = stratified(ordered, start_size(len(self.names)), seed=seed).tolist()
        else:
            self._start = every_kth(ordered, interval).tolist()
        self._law = QuadraticLaw(features)

    def _key(self, point: Mapping[str, Any]) -> tuple[Any, ...]:
        # a stepped float may come back differing in its last digits
        return tuple([float(f"{v:.9g}") if type(v) is float else v for v in (point[name] for name in self.names)])

    def row(self, point: Mapping[str, Any]) -> int | None:
        """Return the number of a point, or None where it is incomplete or not one of the valid points."""
        try:
            return self._rows.get(self._key(point))
        except KeyError:
            return None

    def propose(
        self,
        open_rows: NDArray[np.bool_],
        observed: Mapping[int, float],
        generator: np.random.Generator,
    ) -> int:
        """Return the open row to try next: of the start while there is any, then the largest expected improvement.

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


def grid_points(
    axes: Mapping[str, Sequence[Any]], is_valid: Callable[[Point], bool] | None, *, seed: int | None
) -> list[Point]:
    """Return the valid points of a product of choices; of a product above MAX_POINTS a random part is considered.

    Raises:
        InputError: no point is valid.

    Example:
        >>> grid_points({"A": [4, 8], "H": [12, 16]}, lambda p: p["H"] % p["A"] == 0, seed=0)
        [{'A': 4, 'H': 12}, {'A': 4, 'H': 16}, {'A': 8, 'H': 16}]
    """
    counts = [len(choices) for choices in axes.values()]
    if np.prod([float(count) for count in counts]) <= MAX_POINTS:
        positions = np.indices(counts).reshape(len(counts), -1).T
    else:
        positions = np.unique(np.random.default_rng(seed).integers(counts, size=(MAX_POINTS, len(counts))), axis=0)
    items = list(axes.items())
    points = [{name: c[k] for (name, c), k in zip(items, row, strict=True)} for row in positions.tolist()]
    return _valid(points, is_valid)


def space_points(space: SearchSpace, is_valid: Callable[[Point], bool] | None, *, seed: int | None) -> list[Point]:
    """Return the candidates of a search space that are also valid, of at most MAX_POINTS random ones.

    Raises:
        InputError: no candidate is valid.
    """
    points = space.candidates
    if len(points) > MAX_POINTS:
        points = points[np.random.default_rng(seed).choice(len(points), MAX_POINTS, replace=False)]
    return _valid([dict(zip(space.names, row, strict=True)) for row in points.tolist()], is_valid)


def _valid(points: list[Point], is_valid: Callable[[Point], bool] | None) -> list[Point]:
    valid = points if is_valid is None else [point for point in points if is_valid(dict(point))]
    if not valid:
        raise InputError("is_valid excludes every point of the search space; relax it")
    return valid


def _column(values: list[Any]) -> NDArray[np.float64]:
    """Return numbers as one column, anything else as one indicator a distinct value."""
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return np.array(values, dtype=np.float64)[:, None]
    distinct = {v: k for k, v in enumerate(dict.fromkeys(values))}
    return np.eye(len(distinct))[[distinct[v] for v in values]]
