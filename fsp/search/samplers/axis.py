"""The values of one parameter of a finite space, identified by their position as in Optuna's own samplers."""

import bisect
import math
import sys
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

_TOLERANCE = 1e-6  # share of the distance to the next value by which a float may differ and still be the same value
_ULPS = 4


class Axis:
    """The distinct values of one parameter, in order.

    Values of any type are allowed: 1, 1.0 and True are three values, NaN is one, lists and dictionaries are compared
    by their content (a tuple equals the list that a storage returns for it).

    Attributes:
        choices: the values, each once.
        ambiguous: whether some of them are equal in Python, so that a value alone does not determine the position.

    Example:
        >>> axis = Axis([1, True, 0.3, [64, 32]])
        >>> axis.index(True), axis.index(0.1 + 0.2), axis.index((64, 32)), axis.index(2), axis.ambiguous
        (1, 2, 3, None, True)
    """

    def __init__(self, choices: Sequence[Any]):
        exact: dict[Any, Any] = {}
        for choice in choices:
            exact.setdefault(_key(choice, typed=True), choice)
        self.choices = list(exact.values())
        self._exact = {key: k for k, key in enumerate(exact)}
        self._equal: dict[Any, int] = {}
        for k, choice in enumerate(self.choices):
            self._equal.setdefault(_key(choice, typed=False), k)
        numpy = any(isinstance(choice, np.generic) for choice in self.choices)  # these equal numbers with other hashes
        self.ambiguous = numpy or len(self._equal) < len(self.choices)
        numbers = sorted((c, k) for k, c in enumerate(self.choices) if is_number(c))
        self._numbers, self._positions = [c for c, _ in numbers], [k for _, k in numbers]

    def __len__(self) -> int:
        return len(self.choices)

    def index(self, value: Any) -> int | None:
        """Return the position of a value of the same type, else of an equal one, else of a float near it, else None."""
        position = self._exact.get(_key(value, typed=True))
        if position is None:
            position = self._equal.get(_key(value, typed=False))
        if position is None and is_number(value):
            position = self._near(value)
        return position

    def _near(self, value: float) -> int | None:
        place = bisect.bisect_left(self._numbers, value)
        beside = self._numbers[max(place - 1, 0) : place + 1]
        if not beside:
            return None
        nearest = min(beside, key=lambda c: abs(c - value))
        gap = abs(beside[1] - beside[0]) if len(beside) > 1 else abs(nearest)
        if abs(nearest - value) > _TOLERANCE * gap + _ULPS * math.ulp(value):
            return None
        return self._positions[bisect.bisect_left(self._numbers, nearest)]


def count_of(distribution: BaseDistribution) -> float:
    """Return how many values a distribution has; infinity where it is continuous."""
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return (distribution.high - distribution.low) // distribution.step + 1
    if isinstance(distribution, FloatDistribution):
        if distribution.single():
            return 1
        if distribution.step is not None:
            return (distribution.high - distribution.low) / distribution.step + 1
    return math.inf


def axis_of(distribution: BaseDistribution) -> Axis:
    """Return the values of a distribution that has finitely many, as Optuna generates them.

    Example:
        >>> axis_of(FloatDistribution(0, 0.3, step=0.1)).choices
        [0.0, 0.1, 0.2, 0.3]
    """
    if isinstance(distribution, CategoricalDistribution):
        return Axis(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return Axis(range(distribution.low, distribution.high + 1, distribution.step))
    assert isinstance(distribution, FloatDistribution)
    return Axis([_stepped(distribution, k) for k in range(round(count_of(distribution)))])


def value_in(distribution: BaseDistribution, value: Any) -> Any:
    """Return the value of a distribution that equals the given one, floats within rounding.

    Raises:
        ValueError: the distribution does not contain it.

    Example:
        >>> value_in(FloatDistribution(0, 0.3, step=0.1), 0.1 + 0.2), value_in(IntDistribution(1, 9), 3.0)
        (0.3, 3)
    """
    if isinstance(distribution, CategoricalDistribution):
        axis = Axis(distribution.choices)
        position = axis.index(value)
        if position is not None:
            return axis.choices[position]
    elif isinstance(distribution, IntDistribution | FloatDistribution) and (
        is_number(value) or isinstance(value, bool)
    ):
        low, high, step = distribution.low, distribution.high, distribution.step or 0.0
        near: float = min(max(value, low), high)
        if isinstance(distribution, IntDistribution):
            near = low + round((near - low) / distribution.step) * distribution.step
        elif step:
            near = _stepped(distribution, round((near - low) / step))
        if low <= near <= high and abs(near - value) <= _TOLERANCE * step + _ULPS * math.ulp(value):
            return near if isinstance(distribution, IntDistribution) else float(near)
    raise ValueError(f"{value!r} is not in {distribution}")


def _stepped(distribution: FloatDistribution, position: int) -> float:
    """Return the k-th value of a stepped distribution, rounded and clipped as in Optuna's samplers."""
    return min(max(position * (distribution.step or 0.0) + distribution.low, distribution.low), distribution.high)


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number other than a boolean."""
    return isinstance(value, Real) and not isinstance(value, bool) and abs(float(value)) <= sys.float_info.max


def _key(value: Any, *, typed: bool) -> Any:
    """Return a key to find a value by: equal for equal values, if `typed` only for those of the same type."""
    if isinstance(value, Mapping):
        return ("mapping", frozenset((name, _key(part, typed=typed)) for name, part in value.items()))
    if isinstance(value, list | tuple):
        return ("list", tuple(_key(part, typed=typed) for part in value))
    if isinstance(value, float) and math.isnan(value):
        return ("nan",)
    try:
        hash(value)
    except TypeError:
        return (type(value), repr(value))
    return (type(value), value) if typed else ("value", value)
