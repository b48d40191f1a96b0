"""Pareto fronts and the volume they dominate, through moocore."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fsp.base.errors import InputError


def pareto_front(table: pd.DataFrame, objectives: Sequence[str]) -> pd.DataFrame:
    """Return the rows that no other row beats in all objectives (all minimised), sorted by the first objective.

    Rows with a missing value are left out; rows that are equal in all objectives are all kept.

    Example:
        >>> pareto_front(pd.DataFrame({"p": [1, 2, 3], "e": [0.5, 0.6, 0.1]}), ["p", "e"]).index.tolist()
        [0, 2]
    """
    import moocore

    known = table.dropna(subset=list(objectives))
    if known.empty:
        return known
    values = known[list(objectives)].to_numpy(dtype=np.float64)
    return known[moocore.is_nondominated(values, keep_weakly=True)].sort_values(list(objectives))


def hypervolume(table: pd.DataFrame, objectives: Sequence[str], *, reference: Sequence[float]) -> float:
    """Return the volume that the rows dominate, up to a reference point; all objectives are minimised.

    Rows with a missing value, and rows that do not beat the reference in every objective, add nothing.

    Args:
        table: one row per architecture.
        objectives: its columns to compare.
        reference: the worst value of interest of each objective, such as T's, in the same order.

    Raises:
        InputError: the reference does not have one finite number for each objective.

    Source: Fonseca, Paquete and López-Ibáñez (2006), as implemented in moocore; O(n log n) in two and three
    objectives.

    Example:
        >>> hypervolume(pd.DataFrame({"p": [1, 2], "e": [0.5, 0.25]}), ["p", "e"], reference=[3, 1])
        1.25
    """
    import moocore

    limit = np.asarray(reference, dtype=np.float64)
    if limit.shape != (len(objectives),) or not np.isfinite(limit).all():
        raise InputError(f"the reference needs one finite number for each of {', '.join(objectives)}")
    values = table[list(objectives)].to_numpy(dtype=np.float64)
    inside = values[(values < limit).all(axis=1)]
    return float(moocore.hypervolume(inside, limit)) if len(inside) else 0.0
