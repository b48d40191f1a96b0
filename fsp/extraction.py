"""Optimal subarchitecture extraction: evaluate part of a search space and choose."""

import inspect
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fsp.errors import InputError, RunFailed
from fsp.objectives.size import sizes
from fsp.objectives.speed import operations
from fsp.progress import Silent
from fsp.search.coefficient import w_coefficient
from fsp.search.interval import every_kth, order
from fsp.search.limits import resolve_limits, within
from fsp.search.pareto import pareto_front
from fsp.space import Architecture, SearchSpace
from fsp.study import Evaluation, Study

Objective = Literal["limits", "w"]
ErrorFunction = Callable[..., float]  # of an architecture and, if it has a parameter of that name, a seed

DEFAULT_LIMITS = {"encoder_parameters": "25%", "operations": "25%"}
_DEFAULT_EVALUATIONS = 16  # the default interval is chosen so that about so many candidates are evaluated


@dataclass(frozen=True)
class Extraction:
    """The outcome of an extraction.

    selected: the chosen architecture.
    table: one row an evaluated candidate: its parameters, p, i, error (NaN where it failed), `w_total` and
        `w_encoder`, seconds, and why it failed.
    objective, limits, interval: how it was chosen.
    feasible: how many candidates meet the limits.
    maximum: p and i of the maximum point T.
    """

    space: SearchSpace
    selected: Architecture
    table: pd.DataFrame
    objective: Objective
    limits: dict[str, float]
    interval: int
    feasible: int
    maximum: dict[str, int]

    def row(self, architecture: Mapping[str, int]) -> pd.Series:
        """Return the table's row of an evaluated architecture. Raises KeyError where there is none."""
        match = np.logical_and.reduce([self.table[name] == architecture[name] for name in self.space.names])
        if not match.any():
            raise KeyError(f"{architecture} was not evaluated")
        return self.table[match].iloc[0]

    def best_by(self, column: str) -> Architecture:
        """Return the evaluated candidate with the largest value in a column, e.g. `w_encoder`."""
        return _architecture(self.space, self.table.iloc[self.table[column].argmax()])

    def pareto(self, objectives: tuple[str, ...] = ("encoder_parameters", "operations", "error")) -> pd.DataFrame:
        """Return the rows of the table that no other row beats in all objectives."""
        return pareto_front(self.table, objectives)


def objectives_of(space: SearchSpace, points: NDArray[np.int64]) -> pd.DataFrame:
    """Return p and i of an `n x d` array of architectures as a table, parameters first."""
    return pd.DataFrame({**space.columns(points), **sizes(space, points), "operations": operations(space, points)})


def objectives_at(space: SearchSpace, architecture: Mapping[str, int]) -> dict[str, int]:
    """Return p and i of one architecture, which need not be a candidate."""
    row = objectives_of(space, space.point(architecture)).iloc[0]
    return {str(name): int(value) for name, value in row.items() if name not in space.names}


@dataclass(frozen=True)
class Plan:
    """What an extraction will evaluate, known before any training.

    table: p and i of the candidates to evaluate, in order. limits: absolute. feasible: how many candidates there
    are to choose the evaluated ones from. maximum: p and i of the maximum point T.
    """

    table: pd.DataFrame
    limits: dict[str, float]
    interval: int
    feasible: int
    maximum: dict[str, int]


def plan(
    space: SearchSpace,
    *,
    objective: Objective = "limits",
    limits: Mapping[str, float | str] | None = None,
    interval: int | None = None,
    seed: int = 0,
) -> Plan:
    """Return which candidates the FPTAS evaluates; the arguments are those of `extract`.

    Raises:
        InputError: limits that nothing meets, an interval out of range, or an unknown objective.

    Example:
        >>> from fsp.space import load_space
        >>> len(plan(load_space("minilm"), interval=20).table)
        6
    """
    if objective not in ("limits", "w"):
        raise InputError(f"no objective {objective!r}; there are limits and w")
    if objective == "w" and limits:
        raise InputError("limits belong to objective 'limits'; leave them out for 'w'")
    maximum = objectives_at(space, space.maximum)
    table = objectives_of(space, space.candidates)
    absolute = resolve_limits(limits or DEFAULT_LIMITS, maximum) if objective == "limits" else {}
    if absolute:
        table = table[within(table, absolute)]
    points = table[list(space.names)].to_numpy()
    ranked = order(table["encoder_parameters"], table["operations"], points, seed=seed)
    if interval is None:
        interval = max(1, math.ceil(len(ranked) / _DEFAULT_EVALUATIONS))
    chosen = table.iloc[every_kth(ranked, interval)].reset_index(drop=True)
    return Plan(chosen, absolute, interval, len(ranked), maximum)


def extract(
    space: SearchSpace,
    *,
    error: ErrorFunction,
    speed: Literal["operations"] = "operations",
    objective: Objective = "limits",
    method: Literal["interval"] = "interval",
    limits: Mapping[str, float | str] | None = None,
    interval: int | None = None,
    study: str | Path | None = None,
    seed: int = 0,
    display: Silent | None = None,
) -> Extraction:
    """Return the best architecture of a search space that the method finds.

    Args:
        space: the search space.
        error: e(f), smaller is better and positive: a function of an architecture, and of `seed` if it has a
            parameter of that name. An attribute `settings` (JSON-like) tells what else its values depend on;
            evaluations in `study` are reused only under equal settings.
        speed: what i(f) is; `operations` of one sequence of 128 tokens.
        objective: `limits` chooses the least error among the candidates within hard limits; `w` the largest
            W-coefficient (p = all parameters) among all candidates.
        method: `interval`, the paper's FPTAS: every K-th candidate in the order of (encoder p, i).
        limits: for `limits`, the largest value of each named objective, a number or a share of T's such as "25%";
            a quarter of T's encoder parameters and operations by default.
        interval: K; by default such that about 16 candidates are evaluated.
        study: a journal file in which evaluations are kept and from which finished ones are taken.
        seed: of the evaluations, and of the order among exact ties.
        display: where progress goes.

    Raises:
        InputError: limits that nothing meets, an interval out of range, an unknown objective or method.
        RunFailed: every candidate failed.

    Example:
        >>> from fsp.space import load_space
        >>> toy = lambda a: 1 / (a["D"] * a["H"])
        >>> result = extract(load_space("minilm"), error=toy, interval=1)
        >>> result.selected
        Architecture(D=6, A=8, H=256, I=128)
    """
    display = display or Silent()
    if method != "interval":
        raise InputError(f"no method {method!r}; there is interval")
    if speed != "operations":
        raise InputError(f"no speed {speed!r}; there is operations")
    planned = plan(space, objective=objective, limits=limits, interval=interval, seed=seed)
    table, maximum = planned.table, planned.maximum

    store = Study(Path(study) if study else None, space, getattr(error, "settings", {"error": _name(error)}))
    evaluations = []
    work = table["operations"].to_numpy(dtype=float)  # larger candidates take longer
    label = f"evaluating {len(table)} of {planned.feasible} candidates"
    with display.bar(label, float(work.sum())) as advance:
        shapes = space.architectures(table[list(space.names)].to_numpy())
        for architecture, amount in zip(shapes, work, strict=True):
            evaluation = store.get(architecture, seed)
            if evaluation is None:
                evaluation = _evaluate(error, architecture, seed)
                store.add(evaluation)
            evaluations.append(evaluation)
            advance(amount)

    table["error"] = [math.nan if e.error is None else e.error for e in evaluations]
    valid = table["error"].notna()
    if not valid.any():
        raise RunFailed(f"all {len(table)} candidates failed; the first: {evaluations[0].failure}")
    for name, size in (("w_total", "parameters"), ("w_encoder", "encoder_parameters")):
        rows = table[valid]
        table.loc[valid, name] = w_coefficient(
            rows[size], rows["operations"], rows["error"], maximum=(maximum[size], maximum["operations"])
        )
    table["seed"] = seed
    table["seconds"] = [e.seconds for e in evaluations]
    table["failure"] = [e.failure for e in evaluations]
    best = table["error"].argmin() if objective == "limits" else table["w_total"].argmax()
    selected = _architecture(space, table.iloc[best])
    return Extraction(space, selected, table, objective, planned.limits, planned.interval, planned.feasible, maximum)


def _architecture(space: SearchSpace, row: pd.Series) -> Architecture:
    return Architecture({name: int(row[name]) for name in space.names})


def _evaluate(error: ErrorFunction, architecture: Architecture, seed: int) -> Evaluation:
    """Evaluate one candidate; one that gives no finite positive number is recorded as failed."""
    start = time.perf_counter()
    try:
        value = float(_call(error, architecture, seed))
        failure = None if math.isfinite(value) and value > 0 else f"the error is {value}, not a positive number"
    except ArithmeticError as problem:
        value, failure = math.nan, f"{type(problem).__name__}: {problem}"
    return Evaluation(architecture, seed, None if failure else value, time.perf_counter() - start, failure)


def _call(error: Callable, architecture: Architecture, seed: int) -> float:
    return error(architecture, seed=seed) if "seed" in inspect.signature(error).parameters else error(architecture)


def _name(error: Callable) -> str:
    return f"{error.__module__}.{getattr(error, '__qualname__', type(error).__qualname__)}"
