"""Evaluations that outlive a process and are shared by several: one Optuna trial per (architecture, settings, seed).

A trial is WAITING when a process has requested it and RUNNING when a process has started it; it finishes only once. The
process that evaluates it holds its claim (see `fsp.studies.locks`). An unfinished trial without a claim is free,
whatever its state, so the trials of killed processes return to the queue by themselves.
"""

import uuid
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from fsp.base.errors import InputError
from fsp.base.files import digest
from fsp.families.architecture import Architecture
from fsp.spaces.space import SearchSpace
from fsp.studies.store import Store, exists, open_store, reading

_SEED = "seed"
_ASKER = "asked_by"
Key = tuple[Architecture, int]  # an architecture and a seed


@dataclass(frozen=True)
class Evaluation:
    """The result of evaluating one candidate.

    Attributes:
        architecture: the candidate.
        seed: seed of the evaluation.
        error: its error; None if the evaluation failed.
        seconds: duration of the evaluation.
        failure: reason of the failure; None if there is an error.
    """

    architecture: Architecture
    seed: int
    error: float | None
    seconds: float
    failure: str | None = None


class Study:
    """The evaluations of one space under one set of settings.

    Several spaces and settings may share a store: each is a separate Optuna study, named after its digest.

    Args:
        where: a journal file, a database URL (see `fsp.studies.store.open_store`) or an open store; None keeps the
            evaluations in memory.
        space: the space of the architectures.
        settings: everything an error depends on besides architecture and seed.

    Raises:
        InputError: the file is not a journal, or the store cannot be opened.
    """

    def __init__(self, where: str | Path | Store | None, space: SearchSpace, settings: dict[str, Any]):
        self._store = where if isinstance(where, Store) else open_store(where)
        self._distributions: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(choices) for name, choices in space.parameters.items()
        }
        self._distributions[_SEED] = IntDistribution(0, 2**31 - 1)
        self.name = study_name(space.describe(), settings)
        with reading(self._store.where), self._store.writing():
            study = optuna.create_study(
                storage=self._store.storage, study_name=self.name, direction="minimize", load_if_exists=True
            )
            for key, value in (("space", space.describe()), ("settings", settings)):
                if key not in study.user_attrs:
                    study.set_user_attr(key, value)
        self._id = self._store.storage.get_study_id_from_name(self.name)
        self._asker = uuid.uuid4().hex
        self._asked: set[Key] = set()
        self._known: dict[Key, Evaluation] = {}
        self._open: dict[Key, FrozenTrial] = {}
        self._seen: set[int] = set()
        self.refresh()

    def get(self, architecture: Architecture, seed: int) -> Evaluation | None:
        """Return the finished evaluation of an architecture and seed, failed or not; None if there is none."""
        return self._known.get((architecture, seed))

    def errors_of(self, architecture: Architecture) -> list[float]:
        """Return the errors of an architecture under all its seeds, without failed evaluations."""
        return [e.error for (shape, _), e in self._known.items() if shape == architecture and e.error is not None]

    def add(self, evaluation: Evaluation) -> None:
        """Store a finished evaluation that was made without a request."""
        key = evaluation.architecture, evaluation.seed
        self.ask([key])
        self.evaluate(key, lambda architecture, seed: evaluation)

    def ask(self, keys: Iterable[Key]) -> None:
        """Request unfinished evaluations from this process and its helpers; requests end with this process."""
        missing = [key for key in dict.fromkeys(keys) if key not in self._known and key not in self._asked]
        if not missing:
            return
        if not self._asked:
            name = _alive(self._asker)
            self._store.claims.wait(name)
            weakref.finalize(self, self._store.claims.release, name).atexit = False  # at exit the system releases it
        with self._store.claims.holding(f"queue {self.name}"), self._store.writing():
            self.refresh()
            for key in missing:
                if key in self._known:
                    continue
                if key not in self._open:
                    self._store.storage.create_new_trial(self._id, self._waiting(key))
                else:
                    with suppress(UpdateFinishedTrialError):  # another process has just finished it
                        self._store.storage.set_trial_user_attr(self._open[key]._trial_id, _ASKER, self._asker)
            self.refresh()
        self._asked.update(missing)

    def wanted(self) -> list[Key]:
        """Return the unfinished evaluations that running processes have requested, in order of the requests."""
        self.refresh()
        asker = {key: trial.user_attrs.get(_ASKER) for key, trial in self._open.items()}
        alive = {name for name in set(asker.values()) if name and self._store.claims.held(_alive(name))}
        return [key for key, name in asker.items() if name in alive]

    def evaluate(self, key: Key, evaluate: Callable[[Architecture, int], Evaluation]) -> bool:
        """Evaluate and store a request, unless it is finished or being evaluated; return whether that was done.

        If the evaluation ends before its result is stored, the trial is free again.
        """
        claim = f"trial {self.name} {self._open[key].number}" if key in self._open else ""
        if not claim or not self._store.claims.take(claim):
            return False
        try:
            self.refresh()
            if key not in self._open:  # the previous holder of the claim has finished it
                return False
            trial = self._open[key]
            if trial.state == TrialState.WAITING:
                with self._store.writing():
                    self._store.storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
            self._finish(trial._trial_id, evaluate(*key))
            self.refresh()
            return True
        finally:
            self._store.claims.release(claim)

    def refresh(self) -> None:
        """Read what other processes have finished, requested or started."""
        self._open = {}
        with reading(self._store.where):
            for trial in self._store.storage.get_all_trials(self._id, deepcopy=False):
                if trial.number in self._seen:
                    continue
                if trial.state.is_finished():
                    self._seen.add(trial.number)
                    evaluation = _evaluation(trial)
                    self._known.setdefault((evaluation.architecture, evaluation.seed), evaluation)
                else:
                    self._open.setdefault(_key(trial), trial)
        self._open = {key: trial for key, trial in self._open.items() if key not in self._known}

    def _finish(self, trial: int, evaluation: Evaluation) -> None:
        """Store a result; the state comes last, because it marks the result as complete."""
        storage, failed = self._store.storage, evaluation.error is None
        # suppressed when the claim was lost with its connection and another process has finished the trial
        with suppress(UpdateFinishedTrialError), self._store.writing():
            storage.set_trial_user_attr(trial, "seconds", evaluation.seconds)
            storage.set_trial_user_attr(trial, "failure", evaluation.failure)
            state = TrialState.FAIL if failed else TrialState.COMPLETE
            storage.set_trial_state_values(trial, state, None if failed else [evaluation.error])  # type: ignore[list-item]

    def _waiting(self, key: Key) -> FrozenTrial:
        architecture, seed = key
        return create_trial(
            state=TrialState.WAITING,
            params={**architecture, _SEED: seed},
            distributions=self._distributions,
            user_attrs={_ASKER: self._asker},
        )


@dataclass(frozen=True)
class Header:
    """The identity of a study in a store.

    Attributes:
        name: name of the study, a digest of space and settings.
        space: description of its space.
        settings: everything its errors depend on besides architecture and seed.
    """

    name: str
    space: dict[str, Any]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Stored(Header):
    """One study of a store with its evaluations.

    Attributes:
        evaluations: the finished evaluations, in the order of their trials.
    """

    evaluations: tuple[Evaluation, ...]


def study_name(space: dict[str, Any], settings: dict[str, Any]) -> str:
    """Return the name of the study of a space (given by its description) under some settings."""
    return f"{space['name']}-{digest([space, settings])}"


def stored_studies(where: str | Path | Store) -> list[Stored]:
    """Return every study of fsp in a store.

    Raises:
        InputError: there is no such file, or it is not a journal.
    """
    if not isinstance(where, Store):
        if not exists(where):
            raise InputError(f"no study at {where}; name the journal file of a search, e.g. DIR/evaluations.journal")
        where = open_store(where)
    with reading(where.where):
        return [
            Stored(
                header.name,
                header.space,
                header.settings,
                tuple(_evaluation(trial) for trial in _trials(where, header.name) if trial.state.is_finished()),
            )
            for header in headers(where)
        ]


def headers(store: Store) -> list[Header]:
    """Return the headers of all studies of fsp in a store."""
    with reading(store.where):
        attributes = {
            study.study_name: store.storage.get_study_user_attrs(study._study_id)
            for study in store.storage.get_all_studies()
        }
        return [
            Header(name, known["space"], known["settings"])
            for name, known in attributes.items()
            if isinstance(known.get("space"), dict) and isinstance(known.get("settings"), dict)
        ]


def _trials(store: Store, name: str) -> list[FrozenTrial]:
    return store.storage.get_all_trials(store.storage.get_study_id_from_name(name), deepcopy=False)


def _alive(asker: str) -> str:
    """Return the name of the claim that a requesting process holds as long as it runs."""
    return f"asker {asker}"


def _key(trial: FrozenTrial) -> Key:
    shape = {name: value for name, value in trial.params.items() if name != _SEED}
    return Architecture(shape), trial.params[_SEED]


def _evaluation(trial: FrozenTrial) -> Evaluation:
    architecture, seed = _key(trial)
    failure = trial.user_attrs["failure"]
    if failure is not None and not isinstance(failure, str):
        raise TypeError(f"trial {trial.number} failed of {failure!r}")
    error = float(trial.values[0]) if trial.state == TrialState.COMPLETE else None
    return Evaluation(architecture, seed, error, float(trial.user_attrs["seconds"]), failure)
