"""What an extraction will evaluate, known before any training: candidates, p and i, limits, interval."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fsp.base.errors import InputError
from fsp.objectives.anchored import LEAST_ANCHORS
from fsp.objectives.latency import Calibration
from fsp.objectives.table import objectives_at_maximum, objectives_of
from fsp.search.certificates.certified import FRESH_ROUNDS
from fsp.search.certificates.settings import CertifiedSettings
from fsp.search.halving import check_fidelities
from fsp.search.interval import every_kth, interval_for, order
from fsp.search.maximal import with_audit
from fsp.search.question import Objective, Question
from fsp.spaces.space import SearchSpace

METHODS = ("maximal", "interval", "certified")
_BY_INTERVAL = 16  # the default interval is chosen so that about so many candidates are evaluated
_MOST_MAXIMAL = 32  # the most that `maximal` evaluates by default


@dataclass(frozen=True)
class Plan:
    """What an extraction will evaluate, known before any training.

    method: that of the search. table: p and i of the candidates that may be evaluated; for `maximal` and `interval`
    all of them are, in this order. limits: absolute. interval: K, None for other methods. feasible: how many
    candidates there are to choose the evaluated ones from. maximum: p and i of the maximum point T. candidates: the
    most that are evaluated. seeds: evaluations of each. again: how many of them may be evaluated on as many fresh
    seeds. maximal: how many of the feasible are maximal, None for other methods. audit: how many of the table, its
    last rows, are not maximal and are evaluated to test M.
    """

    method: str
    table: pd.DataFrame
    limits: dict[str, float]
    interval: int | None
    feasible: int
    maximum: dict[str, float]
    candidates: int
    seeds: int = 1
    again: int = 0
    maximal: int | None = None
    audit: int = 0


def plan(
    space: SearchSpace,
    *,
    objective: Objective = "limits",
    method: str | None = None,
    limits: Mapping[str, float | str] | None = None,
    interval: int | None = None,
    evaluations: int | None = None,
    seeds: int = 1,
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
        evaluations: as there.
        seeds: as there.
        certified: as there; by default what an error that takes a seed gets.
        anchors: as there.
        seed: as there.
        calibration: predicts the latency that is i; without one, i is the operations.

    Raises:
        InputError: limits that nothing meets, an interval or evaluations out of range, an unknown objective or method,
            or more anchors than candidates.

    Example:
        >>> from fsp.spaces.loading import load_space
        >>> len(plan(load_space("minilm"), interval=20).table)
        7
        >>> planned = plan(load_space("minilm"))
        >>> planned.method, planned.maximal, planned.audit, planned.candidates, planned.feasible
        ('maximal', 17, 3, 20, 139)
    """
    method = method_for(space, method, objective=objective, interval=interval)
    check_method(method, objective=objective, interval=interval, evaluations=evaluations, seeds=seeds)
    maximum = objectives_at_maximum(space, calibration, limits or ())
    question = Question.of(objective, limits, "parameters", (1.0, 1.0), maximum)
    table = objectives_of(space, space.candidates, calibration, limits or ())
    table = table.iloc[question.feasible(table)].reset_index(drop=True)
    feasible = len(table)
    if method == "certified":
        settings = certified or CertifiedSettings()
        most = min(feasible, (settings.evaluations or feasible) + settings.audit)
        again = 0 if settings.sigma == 0 else min(FRESH_ROUNDS, most)
        return Plan(method, table, question.limits, None, feasible, maximum, most, settings.seeds, again)
    points = table[list(space.names)].to_numpy()
    sizes = table["encoder_parameters"].to_numpy(), table[question.speed].to_numpy()
    audit, count = np.empty(0, dtype=np.intp), None
    if method == "maximal":
        neutral = np.isin(space.names, space.neutral)
        rows, audit, count = with_audit(points, neutral, *sizes, evaluations or _MOST_MAXIMAL, seed=seed)
    else:
        interval = interval_for(feasible, _BY_INTERVAL) if interval is None else interval
        rows = every_kth(order(*sizes, points, seed=seed), interval)
    chosen = table.iloc[np.concatenate([rows, audit])].reset_index(drop=True)
    if anchors > len(chosen):
        raise InputError(
            f"{len(chosen)} planned candidates cannot give {anchors} anchors; ask for fewer, or evaluate more "
            "(--interval 1 takes all)"
        )
    return Plan(
        method,
        chosen,
        question.limits,
        interval,
        feasible,
        maximum,
        len(chosen),
        seeds,
        maximal=count,
        audit=len(audit),
    )


def method_for(
    space: SearchSpace, method: str | None, *, objective: str = "limits", interval: int | None = None
) -> str:
    """Return the search method: the one given, else `interval` for W or where an interval is given, else the space's.

    Example:
        >>> from fsp.spaces.loading import load_space
        >>> [method_for(load_space(name), None) for name in ("minilm", "bert_large")]
        ['maximal', 'interval']
    """
    if method is not None:
        return method
    return "interval" if objective == "w" or interval is not None else space.method or "maximal"


def check_method(
    method: str,
    *,
    objective: str = "limits",
    interval: int | None = None,
    evaluations: int | None = None,
    seeds: int = 1,
    gap: float = 0.0,
    finalists: int = 1,
    anchors: int = 0,
    longer: int = 1,
    fidelities: Sequence[int] | None = None,
) -> None:
    """Raise InputError for an unknown method, what does not belong to it, or a number out of range."""
    if method not in METHODS:
        raise InputError(f"no method {method!r}; there are {', '.join(METHODS)}")
    if method == "maximal" and objective == "w":
        raise InputError(
            "the largest W need not be a maximal shape's; use method 'interval' or 'certified', or objective 'limits'"
        )
    if method != "interval" and interval is not None:
        raise InputError(f"an interval belongs to method 'interval'; leave it out for {method!r}")
    if method != "maximal" and evaluations is not None:
        raise InputError(f"a number of evaluations belongs to method 'maximal'; leave it out for {method!r}")
    if evaluations is not None and evaluations < 1:
        raise InputError(f"evaluations {evaluations} is out of range; give 1 or more, e.g. {_MOST_MAXIMAL}")
    if seeds < 1:
        raise InputError(f"seeds {seeds} is out of range; evaluate each candidate at least once")
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
    if fidelities and method == "certified":
        raise InputError("fidelities belong to methods 'maximal' and 'interval'; leave them out for 'certified'")
    if fidelities and (finalists > 1 or anchors):
        raise InputError("fidelities train the best candidates longer already; leave finalists at 1 and anchors at 0")
    if fidelities:
        check_fidelities(fidelities)
