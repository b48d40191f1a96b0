"""Evaluating candidates with any error function, each at most once."""

import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fsp.base.errors import is_out_of_memory
from fsp.families.architecture import Architecture
from fsp.spaces.space import SearchSpace
from fsp.studies.error_function import AnyError, as_error
from fsp.studies.store import Store, open_store
from fsp.studies.study import Evaluation, Key, Study

_PATIENCE = 0.1  # seconds between polls of the study while other processes evaluate all remaining candidates


class Evaluator:
    """Evaluates architectures with an error function, and reuses the evaluations that its study holds.

    Processes that share a study share the work: while one evaluates a candidate, the others do not.

    Args:
        error: see `fsp.extract`.
        space: the space of the architectures.
        study: a journal file, a database URL or an open store; None keeps the evaluations in memory.
        more: settings that the values depend on besides the error's own.

    Raises:
        InputError: the file is not a journal, or the store cannot be opened.

    Example:
        >>> from fsp.spaces.loading import load_space
        >>> evaluate = Evaluator(lambda a: 1 / a["D"], load_space("minilm"))
        >>> evaluate(Architecture(D=4, A=8, H=256, I=512), seed=0).error
        0.25
    """

    def __init__(
        self,
        error: AnyError,
        space: SearchSpace,
        study: str | Path | Store | None = None,
        more: Mapping[str, Any] | None = None,
    ):
        self.error, self.space = as_error(error), space
        self.study = study if isinstance(study, Store) else open_store(study or None)
        self._shared = study is not None
        self._store = Study(self.study, space, {**self.error.settings, **(more or {})})
        self._expected: list[Key] = []

    def expect(self, keys: Iterable[Key]) -> None:
        """Announce the next evaluations, so that other processes can start on them; no effect for a study in memory."""
        if self._shared:
            self._expected = list(keys)
            self._store.ask(self._expected)

    def __call__(self, architecture: Architecture, seed: int) -> Evaluation:
        """Return the evaluation of one candidate; it failed if the error is not a finite positive number.

        While another process evaluates the candidate, this one evaluates others that it expects, or waits.
        """
        key = architecture, seed
        self._store.ask([key])
        while (evaluation := self._store.get(*key)) is None:
            if not any(self._store.evaluate(one, self.evaluate) for one in (key, *self._expected)):
                time.sleep(_PATIENCE)
                self._store.refresh()
        return evaluation

    def evaluate(self, architecture: Architecture, seed: int) -> Evaluation:
        """Evaluate a candidate even if the study holds its evaluation."""
        return evaluate(self.error, architecture, seed)

    def errors_of(self, architecture: Architecture) -> list[float]:
        """Return all errors of an architecture in the study, one per seed."""
        return self._store.errors_of(architecture)


def evaluate(error: AnyError, architecture: Architecture, seed: int) -> Evaluation:
    """Return the evaluation of one candidate: its error, or the reason for its failure."""
    start = time.perf_counter()
    try:
        value = as_error(error)(architecture, seed)
        failure = None if math.isfinite(value) and value > 0 else f"the error is {value}, not a positive number"
    except ArithmeticError as problem:
        value, failure = math.nan, f"{type(problem).__name__}: {problem}"
    except (MemoryError, RuntimeError) as problem:
        if not is_out_of_memory(problem):
            raise
        value, failure = math.nan, "out of memory"
    return Evaluation(architecture, seed, None if failure else value, time.perf_counter() - start, failure)
