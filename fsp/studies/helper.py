"""Helping: evaluating what other processes ask of a study, on this machine or another."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from fsp.base.errors import InputError
from fsp.base.progress import Progress
from fsp.spaces.space import SearchSpace
from fsp.studies.error_function import AnyError, Error, as_error
from fsp.studies.evaluator import evaluate
from fsp.studies.store import Store, open_store
from fsp.studies.study import Header, Study, headers, study_name

_TRAINING = ("steps", "longer")  # what a study's settings say of it
_PATIENCE = 0.5  # seconds between looks at a study that asks for nothing
ErrorFor = Callable[[Header], AnyError]


def work(
    study: str | Path | Store,
    space: SearchSpace,
    error: AnyError,
    *,
    idle: float | None = None,
    display: Progress | None = None,
) -> int:
    """Evaluate what `fsp.extract` asks of a study in other processes, and return how many evaluations were made.

    The search may start before or after. Several may work on one study; none repeats what another does or has done.

    Args:
        study: the journal file or database URL that `fsp.extract` is given.
        space: as for `fsp.extract`.
        error: as for `fsp.extract`; what it needs for `finalists` and `fidelities` it makes of it itself.
        idle: leave after so many seconds in which nothing was asked for; by default stay.
        display: where news goes.

    Raises:
        InputError: the study asks for evaluations of this space under settings that this error does not have.

    Example:
        >>> import tempfile
        >>> from fsp.spaces.loading import load_space
        >>> work(Path(tempfile.mkdtemp()) / "evaluations.journal", load_space("minilm"), lambda a: 1 / a["D"], idle=0)
        0
    """
    helper = Helper(study, space, partial(matching, error, space), display or Progress())
    return helper.run(idle=idle)


class Helper:
    """A worker: serves every study of a store that is of its space, as long as somebody asks.

    Args:
        where: the store.
        space: only studies of it are served.
        error_for: returns the error of a study; raises InputError where it cannot.
        display: where news goes.
    """

    def __init__(self, where: str | Path | Store, space: SearchSpace, error_for: ErrorFor, display: Progress):
        self.store = where if isinstance(where, Store) else open_store(where)
        self._space, self._error_for, self._display = space, error_for, display
        self._studies: dict[str, Study] = {}
        self._errors: dict[str, AnyError] = {}
        self._headers: dict[str, Header] = {}
        self._foreign: set[str] = set()

    def run(self, *, idle: float | None = None, leader: str | None = None) -> int:
        """Evaluate until nothing was asked for in `idle` seconds, or the claim `leader` is free; return how many."""
        done, busy = 0, time.monotonic()
        while leader is None or self.store.claims.held(leader):
            if self._one():
                done, busy = done + 1, time.monotonic()
            elif idle is not None and time.monotonic() - busy >= idle:
                break
            else:
                time.sleep(_PATIENCE)
        return done

    def _one(self) -> bool:
        """Evaluate one candidate that somebody waits for and nobody is at; tell whether there was one."""
        for name, study in self._served():
            for key in study.wanted():
                if name not in self._errors:
                    self._errors[name] = self._error_for(self._headers[name])
                if study.evaluate(key, partial(evaluate, self._errors[name])):
                    return True
        return False

    def _served(self) -> Iterator[tuple[str, Study]]:
        """Yield the studies of the space, those that came since the last call too."""
        self._headers = {header.name: header for header in headers(self.store)}
        for name, header in self._headers.items():
            if header.space != self._space.describe():
                if name not in self._foreign:
                    self._display.say(f"study {name} is of another space than {self._space.name}, or of another T")
                self._foreign.add(name)
                continue
            if name not in self._studies:
                self._studies[name] = Study(self.store, self._space, header.settings)
            yield name, self._studies[name]


def matching(error: AnyError, space: SearchSpace, header: Header) -> Error:
    """Return an error whose values belong into a study: the one given, or the same after other training.

    Raises:
        InputError: neither does; says in what they differ.
    """
    more: dict[str, Any] = {"longer": header.settings["longer"]} if "longer" in header.settings else {}
    steps, factor = (given if isinstance(given := header.settings.get(name), int) else None for name in _TRAINING)
    candidates = as_error(error).variants(steps, factor)
    for candidate in candidates:
        if study_name(space.describe(), {**candidate.settings, **more}) == header.name:
            return candidate
    raise InputError(
        f"study {header.name} was begun under other settings ({_differences(header.settings, candidates[-1], more)}); "
        "give this worker what the search was given"
    )


def _differences(settings: dict[str, Any], error: Error, more: dict[str, Any]) -> str:
    own = {**error.settings, **more}
    names = sorted(name for name in own.keys() | settings.keys() if own.get(name) != settings.get(name))
    return "; ".join(f"{name} {settings.get(name)} there, {own.get(name)} here" for name in names)
