"""What a network is made of, as data: its axes, its residual branches, its head.

A family declares an `Anatomy`; cutting, healing, training and saving are written once, for all families
(`fsp.distillation.cutting`). This module needs no torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fsp.base.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

# What the axes of each weight run over, by name with `*` for a layer's number: None for an axis that stays whole,
# "H" for an axis of H equal groups (units, heads), "3A" for three such axes concatenated (queries, keys, values).
Axes = Mapping[str, tuple[str | None, ...]]


def spread(full: int, kept: int) -> list[int]:
    """Return the indices of the layers to keep: evenly spaced, including the last.

    Example:
        >>> spread(12, 4), spread(3, 1)
        ([2, 5, 8, 11], [2])
    """
    return [round((k + 1) * full / kept) - 1 for k in range(kept)]


def axes_of(modules: Mapping[str, tuple[str | None, ...]], prefix: str = "") -> dict[str, tuple[str | None, ...]]:
    """Return the axes of the weights and biases of modules, from (outputs, inputs) or, for a norm, (width,).

    Example:
        >>> axes_of({"dense": ("I", "H")}, "layer.*.")
        {'layer.*.dense.weight': ('I', 'H'), 'layer.*.dense.bias': ('I',)}
    """
    found: dict[str, tuple[str | None, ...]] = {}
    for name, labels in modules.items():
        found[f"{prefix}{name}.weight"] = labels
        found[f"{prefix}{name}.bias"] = labels[:1]
    return found


@dataclass(frozen=True)
class Branch:
    """One residual branch of a layer, by the names of its modules inside the layer ("" for the layer itself).

    Attributes:
        stream: the module whose input is the residual stream that the branch starts from.
        reads: the linear maps that read the stream, possibly after a norm; all get the same input.
        writes: the linear map that writes to the stream; None if there is none to refit.
        unit: what the inputs of the writer run over: "A" (heads) or "I" (intermediate units).
        sums: the module whose input is the stream with the branch added; None if that is the stream of the next branch.
    """

    stream: str
    reads: tuple[str, ...]
    writes: str | None = None
    unit: str | None = None
    sums: str | None = None


@dataclass(frozen=True)
class Anatomy:
    """The parts of a family's networks.

    Weights are named as in the state dictionary of the body, without the prefix that a network with a head puts before
    them. Names of weights that a network does not have are ignored.

    Attributes:
        layers: prefix of the layers, such as `encoder.layer`.
        axes: what the axes of the body's weights run over; a weight that is not listed stays whole.
        branches: the branches of a layer, in the order in which they run.
        last: the module that reads the last stream; None if the last branch names its `sums`.
        head: the axes of weights outside the body, by their names in the whole network.
        head_reads: linear maps in the head whose inputs are states or maps of them, in the order in which they run.
        norms: norms whose output a vocabulary layer reads; the one that a network has is refitted where the layer is
            tied to the embeddings.
        transform: returns what the vocabulary layer reads, `n x E`, for a whole network and states `n x H`; None if the
            vocabulary layer reads the states themselves.
        groups: units that serve a run of others, {"A": "K"} where every key/value head serves a group of query heads.
        sources: returns the layers of T to keep, for the numbers of T's layers and of those to keep.
        reshapes_heads: whether heads may be merged or split; not under rotary positions.
        partitions: whether the A heads partition H; otherwise their size is a constant of the family.
        causal: whether tokens see only earlier tokens, and the head predicts the next one.
    """

    layers: str
    axes: Axes
    branches: tuple[Branch, ...]
    last: str | None = None
    head: Axes = field(default_factory=dict)
    head_reads: tuple[str, ...] = ()
    norms: tuple[str, ...] = ()
    transform: "Callable[[Any, Tensor], Tensor] | None" = None
    groups: Mapping[str, str] = field(default_factory=dict)
    sources: Callable[[int, int], list[int]] = spread
    reshapes_heads: bool = False
    partitions: bool = True
    causal: bool = False

    def resizes_heads(self, full: Mapping[str, int], shape: Mapping[str, int]) -> bool:
        """Return whether the attention heads of a shape differ in size from T's, so that they are merged or split.

        Example:
            >>> large = {"D": 24, "A": 16, "H": 1024, "I": 4096}
            >>> anatomy = Anatomy("layers", {}, ())
            >>> anatomy.resizes_heads(large, {"D": 4, "A": 8, "H": 1024, "I": 768})
            True
            >>> anatomy.resizes_heads(large, {"D": 4, "A": 8, "H": 512, "I": 768})
            False
        """
        return self.partitions and "A" in full and shape["H"] * full["A"] != shape["A"] * full["H"]

    def check(self, full: Mapping[str, int], shape: Mapping[str, int]) -> None:
        """Raise InputError if a shape cannot be cut out of a network of the shape `full`."""
        wanted = " ".join(f"{name}={value}" for name, value in shape.items())
        if set(shape) != set(full):
            raise InputError(f"{wanted} is no shape of this family; give {', '.join(full)}")
        if any(shape[name] > full[name] for name in shape):
            raise InputError(f"{wanted} does not fit in the trained network {full}; only smaller shapes can be cut")
        if {"A", "H"} <= set(shape) and shape["H"] % shape["A"]:
            raise InputError(f"A={shape['A']} does not divide H={shape['H']}; choose A so that H % A == 0")
        if self.resizes_heads(full, shape) and not self.reshapes_heads:
            size = full["H"] // full["A"]
            raise InputError(
                f"{wanted} has head size {shape['H'] / shape['A']:g}, the trained network {size}, and heads under "
                f"rotary positions cannot be merged or split; choose H = {size} * A (in a search space, by the rule "
                f"'H == {size} * A')"
            )
        for unit, group in self.groups.items():
            most = full[unit] // full[group]
            if shape[unit] % shape[group] or shape[unit] // shape[group] > most:
                raise InputError(
                    f"{wanted}: each of the {group} must serve the same number of the {unit}, at most {most} as in the "
                    f"trained network (in a search space, by the rules '{unit} % {group} == 0' and "
                    f"'{unit} <= {most} * {group}')"
                )
