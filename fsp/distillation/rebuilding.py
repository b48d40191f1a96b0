"""Rebuilding the error of a study from the study's header and a worker's arguments."""

from dataclasses import replace
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
    """Rebuilds the error of a study that `fsp extract` or `fsp run` started.

    Args:
        inputs: the same T and text as in the search.
        space: the space, fitted to T.
        settings: the same as in the search, but for steps and threads.
        cache: a folder for T's states.
        display: shows progress.
    """

    def __init__(self, inputs: Inputs, space: SearchSpace, settings: SurrogateSettings, cache: Path, display: Progress):
        self._inputs, self._space, self._settings, self._cache, self._display = inputs, space, settings, cache, display
        self._distillation: dict[int, Distillation] = {}

    def __call__(self, header: Header) -> Error:
        """Return the error of a study.

        Raises:
            InputError: the study's error is a Python function, it needs more threads than this machine has, or its
                settings differ from those of the rebuilt error.
        """
        kind, threads, steps = (header.settings.get(name) for name in ("error", "threads", "steps"))
        if kind not in ("distillation", "mlm") or not isinstance(threads, int) or not isinstance(steps, int):
            raise InputError(f"the error of study {header.name} is a Python function ({kind}); call fsp.work with it")
        if threads > processors():
            raise InputError(
                f"study {header.name} is evaluated with {threads} threads; this machine has {processors()}"
            )
        settings = replace(self._settings, steps=steps, threads=threads)
        if kind == "mlm":
            error: Any = from_scratch(self._inputs, settings, self._space)
        else:
            if threads not in self._distillation:
                self._distillation[threads] = surrogate(self._inputs, settings, self._cache, self._display)
            error = self._distillation[threads]
        return matching(error, self._space, header)
