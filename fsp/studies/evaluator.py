"""Evaluating candidates by any error function, each at most once, and the table of what came of it."""

import inspect
import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fsp.base.errors import RunFailed, is_out_of_memory
from fsp.search.coefficient import w_coefficient
from fsp.spaces.space import Architecture, SearchSpace
from fsp.studies.store import Store, open_store
from fsp.studies.study import Evaluation, Key, Study

_PATIENCE = 0.1  # seconds between looks at the study while other processes evaluate all that is left

ErrorFunction = Callable[..., float]  # of an architecture and, if it has a parameter of that name, a seed


class Evaluator:
    """Evaluates architectures by an error, and takes those that its study holds from there.

    Processes that share a study share the work: while one evaluates a candidate, the others do not.

    Args:
        error: see `fsp.extract`.
        space: what the architectures belong to.
        study: a journal file or a database URL, or such a store opened; None keeps the evaluations in memory.
        more: what the values depend on besides the error's own settings.

    Raises:
        InputError: the file is no journal, or the store cannot be opened.

    Example:
        >>> from fsp.spaces.space import load_space
        >>> evaluate = Evaluator(lambda a: 1 / a["D"], load_space("minilm"))
        >>> evaluate(Architecture(D=4, A=8, H=256, I=512), seed=0).error
        0.25
    """

    def __init__(
        self,
        error: ErrorFunction,
        space: SearchSpace,
        study: str | Path | Store | None = None,
        more: Mapping[str, Any] | None = None,
    ):
        self.error, self.space = error, space
        self.study = study if isinstance(study, Store) else open_store(study or None)
        self._shared = study is not None
        self._store = Study(self.study, space, {**settings_of(error), **(more or {})})
        self._expected: list[Key] = []

    def expect(self, keys: Iterable[Key]) -> None:
        """Say what will be asked for next, so that other processes can begin with it; in memory there are none."""
        if self._shared:
            self._expected = list(keys)
            self._store.ask(self._expected)

    def __call__(self, architecture: Architecture, seed: int) -> Evaluation:
        """Return what comes of one candidate; one that gives no finite positive number is recorded as failed.

        While another process evaluates it, this one evaluates what else it expects, or waits.
        """
        key = architecture, seed
        self._store.ask([key])
        while (evaluation := self._store.get(*key)) is None:
            if not any(self._store.evaluate(one, self.evaluate) for one in (key, *self._expected)):
                time.sleep(_PATIENCE)
                self._store.refresh()
        return evaluation

    def evaluate(self, architecture: Architecture, seed: int) -> Evaluation:
        """Evaluate a candidate, whatever the study holds."""
        return evaluate(self.error, architecture, seed)

    def errors_of(self, architecture: Architecture) -> list[float]:
        """Return all errors of an architecture that the study holds, one a seed."""
        return self._store.errors_of(architecture)


def evaluation_table(
    everything: pd.DataFrame,
    evaluations: Mapping[int, list[Evaluation]],
    maximum: Mapping[str, float],
    seed: int,
    speed: str = "operations",
) -> pd.DataFrame:
    """Return one row a candidate that was evaluated: p, i, its geometric mean error over seeds, W, and the rest.

    Args:
        everything: parameters, p and i of all candidates; its index names the rows of the result.
        evaluations: of the candidates in some rows, in the order of the result.
        maximum: p and i of T.
        seed: the first seed.
        speed: the column of i in W.

    Raises:
        RunFailed: every candidate failed.
    """
    table = everything.loc[list(evaluations)].copy()
    failures = [next((e.failure for e in found if e.error is None), None) for found in evaluations.values()]
    table["error"] = [_mean_error(found) for found in evaluations.values()]
    valid = table["error"].notna()
    if not valid.any():
        raise RunFailed(f"all {len(table)} candidates failed; the first: {failures[0]}")
    for name, size in (("w_total", "parameters"), ("w_encoder", "encoder_parameters")):
        rows = table[valid]
        table.loc[valid, name] = w_coefficient(
            rows[size], rows[speed], rows["error"], maximum=(maximum[size], maximum[speed])
        )
    table["seed"] = seed
    table["seconds"] = [sum(e.seconds for e in found) for found in evaluations.values()]
    table["failure"] = failures
    return table


def _mean_error(evaluations: list[Evaluation]) -> float:
    """Geometric mean over the seeds, NaN where one of them failed."""
    errors = [math.nan if evaluation.error is None else evaluation.error for evaluation in evaluations]
    return errors[0] if len(errors) == 1 else float(np.exp(np.log(errors).mean()))  # one seed: not a digit is lost


def takes_seed(error: ErrorFunction) -> bool:
    """Tell whether an error depends on a seed: it has a parameter `seed`, and no attribute `seeded` that is false."""
    return getattr(error, "seeded", True) and "seed" in inspect.signature(error).parameters


def settings_of(error: ErrorFunction) -> dict[str, Any]:
    """Return what the values of an error depend on, as far as it tells."""
    return getattr(error, "settings", {"error": _name(error)})


def evaluate(error: ErrorFunction, architecture: Architecture, seed: int) -> Evaluation:
    """Return what comes of one candidate: its error, or why there is none."""
    start = time.perf_counter()
    try:
        value = float(error(architecture, seed=seed) if takes_seed(error) else error(architecture))
        failure = None if math.isfinite(value) and value > 0 else f"the error is {value}, not a positive number"
    except ArithmeticError as problem:
        value, failure = math.nan, f"{type(problem).__name__}: {problem}"
    except (MemoryError, RuntimeError) as problem:
        if not is_out_of_memory(problem):
            raise
        value, failure = math.nan, "out of memory"
    return Evaluation(architecture, seed, None if failure else value, time.perf_counter() - start, failure)


def _name(error: ErrorFunction) -> str:
    return f"{error.__module__}.{getattr(error, '__qualname__', type(error).__qualname__)}"
