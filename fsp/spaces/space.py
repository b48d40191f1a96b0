"""Search spaces: named integer parameters, rules between them, the maximum point T, all candidates as one array."""

import importlib.metadata
import importlib.resources
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.spaces.rules import FunctionRule, Rule

if TYPE_CHECKING:
    from fsp.families import Family

Columns = dict[str, NDArray[np.int64]]
AnyRule = str | Callable[..., bool]
_MAX_GRID = 50_000_000  # points before the rules; beyond this enumeration would not fit in memory
_MAX_PARAMETERS = 32  # axes of the grid that numpy can index
_MAX_VALUE = 2**31 - 1


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
        rules: what every candidate fulfils: expressions, or Python functions of parameters (see `fsp.spaces.rules`).
        maximum: the maximum point T; no candidate exceeds it in any parameter. T itself is not a candidate.
        family: the network family that builds the candidates: its name, or a module (see `fsp.families.Family`).
        constants: what the family needs beyond the parameters (vocabulary, positions, ...).
        teacher: where T's trained weights come from by default: its `name`, the installed `package` and the `folder`
            in it, the `sha256` of its model.safetensors, and the command to `install` it.
        neutral: the parameters that are no sizes: more of one is not expected to give a better network. Attention
            heads that partition the hidden size are an example.
        method: the search method that is the default under limits; None for `maximal`.

    Raises:
        InputError: with one line that says what is wrong.

    Example:
        >>> space = SearchSpace("toy", {"D": (1, 2), "H": (4, 8)}, ("H > 4 or D > 1",), {"D": 2, "H": 8}, "mlp")
        >>> space.candidates.tolist()
        [[1, 8], [2, 4]]
    """

    name: str
    parameters: Mapping[str, tuple[int, ...]]
    rules: tuple[AnyRule, ...]
    maximum: Mapping[str, int]
    family: "str | Family"
    constants: Mapping[str, int] = field(default_factory=dict)
    teacher: Mapping[str, str] = field(default_factory=dict)
    neutral: tuple[str, ...] = ()
    method: str | None = None

    def __post_init__(self) -> None:
        if not self.name.isprintable() or self.name in ("", ".", "..") or set(self.name) & set("/\\"):
            raise InputError(f"a space cannot be called {self.name!r}: files are named after it; choose a plain name")
        if len(self.parameters) > _MAX_PARAMETERS:
            raise InputError(f"space {self.name}: {len(self.parameters)} parameters; at most {_MAX_PARAMETERS}")
        if not self.parameters:
            raise InputError(f"space {self.name}: no parameters; give at least one with its choices")
        for name, choices in self.parameters.items():
            if not name.isidentifier():
                raise InputError(
                    f"space {self.name}: {name!r} is no parameter name; use a letter, then letters or digits"
                )
            if not choices:
                raise InputError(f"space {self.name}: {name} has no choices; list at least one integer")
            if any(type(c) is not int or not 0 < c <= _MAX_VALUE for c in choices):
                raise InputError(f"space {self.name}: {name} has a choice that is no positive integer: {list(choices)}")
            if len(set(choices)) != len(choices):
                raise InputError(f"space {self.name}: {name} lists a choice twice: {list(choices)}")
        if set(self.maximum) != set(self.parameters):
            raise InputError(f"space {self.name}: the maximum must give exactly {', '.join(self.parameters)}")
        for name, value in (*self.maximum.items(), *self.constants.items()):
            if value > _MAX_VALUE:
                raise InputError(f"space {self.name}: {name}={value} is too large; at most {_MAX_VALUE:,}")
        object.__setattr__(self, "maximum", Architecture({name: self.maximum[name] for name in self.parameters}))
        for name, choices in self.parameters.items():
            if max(choices) > self.maximum[name]:
                raise InputError(
                    f"space {self.name}: {name}={max(choices)} exceeds the maximum point's {self.maximum[name]}; "
                    "raise the maximum or drop the choice"
                )
        grid = math.prod(len(c) for c in self.parameters.values())
        if grid > _MAX_GRID:
            raise InputError(f"space {self.name}: {grid:,} grid points; at most {_MAX_GRID:,} can be enumerated")
        for k, name in enumerate(self.neutral):
            if name not in self.parameters or name in self.neutral[:k]:
                raise InputError(
                    f"space {self.name}: neutral lists {name!r}, which is no parameter or listed twice; "
                    f"there are {', '.join(self.parameters)}"
                )
        object.__setattr__(self, "_rules", tuple(self._rule(rule) for rule in self.rules))
        if not len(self.candidates):
            rules = " and ".join(self._rule_texts)
            raise InputError(f"space {self.name}: its rules exclude every candidate; relax {rules}")

    def _rule(self, rule: AnyRule) -> Rule | FunctionRule:
        return Rule(rule, self.names) if isinstance(rule, str) else FunctionRule(rule, self.names)

    @property
    def _rule_texts(self) -> list[str]:
        return [rule.text for rule in self._rules]  # type: ignore[attr-defined]

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names, in the order of the columns of `candidates`."""
        return tuple(self.parameters)

    @property
    def family_name(self) -> str:
        """The family's name, that of its module where it is one."""
        return name_of(self.family)

    @property
    def sizes(self) -> tuple[str, ...]:
        """The names of the parameters that are sizes: all but the neutral ones."""
        return tuple(name for name in self.parameters if name not in self.neutral)

    @cached_property
    def candidates(self) -> NDArray[np.int64]:
        """All valid architectures except T as an `n x d` array, columns in the order of `names`.

        Each column is contiguous. Rules are evaluated on the axes they use and then spread over the grid.
        """
        axes = np.ix_(*(np.asarray(c, dtype=np.int64) for c in self.parameters.values()))
        columns = dict(zip(self.names, axes, strict=True))
        valid = np.ones(tuple(len(c) for c in self.parameters.values()), dtype=bool)
        for rule in self._rules:  # type: ignore[attr-defined]
            valid &= rule(columns)
        if all(self.maximum[name] in choices for name, choices in self.parameters.items()):
            valid[tuple(c.index(self.maximum[name]) for name, c in self.parameters.items())] = False
        points = np.empty((len(axes), np.count_nonzero(valid)), dtype=np.int64).T
        for j, axis in enumerate(axes):
            points[:, j] = np.broadcast_to(axis, valid.shape)[valid]
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

    def broken_rules(self, architecture: Mapping[str, int]) -> list[str]:
        """Return the rules that an architecture breaks, as texts; it need not be on the grid."""
        columns = self.columns(self.point(architecture))
        return [rule.text for rule in self._rules if not rule(columns).all()]  # type: ignore[attr-defined]

    def with_constants(self, constants: Mapping[str, int]) -> "SearchSpace":
        """Return the same space with the family's constants taken from elsewhere, e.g. from a teacher."""
        return replace(self, constants=dict(constants))

    @classmethod
    def described(cls, description: Mapping[str, Any]) -> "SearchSpace":
        """Return the space that described itself so; no trained teacher and no default method come with it.

        Raises:
            InputError: it is none, or has rules that are Python functions, of which a description has the name alone.

        Example:
            >>> space = SearchSpace("toy", {"D": (1, 2), "H": (4, 8)}, ("H > 4 or D > 1",), {"D": 2, "H": 8}, "mlp")
            >>> SearchSpace.described(space.describe()) == space
            True
        """
        try:
            return cls(
                name=description["name"],
                parameters={name: tuple(choices) for name, choices in description["parameters"].items()},
                rules=tuple(description["rules"]),
                maximum=description["maximum"],
                family=description["family"],
                constants=description["constants"],
                neutral=tuple(description["neutral"]),
            )
        except (KeyError, TypeError, AttributeError):
            raise InputError("this is no description of a search space") from None

    def describe(self) -> dict[str, Any]:
        """Return the space as a JSON-like value.

        Keys: `name, family, parameters, rules, neutral, maximum, constants, candidates`; rules as texts.
        """
        return {
            "name": self.name,
            "family": self.family_name,
            "parameters": {name: list(choices) for name, choices in self.parameters.items()},
            "rules": self._rule_texts,
            "neutral": list(self.neutral),
            "maximum": dict(self.maximum),
            "constants": dict(self.constants),
            "candidates": len(self.candidates),
        }


def name_of(family: "str | Family") -> str:
    """Return what a family is called.

    Example:
        >>> name_of("bert"), name_of(math)
        ('bert', 'math')
    """
    return family if isinstance(family, str) else str(getattr(family, "__name__", type(family).__name__))


def shipped_spaces() -> dict[str, Path]:
    """Return the search spaces that come with fsp, by name."""
    inside = Path(str(importlib.resources.files("fsp"))) / "search_spaces"
    folder = inside if inside.is_dir() else Path(__file__).parent.parent / "search_spaces"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def installed_spaces() -> dict[str, importlib.metadata.EntryPoint]:
    """Return the search spaces that installed packages offer in the entry-point group `fsp.search_spaces`, by name."""
    return {entry.name: entry for entry in importlib.metadata.entry_points(group="fsp.search_spaces")}


def load_space(name_or_path: str | Path) -> SearchSpace:
    """Return the search space of that name, or the one in that `.toml` or `.py` file.

    Names that come with fsp go before those of installed packages. A `.py` file is run, so name only trusted ones.

    Raises:
        InputError: unknown name, unreadable file, or a file that is no valid search space.

    Example:
        >>> load_space("minilm").maximum
        Architecture(D=6, A=12, H=384, I=1536)
    """
    from fsp import space_files  # it builds a SearchSpace, so it can only be imported once there is one

    shipped = shipped_spaces()
    path = shipped.get(str(name_or_path), Path(name_or_path))
    if path.suffix == ".toml":
        return space_files.read_toml(path)
    if path.suffix == ".py":
        return space_files.run_python(path)
    installed = installed_spaces()
    if str(name_or_path) not in installed:
        known = ", ".join([*shipped, *sorted(set(installed) - set(shipped))])
        raise InputError(f"no search space {str(name_or_path)!r}; there are {known}, or give a .toml or .py file")
    return space_files.from_entry_point(installed[str(name_or_path)])
