"""What an extraction will evaluate, known before any training: candidates, p and i, limits, interval."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fsp.errors import InputError
from fsp.halving import check_fidelities
from fsp.latency.calibration import Calibration
from fsp.objectives.anchored import LEAST_ANCHORS
from fsp.objectives.size import sizes
from fsp.objectives.speed import operations
from fsp.question import Objective, Question
from fsp.search.certified import FRESH_ROUNDS
from fsp.search.certified_settings import CertifiedSettings
from fsp.search.interval import every_kth, order
from fsp.space import SearchSpace

METHODS = ("interval", "certified")
_DEFAULT_EVALUATIONS = 16  # the default interval is chosen so that about so many candidates are evaluated


def objectives_of(
    space: SearchSpace, points: NDArray[np.int64], calibration: Calibration | None = None, also: Collection[str] = ()
) -> pd.DataFrame:
    """Return p and i of an `n x d` array of architectures as a table, parameters first.

    With a calibration there is a column `latency` as well, predicted milliseconds; and `peak_memory` (bytes), which
    takes seconds to count, where it is among the names in `also`.
    """
    table = pd.DataFrame({**space.columns(points), **sizes(space, points), "operations": operations(space, points)})
    if calibration is not None:
        table["latency"] = calibration(points)
    if "peak_memory" in also:
        from fsp.objectives.memory import peak_memory

        table["peak_memory"] = peak_memory(space, points)
    return table


def objectives_at(space: SearchSpace, architecture: Mapping[str, int], also: Collection[str] = ()) -> dict[str, int]:
    """Return p and i of one architecture, which need not be a candidate; `also` as in `objectives_of`."""
    row = objectives_of(space, space.point(architecture), also=also).iloc[0]
    return {str(name): int(value) for name, value in row.items() if name not in space.names}


def objectives_at_maximum(
    space: SearchSpace, calibration: Calibration | None = None, also: Collection[str] = ()
) -> dict[str, float]:
    """Return p and i of T, with a calibration also its `latency` as measured; `also` as in `objectives_of`."""
    maximum: dict[str, float] = {**objectives_at(space, space.maximum, also)}
    return maximum if calibration is None else {**maximum, "latency": calibration.maximum_ms}


@dataclass(frozen=True)
class Plan:
    """What an extraction will evaluate, known before any training.

    table: p and i of the candidates that may be evaluated; for `interval` all of them are, in this order.
    limits: absolute. interval: None for `certified`. feasible: how many candidates there are to choose the evaluated
    ones from. maximum: p and i of the maximum point T. candidates: the most that are evaluated. seeds: evaluations of
    each. again: how many of them may be evaluated on as many fresh seeds.
    """

    table: pd.DataFrame
    limits: dict[str, float]
    interval: int | None
    feasible: int
    maximum: dict[str, float]
    candidates: int
    seeds: int = 1
    again: int = 0


def plan(
    space: SearchSpace,
    *,
    objective: Objective = "limits",
    method: str = "interval",
    limits: Mapping[str, float | str] | None = None,
    interval: int | None = None,
    certified: CertifiedSettings | None = None,
    anchors: int = 0,
    seed: int = 0,
    calibration: Calibration | None = None,
) -> Plan:
    """Return which candidates an extraction evaluates, for `certified` at most; no teacher is needed.

    Args:
        space: the search space, with the constants of its family.
        objective: as in `fsp.extract`, like all that follow.
        method: as there.
        limits: as there.
        interval: as there.
        certified: as there; by default what an error that takes a seed gets.
        anchors: as there.
        seed: as there.
        calibration: predicts the latency that is i; without one, i is the operations.

    Raises:
        InputError: limits that nothing meets, an interval out of range, an unknown objective or method, or more
            anchors than candidates.

    Example:
        >>> from fsp.space import load_space
        >>> len(plan(load_space("minilm"), interval=20).table)
        6
    """
    check_method(method, interval=interval)
    maximum = objectives_at_maximum(space, calibration, limits or ())
    question = Question.of(objective, limits, "parameters", (1.0, 1.0), maximum)
    table = objectives_of(space, space.candidates, calibration, limits or ())
    table = table.iloc[question.feasible(table)].reset_index(drop=True)
    feasible = len(table)
    if method == "certified":
        settings = certified or CertifiedSettings()
        most = min(feasible, (settings.evaluations or feasible) + settings.audit)
        again = 0 if settings.sigma == 0 else min(FRESH_ROUNDS, most)
        return Plan(table, question.limits, None, feasible, maximum, most, settings.seeds, again)
    points = table[list(space.names)].to_numpy()
    ranked = order(table["encoder_parameters"], table[question.speed], points, seed=seed)
    if interval is None:
        interval = max(1, math.ceil(feasible / _DEFAULT_EVALUATIONS))
    chosen = table.iloc[every_kth(ranked, interval)].reset_index(drop=True)
    if anchors > len(chosen):
        raise InputError(
            f"{len(chosen)} planned candidates cannot give {anchors} anchors; ask for fewer, or for a smaller interval"
        )
    return Plan(chosen, question.limits, interval, feasible, maximum, len(chosen))


def check_method(
    method: str,
    *,
    interval: int | None,
    gap: float = 0.0,
    finalists: int = 1,
    anchors: int = 0,
    longer: int = 1,
    fidelities: Sequence[int] | None = None,
) -> None:
    """Raise InputError for an unknown method, what does not belong to it, or a number out of range."""
    if method not in METHODS:
        raise InputError(f"no method {method!r}; there are {' and '.join(METHODS)}")
    if method != "interval" and interval is not None:
        raise InputError(f"an interval belongs to method 'interval'; leave it out for {method!r}")
    if not 0 <= gap < math.inf:
        raise InputError(f"gap {gap} is out of range; give a share from 0, e.g. 0.05 for 5%")
    if finalists < 1:
        raise InputError(f"finalists {finalists} is out of range; give 1 for no second look, or more")
    if anchors and anchors < LEAST_ANCHORS:
        raise InputError(f"anchors {anchors} is out of range; give {LEAST_ANCHORS} or more, or 0 for none")
    if longer < 1:
        raise InputError(f"longer {longer} is out of range; give how many times the training finalists get, e.g. 8")
    if method == "certified" and (finalists > 1 or anchors):
        raise InputError(
            "a certified choice is not re-ranked, as it is proven for the search's error; leave finalists at 1 and "
            "anchors at 0"
        )
    if fidelities and method != "interval":
        raise InputError(f"fidelities belong to method 'interval'; leave them out for {method!r}")
    if fidelities and (finalists > 1 or anchors):
        raise InputError("fidelities train the best candidates longer already; leave finalists at 1 and anchors at 0")
    if fidelities:
        check_fidelities(fidelities)
