"""Making the error of a study again, from what the study holds and what a worker was told."""

from pathlib import Path
from typing import Any

from fsp.base.errors import InputError
from fsp.base.machine import processors
from fsp.base.progress import Progress
from fsp.distillation.error import Distillation
from fsp.distillation.inputs import Inputs, from_scratch, surrogate
from fsp.distillation.settings import SurrogateSettings
from fsp.spaces.space import SearchSpace
from fsp.studies.error_function import Error
from fsp.studies.helper import matching
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

    def __init__(self, inputs: Inputs, space: SearchSpace, tokens: int, cache: Path, display: Progress):
        self._inputs, self._space, self._tokens, self._cache, self._display = inputs, space, tokens, cache, display
        self._distillation: dict[int, Distillation] = {}

    def __call__(self, header: Header) -> Error:
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
        settings = SurrogateSettings(steps=steps, tokens=self._tokens, threads=threads)
        if kind == "mlm":
            error: Any = from_scratch(self._inputs, settings, self._space)
        else:
            if threads not in self._distillation:
                self._distillation[threads] = surrogate(self._inputs, settings, self._cache, self._display)
            error = self._distillation[threads]
        return matching(error, self._space, header)
