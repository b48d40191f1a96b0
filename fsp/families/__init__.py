"""Network families: what turns an architecture into sizes, operations and a real network."""

import importlib
import pkgutil
from types import ModuleType

from fsp.errors import InputError
from fsp.space import SearchSpace


def load_family(name: str) -> ModuleType:
    """Return the family's module. Raises InputError where there is none of that name."""
    known = [module.name for module in pkgutil.iter_modules(__path__)]
    if name not in known:
        raise InputError(f"no network family {name!r}; there are {', '.join(known)}")
    return importlib.import_module(f"fsp.families.{name}")


def family_of(space: SearchSpace) -> ModuleType:
    """Return the family of a space. Raises InputError where the space lacks constants that the family needs."""
    family = load_family(space.family)
    missing = [name for name in family.CONSTANTS if name not in space.constants]
    if missing:
        raise InputError(f"space {space.name}: family {space.family} needs {', '.join(missing)} under [constants]")
    return family
