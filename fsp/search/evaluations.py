"""The table of evaluated candidates: p, i, their errors over seeds, and W."""

from collections.abc import Mapping

import pandas as pd

from fsp.base.errors import AllFailed
from fsp.search.coefficient import w_coefficient
from fsp.search.driving import mean_error
from fsp.studies.study import Evaluation


def evaluation_table(
    everything: pd.DataFrame,
    evaluations: Mapping[int, list[Evaluation]],
    maximum: Mapping[str, float],
    seed: int,
    speed: str = "operations",
) -> pd.DataFrame:
    """Return one row per evaluated candidate: its parameters, p, i, geometric mean error over seeds, W and cost.

    Args:
        everything: parameters, p and i of all candidates; its index names the rows of the result.
        evaluations: those of each evaluated row, in the order of the result.
        maximum: p and i of T.
        seed: the first seed.
        speed: the column of i in W.

    Raises:
        AllFailed: every candidate failed.
    """
    table = everything.loc[list(evaluations)].copy()
    failures = [next((e.failure for e in found if e.error is None), None) for found in evaluations.values()]
    table["error"] = [mean_error([e.error for e in found]) for found in evaluations.values()]
    valid = table["error"].notna()
    if not valid.any():
        raise AllFailed(f"all {len(table)} candidates failed; the first: {failures[0]}")
    for name, size in (("w_total", "parameters"), ("w_encoder", "encoder_parameters")):
        rows = table[valid]
        table.loc[valid, name] = w_coefficient(
            rows[size], rows[speed], rows["error"], maximum=(maximum[size], maximum[speed])
        )
    table["seed"] = seed
    table["seconds"] = [sum(e.seconds for e in found) for found in evaluations.values()]
    table["failure"] = failures
    return table
