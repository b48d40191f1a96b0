"""fsp: optimal subarchitecture extraction.

The names below load their modules, and with them torch and the like, only when used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsp.distillation.saving import distill
    from fsp.base.errors import InputError, RunFailed
    from fsp.deploy.exporting import export
    from fsp.search.extraction import Extraction, extract
    from fsp.finetuning.finetune import agora
    from fsp.distillation.prepare import prepare
    from fsp.distillation.error import Distillation
    from fsp.distillation.pretraining.run import pretrain
    from fsp.search.coefficient import w_coefficient
    from fsp.search.samplers.fptas import FPTASSampler
    from fsp.spaces.space import Architecture, SearchSpace, load_space
    from fsp.studies.helper import work

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
    "Architecture": "fsp.spaces.space",
    "Distillation": "fsp.distillation.error",
    "Extraction": "fsp.search.extraction",
    "FPTASSampler": "fsp.search.samplers.fptas",
    "InputError": "fsp.base.errors",
    "RunFailed": "fsp.base.errors",
    "SearchSpace": "fsp.spaces.space",
    "agora": "fsp.finetuning.finetune",
    "distill": "fsp.distillation.saving",
    "export": "fsp.deploy.exporting",
    "extract": "fsp.search.extraction",
    "load_space": "fsp.spaces.space",
    "prepare": "fsp.distillation.prepare",
    "pretrain": "fsp.distillation.pretraining.run",
    "w_coefficient": "fsp.search.coefficient",
    "work": "fsp.studies.helper",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'fsp' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
