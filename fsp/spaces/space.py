"""Search spaces: named integer parameters, rules between them, the maximum point T, all candidates as one array."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.families.architecture import Architecture
from fsp.families.family import Family, load_family, name_of
from fsp.spaces.rules import FunctionRule, Rule

Columns = dict[str, NDArray[np.int64]]
AnyRule = str | Callable[..., bool]
_MAX_GRID = 50_000_000  # points before the rules; more would not fit in memory
_MAX_PARAMETERS = 32  # axes of the grid that numpy can index
_MAX_VALUE = 2**31 - 1


@dataclass(frozen=True)
class SearchSpace:
    """A finite set of architectures below a maximum point.

    Args:
        name: short name, used in files.
        parameters: the choices of each parameter, by name.
        rules: conditions on every candidate: expressions, or Python functions of parameters (see `fsp.spaces.rules`).
        maximum: the maximum point T; no candidate exceeds it in any parameter. T itself is not a candidate.
        family: the network family that builds the candidates: its name, or a module (see `fsp.families.family.Family`).
        constants: what the family needs besides the parameters (vocabulary, positions, ...).
        teacher: the default source of T's trained weights: its `name`, the installed `package` and the `folder` in it,
            the `sha256` of its model.safetensors, and the command to `install` it.
        neutral: the parameters that are not sizes: a larger value is not expected to give a better network. Attention
            heads that partition the hidden size are an example.
        method: the default search method under limits; None for `maximal`.

    Raises:
        InputError: the space is not valid; the message says why in one line.

    Example:
        >>> space = SearchSpace("toy", {"D": (1, 2), "H": (4, 8)}, ("H > 4 or D > 1",), {"D": 2, "H": 8}, "mlp")
        >>> space.candidates.tolist()
        [[1, 8], [2, 4]]
    """

    name: str
    parameters: Mapping[str, tuple[int, ...]]
    rules: tuple[AnyRule, ...]
    maximum: Mapping[str, int]
    family: str | Family
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
        """The family's name; for a module, the name of the module."""
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
        """Return the columns of an `n x d` array of architectures, by parameter."""
        return {name: points[:, j] for j, name in enumerate(self.names)}

    def architectures(self, points: NDArray[np.int64]) -> list[Architecture]:
        """Return the rows of an `n x d` array as architectures."""
        return [Architecture(dict(zip(self.names, row, strict=True))) for row in points.tolist()]

    def point(self, architecture: Mapping[str, int]) -> NDArray[np.int64]:
        """Return an architecture as a `1 x d` array. Raises InputError if a parameter is missing or unknown."""
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
        """Return the space that a result of `describe` describes, without its teacher and default method.

        Raises:
            InputError: not a description of a space, or one with rules that were Python functions.

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


def family_of(space: SearchSpace) -> Family:
    """Return the family of a space.

    Raises:
        InputError: the space's parameters are not the family's, or it lacks constants that the family needs.
    """
    family = load_family(space.family)
    if set(space.parameters) != set(family.PARAMETERS):
        raise InputError(
            f"space {space.name}: family {space.family_name} has the parameters {', '.join(family.PARAMETERS)}, "
            f"not {', '.join(space.parameters)}"
        )
    if missing := [name for name in family.CONSTANTS if name not in space.constants]:
        raise InputError(
            f"space {space.name}: family {space.family_name} needs {', '.join(missing)} under [constants]; where a "
            "command takes --teacher, the teacher brings its own"
        )
    return family
