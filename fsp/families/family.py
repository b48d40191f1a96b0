"""The protocol of network families, and loading a family by name.

A family is a module (or any object) with the members of `Family`. The families of this package are found by name,
those of installed packages in the entry-point group `fsp.families`, and a space in Python may bring its own;
docs/own-space.md shows how to write one.
"""

import importlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.families.anatomy import Anatomy
from fsp.families.architecture import Architecture

if TYPE_CHECKING:
    import torch
    from torch import nn

Shape = Mapping[str, Any]  # the architectural parameters: integers, or arrays of one length
Constants = Mapping[str, int]
_OWN = ("bert", "distilbert", "gpt2", "llama", "mlp", "modernbert", "vit")


class Family(Protocol):
    """The members of a network family. None of them may import torch before `inputs`, `build` or `resized` is called.

    By convention `D` is the number of middle layers B of C(B_n(...B_1(A(x)))), so that sizes and operations are
    linear in it, and heads `A` partition the hidden size `H`.
    """

    PARAMETERS: tuple[str, ...]
    """Names of the architectural parameters."""

    CONSTANTS: tuple[str, ...]
    """Names of the other sizes that determine a network: table sizes, numbers of inputs and outputs.

    A family may take further constants, which are 0 where they are left out.
    """

    MODEL_TYPES: tuple[str, ...]
    """The values of `model_type` in config.json that belong to the family."""

    anatomy: Anatomy | None
    """The parts of the networks; None for a family whose networks cannot be cut."""

    def parameters(self, shape: Shape, constants: Constants) -> dict[str, NDArray[np.int64]]:
        """Return the exact number of weights in closed form: `parameters = embedding_ + encoder_parameters`.

        Args:
            shape: integers or arrays of one length n; the counts have the same form, int64.
            constants: one value for each of `CONSTANTS`.
        """
        ...

    def operations(self, shape: Shape, constants: Constants, *, batch: int, length: int) -> NDArray[np.int64]:
        """Return additions + multiplications + other operations of one forward pass in closed form, int64.

        Args:
            shape: integers or arrays of one length n.
            constants: one value for each of `CONSTANTS`.
            batch: number of samples.
            length: tokens per sample; ignored by families whose constants fix it.
        """
        ...

    def inputs(self, constants: Constants, *, batch: int, length: int) -> "dict[str, torch.Tensor]":
        """Return keyword arguments for a forward pass of that size, on torch's default device."""
        ...

    def build(self, architecture: Shape, constants: Constants) -> "nn.Module":
        """Return an untrained network without a head; `architecture_of` takes its `config`.

        Raises:
            InputError: there is no network of that shape.
        """
        ...

    def architecture_of(self, config: Any) -> Architecture:
        """Return the architecture of a network's `config`. Raises InputError for networks of other families."""
        ...

    def constants_of(self, config: Any) -> dict[str, int]:
        """Return the constants of a network's `config`. Raises InputError for networks of other families."""
        ...

    def resized(self, network: Any, shape: Shape, layers: Sequence[int]) -> "nn.Module":
        """Return an untrained network like a given one, head and other settings included, of another shape.

        Args:
            network: a network of the family.
            shape: the architectural parameters.
            layers: for each layer of the new network, the number of the layer that it stands for.
        """
        ...


def load_family(family: str | Family) -> Family:
    """Return the family of that name, or the given module itself.

    Families of fsp take precedence over those of installed packages.

    Raises:
        InputError: there is no family of that name, or it cannot be loaded or lacks a member of `Family`.

    Example:
        >>> load_family("bert").PARAMETERS
        ('D', 'A', 'H', 'I')
    """
    return _named(family) if isinstance(family, str) else _complete(family, name_of(family))


def known_families() -> dict[str, importlib.metadata.EntryPoint | None]:
    """Return the named families: those of fsp, and those of installed packages with their entry point."""
    installed = sorted(importlib.metadata.entry_points(group="fsp.families"), key=lambda entry: entry.name)
    return {**dict.fromkeys(_OWN), **{entry.name: entry for entry in installed if entry.name not in _OWN}}


def family_of_type(model_type: object) -> Family:
    """Return the family that the networks of a model type belong to.

    Args:
        model_type: the value of `model_type` in config.json.

    Raises:
        InputError: there is none.

    Example:
        >>> name_of(family_of_type("roberta"))
        'fsp.families.bert'
    """
    families = {name: load_family(name) for name in known_families()}
    for family in families.values():
        if model_type in family.MODEL_TYPES:
            return family
    takes = "; ".join(f"{name} ({', '.join(family.MODEL_TYPES)})" for name, family in families.items())
    raise InputError(
        f"model type {model_type!r} belongs to no network family; there are {takes}; for others write a family of your "
        "own (docs/own-space.md)"
    )


@cache
def _named(name: str) -> Family:
    known = known_families()
    if name not in known:
        raise InputError(
            f"no network family {name!r}; there are {', '.join(known)}, and a module of your own in a space "
            "written in Python, family=MODULE (docs/own-space.md)"
        )
    entry = known[name]
    if entry is None:
        return cast(Family, importlib.import_module(f"fsp.families.{name}"))
    try:
        family = entry.load()
    except Exception as error:  # a third party's package may raise anything
        raise InputError(f"network family {name} cannot be loaded: {type(error).__name__}: {error}") from None
    return _complete(family, name)


def _complete(family: Any, name: str) -> Family:
    members = [member for member in (*Family.__annotations__, *vars(Family)) if not member.startswith("_")]
    if missing := [member for member in members if not hasattr(family, member)]:
        raise InputError(f"network family {name} lacks {missing[0]!r}; it needs {', '.join(members)}")
    return cast(Family, family)


def is_causal(family: Family) -> bool:
    """Return whether the tokens of a family's networks see only those before them."""
    return family.anatomy is not None and family.anatomy.causal


def name_of(family: "str | Family") -> str:
    """Return the name of a family.

    Example:
        >>> name_of("bert"), name_of(importlib)
        ('bert', 'importlib')
    """
    return family if isinstance(family, str) else str(getattr(family, "__name__", type(family).__name__))
