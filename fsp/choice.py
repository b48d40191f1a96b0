"""Asking a finished study again: other limits, another p, without any training."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fsp.errors import InputError, RunFailed
from fsp.evaluating import evaluation_table
from fsp.planning import objectives_at, objectives_of
from fsp.question import Objective, Question, Size
from fsp.search.finalists import win_shares
from fsp.space import Architecture, SearchSpace
from fsp.study import Evaluation, Stored, stored_studies


@dataclass(frozen=True)
class Choice:
    """The answer of a finished study.

    selected: the best evaluated candidate. table: the evaluated candidates that meet the limits, best first: their
    parameters, p, i, error, `score` (W, or 1/error) and `wins`, the share of bootstrap resamples in which each is
    the best (NaN where no candidate has two seeds). limits: absolute. study: the name of the study.
    """

    selected: Architecture
    table: pd.DataFrame
    limits: dict[str, float]
    study: str


def choose(
    study: str | Path,
    space: SearchSpace,
    *,
    objective: Objective = "limits",
    limits: Mapping[str, float | str] | None = None,
    size: Size = "parameters",
    exponents: tuple[float, float] = (1.0, 1.0),
    name: str | None = None,
) -> Choice:
    """Return the best of the candidates that a study has evaluated.

    Args:
        study: the journal file or database URL.
        space: the search space; the constants of its family are those of the study.
        objective: `limits` or `w`, as in `fsp.extract`.
        limits: as in `fsp.extract`.
        size: for `w`, what p(f) is.
        exponents: for `w`, those of the factors of p and i.
        name: of one study, where the file holds several of the space (other settings).

    Raises:
        InputError: no such study, several and no name, or limits that no evaluated candidate meets.
        RunFailed: every candidate failed.
    """
    found = _study_of(study, space, name)
    space = space.with_constants(found.space["constants"])
    maximum = objectives_at(space, space.maximum, limits or ())
    question = Question.of(objective, limits, size, exponents, maximum)
    evaluated: dict[Architecture, list[Evaluation]] = {}
    for evaluation in found.evaluations:
        evaluated.setdefault(evaluation.architecture, []).append(evaluation)
    points = np.concatenate([space.point(architecture) for architecture in evaluated])
    everything = objectives_of(space, points, also=limits or ())
    first = min(evaluation.seed for evaluation in found.evaluations)
    table = evaluation_table(everything, dict(enumerate(evaluated.values())), maximum, first)
    table = table[table["error"].notna()]
    table = table.iloc[question.feasible(table)].copy()
    table["score"] = question.score(table)
    if not (table["score"] > 0).any():
        raise RunFailed("W of every evaluated candidate is zero: none is smaller and faster than T")
    errors = [[e.error for e in list(evaluated.values())[row] if e.error is not None] for row in table.index]
    with np.errstate(divide="ignore"):
        wins = win_shares(np.log(table["score"] * table["error"]), errors)
    table["wins"] = np.nan if wins is None else wins
    table = table.sort_values("score", ascending=False, kind="stable").reset_index(drop=True)
    selected = Architecture({parameter: int(table[parameter].iloc[0]) for parameter in space.names})
    return Choice(selected, table, question.limits, found.name)


def _study_of(path: str | Path, space: SearchSpace, name: str | None) -> Stored:
    keys = ("name", "parameters", "rules", "maximum")  # the constants are the teacher's, known to the study alone
    wanted = space.describe()
    stored = [s for s in stored_studies(path) if s.evaluations and all(s.space.get(k) == wanted[k] for k in keys)]
    if name is not None:
        stored = [s for s in stored if s.name == name]
    elif any("longer" not in s.settings for s in stored):
        stored = [s for s in stored if "longer" not in s.settings]  # a search's finalists are no search of their own
    if not stored:
        called = "" if name is None else f" called {name}"
        raise InputError(f"{path} holds no evaluations of space {space.name}{called}; name its space and study")
    if len(stored) > 1:
        names = ", ".join(f"{s.name} ({len(s.evaluations)} evaluations)" for s in stored)
        raise InputError(f"{path} holds several studies of space {space.name}; pick one with --name: {names}")
    return stored[0]
