"""The search methods by name. Each proposes rows of a finite set one at a time; to add one, add it to METHODS."""

import math

import numpy as np
from numpy.typing import NDArray

from fsp.search.candidates import Candidates, Method, Proposals
from fsp.search.fitted import fitted
from fsp.search.interval import every_kth, order
from fsp.search.samplers import gp, nsga2, tpe


def _in_sequence(rows: NDArray[np.int64]) -> Proposals:
    for row in rows.tolist():  # noqa: UP028 - a list, unlike this loop, cannot be sent the errors
        yield row
    return None


def interval(candidates: Candidates, evaluations: int, seed: int) -> Proposals:
    """Propose every K-th row along (p, i, parameters), with the least K that keeps to the budget."""
    ordered = order(candidates.size, candidates.speed, candidates.parameters, seed=seed)
    return _in_sequence(every_kth(ordered, math.ceil(len(ordered) / evaluations)))


def random(candidates: Candidates, evaluations: int, seed: int) -> Proposals:
    """Propose rows in random sequence."""
    return _in_sequence(np.random.default_rng(seed).permutation(len(candidates)))


def params(candidates: Candidates, evaluations: int, seed: int) -> Proposals:
    """Propose rows from the largest p to the smallest."""
    return _in_sequence(order(candidates.size, candidates.speed, candidates.parameters, seed=seed)[::-1])


def params_ascending(candidates: Candidates, evaluations: int, seed: int) -> Proposals:
    """Propose rows from the smallest p to the largest."""
    return _in_sequence(order(candidates.size, candidates.speed, candidates.parameters, seed=seed))


METHODS: dict[str, Method] = {
    "interval": interval,
    "fitted": fitted,
    "random": random,
    "tpe": tpe,
    "nsga2": nsga2,
    "gp": gp,
    "params": params,
    "params-ascending": params_ascending,
    "exhaustive": params_ascending,  # the same sequence without the limit on evaluations: see UNLIMITED
}
UNLIMITED = frozenset({"exhaustive"})  # methods that evaluate all there is, whatever the budget
