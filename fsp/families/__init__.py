"""Network families: what turns an architecture into sizes, operations and a real network."""

import importlib
import pkgutil
from types import ModuleType

from fsp.errors import InputError


def load_family(name: str) -> ModuleType:
    """Return the family's module. Raises InputError where there is none of that name."""
    known = [module.name for module in pkgutil.iter_modules(__path__)]
    if name not in known:
        raise InputError(f"no network family {name!r}; there are {', '.join(known)}")
    return importlib.import_module(f"fsp.families.{name}")
