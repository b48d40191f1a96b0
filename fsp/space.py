"""Search spaces: named integer parameters, rules between them, the maximum point T, all candidates as one array."""

import importlib.resources
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsp.errors import InputError
from fsp.rules import Rule

Columns = dict[str, NDArray[np.int64]]
_MAX_GRID = 50_000_000  # points before the rules; beyond this enumeration would not fit in memory


class Architecture(Mapping[str, int]):
    """One assignment of the architectural parameters: an immutable, hashable mapping from name to integer.

    Example:
        >>> bort = Architecture(D=4, A=8, H=1024, I=768)
        >>> bort["H"], str(bort)
        (1024, 'D=4 A=8 H=1024 I=768')
        >>> Architecture.parse("D=4,A=8,H=1024,I=768") == bort
        True
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, int] | None = None, /, **named: int):
        merged = {**(values or {}), **named}
        for name, value in merged.items():
            if isinstance(value, bool) or int(value) != value or value < 1:
                raise InputError(f"{name}={value} is not a positive integer")
        self._values = {name: int(value) for name, value in merged.items()}

    @classmethod
    def parse(cls, text: str) -> "Architecture":
        """Return the architecture written as `D=4 A=8` or `D=4,A=8`. Raises InputError where it is neither."""
        values: dict[str, int] = {}
        for part in text.replace(",", " ").split():
            name, _, number = part.partition("=")
            if not name.isidentifier() or not number.isascii() or not number.isdecimal() or len(number) > 9:
                raise InputError(f"cannot read {part!r}; write an architecture as D=4,A=8,H=1024,I=768")
            if name in values:
                raise InputError(f"{name} is given twice in {text!r}")
            values[name] = int(number)
        if not values:
            raise InputError("the architecture is empty; write e.g. D=4,A=8,H=1024,I=768")
        return cls(values)

    def __getitem__(self, name: str) -> int:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self._values.items())

    def __repr__(self) -> str:
        return f"Architecture({str(self).replace(' ', ', ')})"


@dataclass(frozen=True)
class SearchSpace:
    """A finite set of architectures below a maximum point.

    Args:
        name: short name, used in files.
        parameters: the choices of each parameter, by name.
        rules: expressions that every candidate fulfils (see `fsp.rules`).
        maximum: the maximum point T; no candidate exceeds it in any parameter. T itself is not a candidate.
        family: name of the network family that builds the candidates.
        constants: what the family needs beyond the parameters (vocabulary, positions, ...).
        teacher: where T's trained weights come from by default: its `name`, the installed `package` and the `folder`
            in it, the `sha256` of its model.safetensors, and the command to `install` it.

    Raises:
        InputError: with one line that says what is wrong.

    Example:
        >>> space = SearchSpace("toy", {"D": (1, 2), "H": (4, 8)}, ("H > 4 or D > 1",), {"D": 2, "H": 8}, "mlp")
        >>> space.candidates.tolist()
        [[1, 8], [2, 4]]
    """

    name: str
    parameters: Mapping[str, tuple[int, ...]]
    rules: tuple[str, ...]
    maximum: Mapping[str, int]
    family: str
    constants: Mapping[str, int] = field(default_factory=dict)
    teacher: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.parameters:
            raise InputError(f"space {self.name}: no parameters; give at least one with its choices")
        for name, choices in self.parameters.items():
            if not name.isidentifier():
                raise InputError(
                    f"space {self.name}: {name!r} is no parameter name; use a letter, then letters or digits"
                )
            if not choices:
                raise InputError(f"space {self.name}: {name} has no choices; list at least one integer")
            if any(type(c) is not int or not 0 < c < 2**31 for c in choices):
                raise InputError(f"space {self.name}: {name} has a choice that is no positive integer: {list(choices)}")
            if len(set(choices)) != len(choices):
                raise InputError(f"space {self.name}: {name} lists a choice twice: {list(choices)}")
        if set(self.maximum) != set(self.parameters):
            raise InputError(f"space {self.name}: the maximum must give exactly {', '.join(self.parameters)}")
        object.__setattr__(self, "maximum", Architecture({name: self.maximum[name] for name in self.parameters}))
        for name, choices in self.parameters.items():
            if max(choices) > self.maximum[name]:
                raise InputError(
                    f"space {self.name}: {name}={max(choices)} exceeds the maximum point's {self.maximum[name]}; "
                    "raise the maximum or drop the choice"
                )
        grid = int(np.prod([float(len(c)) for c in self.parameters.values()]))
        if grid > _MAX_GRID:
            raise InputError(f"space {self.name}: {grid:,} grid points; at most {_MAX_GRID:,} can be enumerated")
        object.__setattr__(self, "_rules", tuple(Rule(text, tuple(self.parameters)) for text in self.rules))
        if not len(self.candidates):
            raise InputError(f"space {self.name}: its rules exclude every candidate; relax {' and '.join(self.rules)}")

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names, in the order of the columns of `candidates`."""
        return tuple(self.parameters)

    @cached_property
    def candidates(self) -> NDArray[np.int64]:
        """All valid architectures except T as an `n x d` array, columns in the order of `names`."""
        grid = np.meshgrid(*(np.asarray(c, dtype=np.int64) for c in self.parameters.values()), indexing="ij")
        points = np.stack([axis.ravel() for axis in grid], axis=1)
        columns = self.columns(points)
        valid = (points != np.array([self.maximum[n] for n in self.names])).any(axis=1)
        for rule in self._rules:  # type: ignore[attr-defined]
            valid &= rule(columns)
        points = points[valid]
        points.setflags(write=False)
        return points

    def columns(self, points: NDArray[np.int64]) -> Columns:
        """Return an `n x d` array of architectures as one named array a parameter."""
        return {name: points[:, j] for j, name in enumerate(self.names)}

    def architectures(self, points: NDArray[np.int64]) -> list[Architecture]:
        """Return the rows of an `n x d` array as architectures."""
        return [Architecture(dict(zip(self.names, row, strict=True))) for row in points.tolist()]

    def point(self, architecture: Mapping[str, int]) -> NDArray[np.int64]:
        """Return an architecture as a `1 x d` array. Raises InputError where a parameter is missing or foreign."""
        if set(architecture) != set(self.names):
            given = " ".join(f"{n}={v}" for n, v in architecture.items())
            raise InputError(f"{given}: space {self.name} needs exactly {', '.join(self.names)}")
        return np.array([[architecture[name] for name in self.names]], dtype=np.int64)

    def with_constants(self, constants: Mapping[str, int]) -> "SearchSpace":
        """Return the same space with the family's constants taken from elsewhere, e.g. from a teacher."""
        return replace(self, constants=dict(constants))

    def describe(self) -> dict[str, Any]:
        """Return the space as a JSON-like value: `name, family, parameters, rules, maximum, constants, candidates`."""
        return {
            "name": self.name,
            "family": self.family,
            "parameters": {name: list(choices) for name, choices in self.parameters.items()},
            "rules": list(self.rules),
            "maximum": dict(self.maximum),
            "constants": dict(self.constants),
            "candidates": len(self.candidates),
        }


def shipped_spaces() -> dict[str, Path]:
    """Return the search spaces that come with fsp, by name."""
    inside = Path(str(importlib.resources.files("fsp"))) / "search_spaces"
    folder = inside if inside.is_dir() else Path(__file__).parent.parent / "search_spaces"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_space(name_or_path: str | Path) -> SearchSpace:
    """Return the search space of that name, or the one in that `.toml` file.

    Raises:
        InputError: unknown name, unreadable file, or a file that is no valid search space.

    Example:
        >>> load_space("minilm").maximum
        Architecture(D=6, A=12, H=384, I=1536)
    """
    shipped = shipped_spaces()
    path = shipped.get(str(name_or_path), Path(name_or_path))
    if path.suffix != ".toml":
        raise InputError(f"no search space {str(name_or_path)!r}; there are {', '.join(shipped)}, or give a .toml file")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the search space {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"search space {path} is not valid TOML: {error}") from None
    return _from_content(path, content)


_KEYS: dict[str, type] = {
    "name": str,
    "family": str,
    "rules": list,
    "parameters": dict,
    "maximum": dict,
    "constants": dict,
    "teacher": dict,
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
    for key in ("maximum", "constants"):
        if any(type(value) is not int or value < 1 for value in content.get(key, {}).values()):
            raise InputError(f"search space {path}: every value of {key!r} must be a positive integer")
    if "teacher" in content and set(content["teacher"]) != set(_TEACHER_KEYS):
        raise InputError(f"search space {path}: 'teacher' must give exactly {', '.join(_TEACHER_KEYS)}")
    if any(not isinstance(value, str) for value in content.get("teacher", {}).values()):
        raise InputError(f"search space {path}: every value of 'teacher' must be a text")
    return SearchSpace(
        name=content.get("name", path.stem),
        parameters={name: tuple(choices) for name, choices in content["parameters"].items()},
        rules=tuple(content.get("rules", ())),
        maximum=content["maximum"],
        family=content["family"],
        constants=content.get("constants", {}),
        teacher=content.get("teacher", {}),
    )
