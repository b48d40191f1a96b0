"""Where search spaces come from: TOML files, Python files, and the entry points of installed packages."""

import importlib.metadata
import runpy
import sys
import tomllib
import traceback
from pathlib import Path
from typing import Any

from fsp.base.errors import InputError
from fsp.spaces.space import SearchSpace


def read_toml(path: Path) -> SearchSpace:
    """Return the search space in a TOML file.

    Raises:
        InputError: the file is unreadable, not TOML, or not a valid search space.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the search space {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also UnicodeDecodeError, and very long numbers
        raise InputError(f"search space {path} is not valid TOML: {error}") from None
    return _from_content(path, content)


def run_python(path: Path) -> SearchSpace:
    """Run a Python file and return its variable `space`, a `SearchSpace`.

    Raises:
        InputError: the file is unreadable, has a syntax error, raises (the message names the line) or lacks `space`.
    """
    beside = str(path.resolve().parent)
    sys.path.insert(0, beside)  # as `python FILE` does, so that the file can import modules beside it
    try:
        content = runpy.run_path(str(path))
    except InputError as error:
        raise InputError(f"search space {path}: {error}") from None
    except OSError as error:
        raise InputError(f"cannot read the search space {path}: {error.strerror or error}") from None
    except SyntaxError as error:
        raise InputError(f"search space {path} is not valid Python: {error.msg} (line {error.lineno})") from None
    except (Exception, SystemExit) as error:  # a user's file may raise anything
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f" in line {lines[-1]}" if lines else ""
        raise InputError(f"search space {path} fails{where}: {type(error).__name__}: {error}") from None
    finally:
        if beside in sys.path:
            sys.path.remove(beside)
    return _checked(content.get("space"), f"search space {path} must define space = SearchSpace(...)")


def from_entry_point(entry: importlib.metadata.EntryPoint) -> SearchSpace:
    """Return the `SearchSpace` that an entry point of an installed package names. Raises InputError if it is none."""
    try:
        found = entry.load()
    except Exception as error:  # a third party's package may raise anything
        raise InputError(
            f"search space {entry.name} ({entry.value}) cannot be loaded: {type(error).__name__}: {error}"
        ) from None
    return _checked(found, f"search space {entry.name}: {entry.value} is no SearchSpace; ask its authors")


def _checked(found: Any, otherwise: str) -> SearchSpace:
    if not isinstance(found, SearchSpace):
        raise InputError(otherwise)
    return found


_KEYS: dict[str, type] = {
    "name": str,
    "family": str,
    "rules": list,
    "parameters": dict,
    "maximum": dict,
    "constants": dict,
    "teacher": dict,
    "neutral": list,
    "method": str,
}
_TEACHER_KEYS = ("name", "package", "folder", "sha256", "install")
_REQUIRED = ("family", "parameters", "maximum")


def _from_content(path: Path, content: dict[str, Any]) -> SearchSpace:
    for key, value in content.items():
        if key not in _KEYS:
            raise InputError(f"search space {path}: unknown key {key!r}; known are {', '.join(_KEYS)}")
        if not isinstance(value, _KEYS[key]):
            raise InputError(f"search space {path}: {key!r} must be a {_KEYS[key].__name__}")
    if missing := [key for key in _REQUIRED if key not in content]:
        raise InputError(f"search space {path}: {missing[0]!r} is missing")
    if not all(isinstance(choices, list) for choices in content["parameters"].values()):
        raise InputError(f"search space {path}: each parameter is a list of integers, e.g. D = [2, 4, 6]")
    if not all(isinstance(rule, str) for rule in content.get("rules", [])):
        raise InputError(f"search space {path}: each rule is a text, e.g. 'H % A == 0'")
    if not all(isinstance(name, str) for name in content.get("neutral", [])):
        raise InputError(f"search space {path}: 'neutral' lists parameter names, e.g. neutral = [\"A\"]")
    for key in ("maximum", "constants"):
        if any(type(value) is not int or value < 1 for value in content.get(key, {}).values()):
            raise InputError(f"search space {path}: every value of {key!r} must be a positive integer")
    if "teacher" in content and set(content["teacher"]) != set(_TEACHER_KEYS):
        raise InputError(f"search space {path}: 'teacher' must give exactly {', '.join(_TEACHER_KEYS)}")
    teacher = content.get("teacher", {})
    if any(not isinstance(value, str) for value in teacher.values()):
        raise InputError(f"search space {path}: every value of 'teacher' must be a text")
    if teacher and not teacher["package"].isidentifier():  # finding a module a.b would import the package a
        raise InputError(f"search space {path}: teacher's package must be a plain name, not {teacher['package']!r}")
    if teacher and (Path(teacher["folder"]).is_absolute() or ".." in Path(teacher["folder"]).parts):
        raise InputError(f"search space {path}: teacher's folder must lie inside its package")
    return SearchSpace(
        name=content.get("name", path.stem),
        parameters={name: tuple(choices) for name, choices in content["parameters"].items()},
        rules=tuple(content.get("rules", ())),
        maximum=content["maximum"],
        family=content["family"],
        constants=content.get("constants", {}),
        teacher=content.get("teacher", {}),
        neutral=tuple(content.get("neutral", ())),
        method=content.get("method"),
    )
