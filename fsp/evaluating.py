"""Evaluating candidates by any error function, each at most once, and the table of what came of it."""

import inspect
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fsp.errors import RunFailed
from fsp.search.coefficient import w_coefficient
from fsp.space import Architecture, SearchSpace
from fsp.study import Evaluation, Study

ErrorFunction = Callable[..., float]  # of an architecture and, if it has a parameter of that name, a seed


class Evaluator:
    """Evaluates architectures by an error, and takes those that its study holds from there.

    Args:
        error: see `fsp.extract`.
        space: what the architectures belong to.
        study: a journal file; None keeps the evaluations in memory.
        more: what the values depend on besides the error's own settings.

    Raises:
        InputError: the file is no journal.

    Example:
        >>> from fsp.space import load_space
        >>> evaluate = Evaluator(lambda a: 1 / a["D"], load_space("minilm"))
        >>> evaluate(Architecture(D=4, A=8, H=256, I=512), seed=0).error
        0.25
    """

    def __init__(
        self,
        error: ErrorFunction,
        space: SearchSpace,
        study: str | Path | None = None,
        more: Mapping[str, Any] | None = None,
    ):
        self.error, self.space, self.study = error, space, study
        settings = getattr(error, "settings", {"error": _name(error)})
        self._store = Study(Path(study) if study else None, space, {**settings, **(more or {})})

    def __call__(self, architecture: Architecture, seed: int) -> Evaluation:
        """Return what comes of one candidate; one that gives no finite positive number is recorded as failed."""
        evaluation = self._store.get(architecture, seed)
        if evaluation is None:
            evaluation = _evaluate(self.error, architecture, seed)
            self._store.add(evaluation)
        return evaluation

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
    """Tell whether an error has a parameter `seed`."""
    return "seed" in inspect.signature(error).parameters


def _evaluate(error: ErrorFunction, architecture: Architecture, seed: int) -> Evaluation:
    start = time.perf_counter()
    try:
        value = float(error(architecture, seed=seed) if takes_seed(error) else error(architecture))
        failure = None if math.isfinite(value) and value > 0 else f"the error is {value}, not a positive number"
    except ArithmeticError as problem:
        value, failure = math.nan, f"{type(problem).__name__}: {problem}"
    return Evaluation(architecture, seed, None if failure else value, time.perf_counter() - start, failure)


def _name(error: ErrorFunction) -> str:
    return f"{error.__module__}.{getattr(error, '__qualname__', type(error).__qualname__)}"
