"""Evaluations that outlive the process: one Optuna trial per (architecture, settings, seed)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.storages import InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import TrialState, create_trial

from fsp.errors import InputError
from fsp.files import digest
from fsp.space import Architecture, SearchSpace

_SEED = "seed"


@dataclass(frozen=True)
class Evaluation:
    """What came of one candidate: its error, or why there is none."""

    architecture: Architecture
    seed: int
    error: float | None
    seconds: float
    failure: str | None = None


class Study:
    """The evaluations of one space under one set of settings.

    Several spaces and settings may share a file: each is an Optuna study of its own, named after its digest.

    Args:
        path: a journal file, created where there is none; None keeps the evaluations in memory.
        space: what the architectures belong to.
        settings: everything an error depends on besides architecture and seed.

    Raises:
        InputError: the file is no journal.
    """

    def __init__(self, path: Path | None, space: SearchSpace, settings: dict[str, Any]):
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._distributions: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(choices) for name, choices in space.parameters.items()
        }
        self._distributions[_SEED] = IntDistribution(0, 2**31 - 1)
        name = f"{space.name}-{digest([space.describe(), settings])}"
        try:
            self._study = optuna.create_study(
                storage=storage_of(path), study_name=name, direction="minimize", load_if_exists=True
            )
        except OSError as error:
            raise InputError(f"cannot open the study {path}: {error.strerror}") from None
        if not self._study.user_attrs:
            self._study.set_user_attr("space", space.describe())
            self._study.set_user_attr("settings", settings)
        self._known = {(e.architecture, e.seed): e for e in map(_evaluation, self._study.get_trials(deepcopy=False))}

    def get(self, architecture: Architecture, seed: int) -> Evaluation | None:
        """Return a finished evaluation, failed ones included."""
        return self._known.get((architecture, seed))

    def errors_of(self, architecture: Architecture) -> list[float]:
        """Return the errors of an architecture under all its seeds, failed evaluations left out."""
        return [e.error for (shape, _), e in self._known.items() if shape == architecture and e.error is not None]

    def add(self, evaluation: Evaluation) -> None:
        """Keep a finished evaluation."""
        self._study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if evaluation.error is not None else TrialState.FAIL,
                value=evaluation.error,
                params={**evaluation.architecture, _SEED: evaluation.seed},
                distributions=self._distributions,
                user_attrs={"seconds": evaluation.seconds, "failure": evaluation.failure},
            )
        )
        self._known[evaluation.architecture, evaluation.seed] = evaluation


@dataclass(frozen=True)
class Stored:
    """One study of a file: its name, the space and settings it belongs to, and its evaluations in order."""

    name: str
    space: dict[str, Any]
    settings: dict[str, Any]
    evaluations: tuple[Evaluation, ...]


def stored_studies(path: Path) -> list[Stored]:
    """Return every study of fsp in a journal file.

    Raises:
        InputError: there is no such file, or it is no journal.
    """
    if not path.is_file():
        raise InputError(f"no study at {path}; name the journal file of a search, e.g. DIR/evaluations.journal")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = storage_of(path)
    found = [optuna.load_study(storage=storage, study_name=name) for name in optuna.get_all_study_names(storage)]
    return [
        Stored(
            study.study_name,
            study.user_attrs["space"],
            study.user_attrs["settings"],
            tuple(map(_evaluation, study.get_trials(deepcopy=False))),
        )
        for study in found
        if study.user_attrs.keys() >= {"space", "settings"}
    ]


def _evaluation(trial: optuna.trial.FrozenTrial) -> Evaluation:
    shape = {name: value for name, value in trial.params.items() if name != _SEED}
    return Evaluation(
        Architecture(shape),
        trial.params[_SEED],
        trial.value if trial.state == TrialState.COMPLETE else None,
        trial.user_attrs["seconds"],
        trial.user_attrs["failure"],
    )


def storage_of(path: Path | None) -> InMemoryStorage | JournalStorage:
    """Return Optuna's storage in a journal file, mended where a killed process tore its last line; None: in memory.

    Raises:
        InputError: the file is no journal.
        OSError: it cannot be written.
    """
    if path is None:
        return InMemoryStorage()
    path.parent.mkdir(parents=True, exist_ok=True)
    _refuse_foreign(path)
    lock = JournalFileSymlinkLock(str(path))
    _drop_torn_line(path, lock)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def _refuse_foreign(path: Path) -> None:
    """Refuse a file that does not begin as an Optuna journal: Optuna would append to anything."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        first = file.readline(65_536)
    try:
        record = json.loads(first)
    except ValueError:
        record = None
    if first.endswith(b"\n") and not (isinstance(record, dict) and isinstance(record.get("op_code"), int)):
        raise InputError(f"{path} is no study of fsp; name another file")


def _drop_torn_line(path: Path, lock: JournalFileSymlinkLock) -> None:
    """Cut off a last line that a killed process left unfinished: Optuna would append to it."""
    if not path.exists():
        return
    lock.acquire()
    try:
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with path.open("rb+") as file:
                file.truncate(whole)
    finally:
        lock.release()
