"""Hard limits on the objectives: parsing them, and finding the rows that meet them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fsp.base.errors import InputError


def parse_limits(given: Sequence[str] | None) -> dict[str, str | float] | None:
    """Return limits written as `NAME=VALUE`, or None if none are given.

    Raises:
        InputError: a limit has another form, or is given twice.

    Example:
        >>> parse_limits(["operations=25%"])
        {'operations': '25%'}
    """
    if not given:
        return None
    limits: dict[str, str | float] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name in limits:
            raise InputError(
                f"cannot read the limit {text!r}; write each once, as operations=25% or operations=500000000"
            )
        limits[name] = value
    return limits


def resolve_limits(limits: Mapping[str, float | str], maximum: Mapping[str, float]) -> dict[str, float]:
    """Return limits as absolute numbers.

    Args:
        limits: the largest value allowed for each objective, as a number or as a share of T's, e.g. `"25%"`.
        maximum: the objectives of the maximum point T.

    Raises:
        InputError: an objective is unknown, or a limit is not a positive number.

    Example:
        >>> resolve_limits({"operations": "25%"}, {"operations": 400.0})
        {'operations': 100.0}
    """
    resolved = {}
    for name, limit in limits.items():
        if name == "latency" and name not in maximum:
            raise InputError(
                "no objective 'latency' where none is predicted; fsp extract and fsp choose predict it with --speed "
                "calibrated, after fsp latency calibrate"
            )
        if name not in maximum:
            raise InputError(
                f"no objective {name!r} to limit; there are {', '.join(dict.fromkeys([*maximum, 'peak_memory']))}"
            )
        try:
            share = isinstance(limit, str) and limit.endswith("%")
            value = float(limit.rstrip("%")) / 100 * maximum[name] if share else float(limit)  # type: ignore[union-attr]
        except ValueError:
            value = float("nan")
        if not (value > 0 and np.isfinite(value)):
            raise InputError(f"limit {name}={limit} is no positive number; write e.g. {name}=25% or {name}=2000000")
        resolved[name] = value
    return resolved


def within(table: pd.DataFrame, limits: Mapping[str, float]) -> NDArray[np.bool_]:
    """Return which rows meet every limit.

    Raises:
        InputError: no row does; the message gives the values of the row that exceeds them by the smallest factor.
    """
    met = np.ones(len(table), dtype=bool)
    for name, limit in limits.items():
        met &= table[name].to_numpy() <= limit
    if not met.any():
        excess = np.max([table[name].to_numpy() / limit for name, limit in limits.items()], axis=0)
        nearest = table.iloc[int(excess.argmin())]
        needed = ", ".join(f"{name}={np.ceil(1000 * nearest[name]) / 1000:.12g}" for name in limits)
        raise InputError(f"no candidate meets the limits; the nearest feasible are {needed}")
    return met
