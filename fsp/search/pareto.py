"""Pareto fronts, through moocore."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def pareto_front(table: pd.DataFrame, objectives: Sequence[str]) -> pd.DataFrame:
    """Return the rows no other row beats in all objectives (all minimised), sorted by the first objective.

    Rows with a missing value are left out; of rows equal in all objectives all are kept.

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
