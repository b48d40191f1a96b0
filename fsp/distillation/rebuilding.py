"""Making the error of a study again, from what the study holds and what a worker was told."""

from pathlib import Path
from typing import Any

import torch

from fsp.base.errors import InputError
from fsp.base.progress import Silent
from fsp.distillation.error import Distillation
from fsp.distillation.inputs import Inputs, Settings, literal, surrogate
from fsp.families.architecture import Architecture
from fsp.spaces.space import SearchSpace
from fsp.studies.evaluator import ErrorFunction
from fsp.studies.helper import matching
from fsp.studies.pool import processors
from fsp.studies.study import Header


class Rebuilder:
    """Returns the error of a study that `fsp extract` or `fsp run` began.

    Args:
        inputs: T and the text, as the search has them.
        space: fitted to T.
        tokens: of training text, as the search has it.
        cache: a folder for T's states.
        display: where progress goes.
    """

    def __init__(self, inputs: Inputs, space: SearchSpace, tokens: int, cache: Path, display: Silent):
        self._inputs, self._space, self._tokens, self._cache, self._display = inputs, space, tokens, cache, display
        self._distillation: dict[int, Distillation] = {}

    def __call__(self, header: Header) -> ErrorFunction:
        """Return the error of a study.

        Raises:
            InputError: it is a Python function's, its threads do not fit this machine, or its settings differ from
                those that its error has here.
        """
        kind, threads, steps = (header.settings.get(name) for name in ("error", "threads", "steps"))
        if kind not in ("distillation", "mlm") or not isinstance(threads, int) or not isinstance(steps, int):
            raise InputError(f"the error of study {header.name} is a Python function ({kind}); call fsp.work with it")
        if threads > processors():
            raise InputError(f"study {header.name} is evaluated with {threads} threads; here are {processors()}")
        settings = Settings(steps=steps, tokens=self._tokens, threads=threads)
        torch.set_num_threads(threads)
        if kind == "mlm":
            error: Any = literal(self._inputs, settings, self._space)
        else:
            if threads not in self._distillation:
                self._distillation[threads] = surrogate(self._inputs, settings, self._cache, self._display)
            error = self._distillation[threads]
        return _Threaded(matching(error, self._space, header), threads)


class _Threaded:
    """An error that is always computed with the same number of threads."""

    def __init__(self, error: ErrorFunction, threads: int):
        self._error, self._threads = error, threads

    def __call__(self, architecture: Architecture, seed: int) -> float:
        torch.set_num_threads(self._threads)
        return self._error(architecture, seed=seed)
