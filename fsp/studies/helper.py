"""Helping a search: evaluating the candidates that other processes request in a study, on this or another machine."""

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

_TRAINING = ("steps", "longer")  # the keys of a study's settings that give the length of training
_PATIENCE = 0.5  # seconds between polls of a study without requests
ErrorFor = Callable[[Header], AnyError]


def work(
    study: str | Path | Store,
    space: SearchSpace,
    error: AnyError,
    *,
    idle: float | None = None,
    display: Progress | None = None,
) -> int:
    """Evaluate the requests of `fsp.extract` in other processes, and return how many evaluations were made.

    The search may start before or after this call. Several helpers may work on one study without repeating work.

    Args:
        study: the journal file or database URL that `fsp.extract` is given.
        space: as for `fsp.extract`.
        error: as for `fsp.extract`; the variants for `finalists` and `fidelities` are derived from it.
        idle: return after this many seconds without a request; by default never.
        display: where messages go.

    Raises:
        InputError: the study requests evaluations of this space under settings that this error does not have.

    Example:
        >>> import tempfile
        >>> from fsp.spaces.loading import load_space
        >>> work(Path(tempfile.mkdtemp()) / "evaluations.journal", load_space("minilm"), lambda a: 1 / a["D"], idle=0)
        0
    """
    helper = Helper(study, space, partial(matching, error, space), display or Progress())
    return helper.run(idle=idle)


class Helper:
    """A worker that evaluates the requests in all studies of its space in a store.

    Args:
        where: the store.
        space: the space whose studies are served.
        error_for: returns the error function of a study; raises InputError if there is none.
        display: where messages go.
    """

    def __init__(self, where: str | Path | Store, space: SearchSpace, error_for: ErrorFor, display: Progress):
        self.store = where if isinstance(where, Store) else open_store(where)
        self._space, self._error_for, self._display = space, error_for, display
        self._studies: dict[str, Study] = {}
        self._errors: dict[str, AnyError] = {}
        self._headers: dict[str, Header] = {}
        self._foreign: set[str] = set()

    def run(self, *, idle: float | None = None, leader: str | None = None) -> int:
        """Evaluate until there was no request for `idle` seconds, or the claim `leader` is free; return how many."""
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
        """Evaluate one requested candidate that nobody is evaluating; return whether there was one."""
        for name, study in self._served():
            for key in study.wanted():
                if name not in self._errors:
                    self._errors[name] = self._error_for(self._headers[name])
                if study.evaluate(key, partial(evaluate, self._errors[name])):
                    return True
        return False

    def _served(self) -> Iterator[tuple[str, Study]]:
        """Yield the studies of the space, including those created since the last call."""
        self._headers = {header.name: header for header in headers(self.store)}
        for name, header in self._headers.items():
            if header.space != self._space.describe():
                if name not in self._foreign:
                    self._display.say(f"study {name} has another space than {self._space.name}, or another T")
                self._foreign.add(name)
                continue
            if name not in self._studies:
                self._studies[name] = Study(self.store, self._space, header.settings)
            yield name, self._studies[name]


def matching(error: AnyError, space: SearchSpace, header: Header) -> Error:
    """Return the error whose settings are those of a study: the given one, or the same after other training.

    Raises:
        InputError: the settings of neither match; the message names the differences.
    """
    more: dict[str, Any] = {"longer": header.settings["longer"]} if "longer" in header.settings else {}
    steps, factor = (given if isinstance(given := header.settings.get(name), int) else None for name in _TRAINING)
    candidates = as_error(error).variants(steps, factor)
    for candidate in candidates:
        if study_name(space.describe(), {**candidate.settings, **more}) == header.name:
            return candidate
    raise InputError(
        f"study {header.name} was started with other settings ({_differences(header.settings, candidates[-1], more)}); "
        "give this worker what the search was given"
    )


def _differences(settings: dict[str, Any], error: Error, more: dict[str, Any]) -> str:
    own = {**error.settings, **more}
    names = sorted(name for name in own.keys() | settings.keys() if own.get(name) != settings.get(name))
    return "; ".join(f"{name} {settings.get(name)} there, {own.get(name)} here" for name in names)
