"""fsp: optimal subarchitecture extraction.

The names below load their modules, and with them torch and the like, only when used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsp.distillation import distill
    from fsp.errors import InputError, RunFailed
    from fsp.exporting import export
    from fsp.extraction import Extraction, extract
    from fsp.finetuning.finetune import agora
    from fsp.inputs import prepare
    from fsp.objectives.error import Distillation
    from fsp.pretraining.run import pretrain
    from fsp.search.coefficient import w_coefficient
    from fsp.search.sampler import FPTASSampler
    from fsp.space import Architecture, SearchSpace, load_space
    from fsp.working import work

__version__ = "0.1.0.dev0"
__all__ = [
    "Architecture",
    "Distillation",
    "Extraction",
    "FPTASSampler",
    "InputError",
    "RunFailed",
    "SearchSpace",
    "agora",
    "distill",
    "export",
    "extract",
    "load_space",
    "prepare",
    "pretrain",
    "w_coefficient",
    "work",
]
_MODULES = {
    "Architecture": "fsp.space",
    "Distillation": "fsp.objectives.error",
    "Extraction": "fsp.extraction",
    "FPTASSampler": "fsp.search.sampler",
    "InputError": "fsp.errors",
    "RunFailed": "fsp.errors",
    "SearchSpace": "fsp.space",
    "agora": "fsp.finetuning.finetune",
    "distill": "fsp.distillation",
    "export": "fsp.exporting",
    "extract": "fsp.extraction",
    "load_space": "fsp.space",
    "prepare": "fsp.inputs",
    "pretrain": "fsp.pretraining.run",
    "w_coefficient": "fsp.search.coefficient",
    "work": "fsp.working",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'fsp' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
