"""What a sampler has read of an Optuna study so far."""

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
_VALUE = "fsp:value:"  # how the names of a trial's attributes begin that say which of several equal choices it has


class Progress:
    """What the finished trials of a study say of one grid.

    tried: how often each point was tried, `(n,)`, whatever came of it.
    values: the last finite objective values of each row that has any.
    completions: what is known of the points with fixed values that no point of this grid has, by those values.
    """

    def __init__(self, grid: Grid):
        self.grid = grid
        self.tried = np.zeros(len(grid.points), dtype=np.int64)
        self.values: dict[int, Sequence[float]] = {}
        self.completions: dict[str, Progress | None] = {}
        self._read = 0

    def read(self, history: "History") -> None:
        """Take in what has finished since the last call."""
        for trial in history.done[self._read :]:
            row = self.grid.row(point_of(trial))
            if row is not None:
                self.tried[row] += 1
                if trial.state == TrialState.COMPLETE and all(math.isfinite(v) for v in trial.values):
                    self.values[row] = trial.values
        self._read = len(history.done)


def point_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return what a trial evaluates as far as it is known: its values, those noted by `note_value` and fixed ones.

    Of choices that are equal in Python, such as 1 and True, Optuna's own record keeps the first alone.
    """
    fixed = trial.system_attrs.get("fixed_params", {})
    noted = {name: trial.system_attrs.get(_VALUE + name, value) for name, value in trial.params.items()}
    return {**noted, **fixed}


def note_value(study: Study, trial: FrozenTrial, name: str, value: Any) -> None:
    """Keep with a trial which one of several equal choices it was given."""
    study._storage.set_trial_system_attr(trial._trial_id, _VALUE + name, value)


class History:
    """One study as far as it was read: a trial is looked at once when it has finished, so a proposal stays cheap.

    space: the distributions that all finished trials share; {} where they differ, None while there are none.
    pending: the points of trials under way or enqueued.
    grids: the finite spaces met so far by their distributions, the declared one as DECLARED.
    claims: the point given to each trial under way, by its number.
    """

    def __init__(self, study: str, declared: Grid | None):
        self.study = study
        self.finished = 0  # trials up to here have finished and were read
        self.done: list[FrozenTrial] = []
        self.pending: list[dict[str, Any]] = []
        self.space: dict[str, BaseDistribution] | None = None
        self.grids: dict[str, Progress] = {} if declared is None else {DECLARED: Progress(declared)}
        self.claims: dict[int, dict[str, Any]] = {}
        self._early: set[int] = set()  # finished before one with a lower number
        self._warned: set[str] = set()

    def read(self, trials: list[FrozenTrial]) -> None:
        """Take in all trials of the study, in the order of their numbers."""
        self.pending = []
        in_front = True
        for trial in trials[self.finished :]:
            if not trial.state.is_finished():
                in_front = False
                self.pending.append(point_of(trial))
                continue
            if trial.number not in self._early:
                self.done.append(trial)
                if trial.state != TrialState.FAIL:  # it may have failed before suggesting everything
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
        """Warn, once for each study."""
        if message not in self._warned:
            warnings.warn(message, stacklevel=2)
            self._warned.add(message)
