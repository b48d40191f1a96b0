"""The search methods by name. Each proposes rows of a finite set one at a time; to add one, add it to METHODS."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsp.search.candidates import Candidates, Method, Proposals
from fsp.search.certificates.certificate import seal
from fsp.search.certificates.certified import trials
from fsp.search.certificates.settings import CertifiedSettings
from fsp.search.interval import every_kth, order
from fsp.search.maximal import maximal as maximal_rows
from fsp.search.samplers.fitted import fitted
from fsp.search.samplers.optuna_samplers import gp, nsga2, tpe

GAP = 0.05  # the gap that `certified` proves before it stops


def _in_sequence(rows: NDArray[np.int64]) -> Proposals:
    for row in rows.tolist():  # noqa: UP028 - `yield from` a list cannot receive the errors
        yield row
    return None


def interval(candidates: Candidates, evaluations: int, seed: int) -> Proposals:
    """Propose every K-th row along (p, i, parameters) from the last, with the least K that keeps within the budget."""
    ordered = order(candidates.size, candidates.speed, candidates.parameters, seed=seed)
    return _in_sequence(every_kth(ordered, math.ceil(len(ordered) / evaluations)))


def maximal(candidates: Candidates, evaluations: int, seed: int) -> Proposals:
    """Propose the rows that no other exceeds in every size, from the largest p to the smallest.

    If no larger row has a larger error, the least error is among them; the largest W need not be.
    """
    rows = maximal_rows(candidates.parameters, candidates.neutral)
    size, speed = candidates.size[rows], candidates.speed[rows]
    return _in_sequence(rows[order(size, speed, candidates.parameters[rows], seed=seed)[::-1]])


def certified(candidates: Candidates, evaluations: int, seed: int) -> Proposals:
    """Propose rows until a gap of 5% is proven, and return the certificate; errors are assumed to be free of noise.

    Assumption M has no tolerance. Neutral parameters must be equal in comparable rows, as in a search space.

    Raises:
        InputError: more rows than can be certified.
        RunFailed: every evaluation failed.

    Example:
        >>> size = np.arange(1.0, 101.0)
        >>> search = certified(Candidates(size[:, None], size, size, None, np.array([False])), 10, seed=0)
        >>> next(search)
        99
        >>> try:
        ...     search.send(0.1)
        ... except StopIteration as end:
        ...     print(end.value["result"]["statement"].split(" in x0")[0])
        x0=100: its error is at most 0.00% above the least among 100 feasible candidates, under M(0)
    """
    settings = CertifiedSettings(sigma=0.0, seeds=1, evaluations=evaluations)
    asking = trials(record_of(candidates, settings, GAP), candidates.speed, settings, seed=seed)
    try:
        trial = next(asking)
        while True:
            error = yield trial.row
            trial = asking.send(None if math.isnan(error) else error)
    except StopIteration as end:
        return seal(end.value)


def record_of(candidates: Candidates, settings: CertifiedSettings, gap: float) -> dict[str, Any]:
    """Return the record of a certificate before any evaluation (docs/certificate.md)."""
    if candidates.record is not None:
        return candidates.record(settings, gap)
    names = candidates.names or tuple(f"x{j}" for j in range(candidates.parameters.shape[1]))
    objectives = {"size": candidates.size, "speed": candidates.speed}
    maximum = {}
    if candidates.maximum is None:
        limits = {name: float(values.max()) for name, values in objectives.items()}
        choice: dict[str, Any] = {"objective": "limits", "limits": limits}
    else:
        size, speed = candidates.maximum
        choice = {"objective": "w", "size": "size", "speed": ["speed", "speed"], "exponents": [1.0, 1.0]}
        maximum = {"size": size, "speed": speed}
    return {
        "space": None,
        "parameters": {name: column.tolist() for name, column in zip(names, candidates.parameters.T, strict=True)},
        "equal": [name for name, neutral in zip(names, candidates.neutral, strict=True) if neutral],
        "objectives": {name: values.tolist() for name, values in objectives.items()},
        "maximum": maximum,
        "choice": choice,
        "assumptions": settings.assumptions(),
        "alpha": settings.alpha,
        "target": gap,
    }


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
    "maximal": maximal,
    "interval": interval,
    "certified": certified,
    "fitted": fitted,
    "random": random,
    "tpe": tpe,
    "nsga2": nsga2,
    "gp": gp,
    "params": params,
    "params-ascending": params_ascending,
    "exhaustive": params_ascending,  # the same sequence without the limit on evaluations: see UNLIMITED
}
UNLIMITED = frozenset({"exhaustive"})  # methods that evaluate every row, whatever the budget
