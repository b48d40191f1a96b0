"""The part of an Optuna study that a sampler has read so far."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from fsp.search.samplers.grid import Grid

DECLARED = ""
_VALUE = "fsp:value:"  # prefix of the trial attributes that store which of several equal choices was given


class Progress:
    """The finished trials of a study on one grid.

    Attributes:
        grid: the grid.
        tried: how often each point was tried, `(n,)`, successfully or not.
        values: the last finite objective values of each row that has any.
        completions: the same for fixed values that no point of this grid has, by those values; None if no point is
            valid.
    """

    def __init__(self, grid: Grid):
        self.grid = grid
        self.tried = np.zeros(len(grid.points), dtype=np.int64)
        self.values: dict[int, Sequence[float]] = {}
        self.completions: dict[str, Progress | None] = {}
        self._read = 0

    def read(self, history: "History") -> None:
        """Read the trials that have finished since the last call."""
        for trial in history.done[self._read :]:
            row = self.grid.row(point_of(trial))
            if row is not None:
                self.tried[row] += 1
                if trial.state == TrialState.COMPLETE and all(math.isfinite(v) for v in trial.values):
                    self.values[row] = trial.values
        self._read = len(history.done)


def point_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return the point of a trial as far as it is known: its values, those stored by `note_value`, and fixed ones.

    Of choices that are equal in Python, such as 1 and True, Optuna's own record keeps only the first.
    """
    fixed = trial.system_attrs.get("fixed_params", {})
    noted = {name: trial.system_attrs.get(_VALUE + name, value) for name, value in trial.params.items()}
    return {**noted, **fixed}


def note_value(study: Study, trial: FrozenTrial, name: str, value: Any) -> None:
    """Store with a trial which of several equal choices it was given."""
    study._storage.set_trial_system_attr(trial._trial_id, _VALUE + name, value)


class History:
    """The part of a study read so far; each trial is read once, when it has finished, so that proposals stay cheap.

    Attributes:
        study: the name of the study.
        finished: how many trials, counted from the first without a gap, have finished and were read.
        done: the finished trials that were read.
        pending: the points of running or enqueued trials.
        space: the distributions that all finished trials share; {} if they differ, None while there are none.
        grids: the finite spaces found so far, by their distributions; the declared one is under DECLARED.
        claims: the point given to each running trial, by the trial's number.
    """

    def __init__(self, study: str, declared: Grid | None):
        self.study = study
        self.finished = 0
        self.done: list[FrozenTrial] = []
        self.pending: list[dict[str, Any]] = []
        self.space: dict[str, BaseDistribution] | None = None
        self.grids: dict[str, Progress] = {} if declared is None else {DECLARED: Progress(declared)}
        self.claims: dict[int, dict[str, Any]] = {}
        self._early: set[int] = set()  # numbers of trials that finished before one with a lower number
        self._warned: set[str] = set()

    def read(self, trials: list[FrozenTrial]) -> None:
        """Read all trials of the study, given in the order of their numbers."""
        self.pending = []
        in_front = True
        for trial in trials[self.finished :]:
            if not trial.state.is_finished():
                in_front = False
                self.pending.append(point_of(trial))
                continue
            if trial.number not in self._early:
                self.done.append(trial)
                if trial.state != TrialState.FAIL:  # a failed trial may lack parameters
                    if self.space is None:
                        self.space = dict(trial.distributions)
                    elif self.space and repr(self.space) != repr(trial.distributions):
                        self.space = {}
            if in_front:
                self.finished += 1
                self._early.discard(trial.number)
            else:
                self._early.add(trial.number)

    def warn_once(self, message: str) -> None:
        """Warn, once per study."""
        if message not in self._warned:
            warnings.warn(message, stacklevel=2)
            self._warned.add(message)
