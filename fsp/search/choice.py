"""Choosing again from a finished study, under other limits or with another p, without training."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fsp.base.errors import InputError, RunFailed
from fsp.base.run_folder import EVALUATIONS
from fsp.families.architecture import Architecture
from fsp.objectives.latency import Calibration
from fsp.objectives.table import objectives_at_maximum, objectives_of
from fsp.search.evaluations import evaluation_table
from fsp.search.finalists import win_shares
from fsp.search.planning import calibration_for
from fsp.search.question import Objective, Question, Size
from fsp.spaces.space import SearchSpace
from fsp.studies.study import Evaluation, Stored, stored_studies


@dataclass(frozen=True)
class Choice:
    """The choice from a finished study.

    Attributes:
        selected: the best evaluated candidate.
        table: the evaluated candidates that meet the limits, best first: their parameters, p, i, error, `score` (W, or
            1/error) and `wins`, the share of bootstrap resamples in which each is the best (NaN if no candidate has
            two seeds).
        limits: the limits as absolute numbers.
        study: the name of the study.
    """

    selected: Architecture
    table: pd.DataFrame
    limits: dict[str, float]
    study: str


def choose(
    study: str | Path,
    space: SearchSpace | None = None,
    *,
    objective: Objective = "limits",
    limits: Mapping[str, float | str] | None = None,
    size: Size = "parameters",
    exponents: tuple[float, float] = (1.0, 1.0),
    name: str | None = None,
    speed: str | Calibration = "operations",
) -> Choice:
    """Return the best of the candidates that a study has evaluated.

    Args:
        study: the folder of a run or an extraction, a journal file or a database URL.
        space: the search space, whose constants are taken from the study; None for the study's own space.
        objective: `limits` or `w`, as in `fsp.extract`.
        limits: as in `fsp.extract`.
        size: for `w`, what p(f) is.
        exponents: for `w`, of the factors of p and i.
        name: the study's name, needed if the file holds several studies of the space (with other settings).
        speed: as in `fsp.extract`; with a calibration, `latency` can be limited.

    Raises:
        InputError: there is no such study, or there are several and no name is given; no space is given and the
            study's rules are Python functions; or no evaluated candidate meets the limits.
        RunFailed: every candidate failed.
    """
    found = _study_of(_journal_in(study), space, name)
    space = _space_of(found) if space is None else space.with_constants(found.space["constants"])
    calibration = calibration_for(space, speed)
    maximum = objectives_at_maximum(space, calibration, limits or ())
    question = Question.of(objective, limits, size, exponents, maximum)
    evaluated: dict[Architecture, list[Evaluation]] = {}
    for evaluation in found.evaluations:
        evaluated.setdefault(evaluation.architecture, []).append(evaluation)
    points = np.concatenate([space.point(architecture) for architecture in evaluated])
    everything = objectives_of(space, points, calibration, limits or ())
    first = min(evaluation.seed for evaluation in found.evaluations)
    table = evaluation_table(everything, dict(enumerate(evaluated.values())), maximum, first, question.speed)
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


def _journal_in(study: str | Path) -> str | Path:
    """Return the journal in a folder; return any other path or URL unchanged."""
    folder = Path(study)
    if not folder.is_dir():
        return study
    if not (folder / EVALUATIONS).is_file():
        raise InputError(f"{folder} holds no {EVALUATIONS}; name the folder of fsp run or fsp extract, or a journal")
    return folder / EVALUATIONS


def _space_of(study: Stored) -> SearchSpace:
    try:
        return SearchSpace.described(study.space)
    except InputError as problem:
        raise InputError(
            f"study {study.name} does not describe all of its space ({problem}); name the space with --space"
        ) from None


def _study_of(path: str | Path, space: SearchSpace | None, name: str | None) -> Stored:
    stored = [s for s in stored_studies(path) if s.evaluations]
    if space is None:
        of_space, advice = "", "name another file"
    else:
        keys = ("name", "parameters", "rules", "maximum")  # not the constants, which come from the teacher
        wanted = space.describe()
        stored = [s for s in stored if all(s.space.get(k) == wanted[k] for k in keys)]
        of_space, advice = f" of space {space.name}", "name its space and study"
    if name is not None:
        stored = [s for s in stored if s.name == name]
    elif any("longer" not in s.settings for s in stored):
        stored = [s for s in stored if "longer" not in s.settings]  # a search's finalists are not a search
    if not stored:
        called = "" if name is None else f" called {name}"
        raise InputError(f"{path} holds no evaluations{of_space}{called}; {advice}")
    if len(stored) > 1:
        names = ", ".join(f"{s.name} ({len(s.evaluations)} evaluations)" for s in stored)
        raise InputError(f"{path} holds several studies{of_space}; pick one with --name: {names}")
    return stored[0]
