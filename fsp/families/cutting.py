"""Cutting a smaller network out of a trained one by the norms of its weights, for any family.

A family declares what the axes of each weight run over; everything else is common to all families.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from fsp.base.errors import InputError
from fsp.families.transformer import head_size_changed

# What the axes of each weight run over, by name with `*` for a layer's number: None for an axis that stays whole,
# "H" for an axis of H equal groups (units, heads), "3A" for three such axes concatenated (queries, keys, values).
Axes = Mapping[str, tuple[str | None, ...]]
Network = TypeVar("Network", bound=nn.Module)


def spread(full: int, kept: int) -> list[int]:
    """Return the indices of the layers to keep: evenly spaced, including the last.

    Example:
        >>> spread(12, 4), spread(3, 1)
        ([2, 5, 8, 11], [2])
    """
    return [round((k + 1) * full / kept) - 1 for k in range(kept)]


def check_smaller(full: Mapping[str, int], shape: Mapping[str, int]) -> None:
    """Raise InputError if a shape has other parameters than the trained network, or a larger value of one."""
    wanted = _written(shape)
    if set(shape) != set(full):
        raise InputError(f"{wanted} is no shape of this family; give {', '.join(full)}")
    if any(shape[name] > full[name] for name in shape):
        raise InputError(f"{wanted} does not fit in the trained network {full}; only smaller shapes can be cut")


def check_fits(full: Mapping[str, int], shape: Mapping[str, int]) -> None:
    """Raise InputError if a shape is larger than the trained network, or would split its attention heads."""
    check_smaller(full, shape)
    if head_size_changed(full, shape):
        size = full["H"] // full["A"]
        raise InputError(
            f"{_written(shape)} has head size {shape['H'] / shape['A']:g}, the trained network {size}; "
            f"choose H = {size} * A (in a search space, by the rule 'H == {size} * A')"
        )


def _written(shape: Mapping[str, int]) -> str:
    return " ".join(f"{name}={value}" for name, value in shape.items())


@torch.no_grad()
def cut_weights(
    model: nn.Module,
    small: Network,
    axes: Axes,
    full: Mapping[str, int],
    shape: Mapping[str, int],
    layers: Sequence[int],
) -> Network:
    """Copy the most important parts of a trained network into a smaller one; return it in evaluation mode.

    The importance of a unit or head is the sum, over the weights that contain it, of its share of the weight's
    squared norm. A parameter with an axis outside the layers (the hidden size) is ranked once for the whole network,
    the others layer by layer. Kept parts stay in order, so a copy at full size equals the trained network.

    Args:
        model: the trained network of shape `full`.
        small: an untrained network of shape `shape`; its weights are overwritten.
        axes: what the axes of every weight of `small` run over.
        full: architecture of `model`.
        shape: architecture of `small`.
        layers: for each layer of `small`, the layer of `model` it is taken from.

    Example:
        >>> full, small = nn.Linear(3, 2, bias=False), nn.Linear(2, 2, bias=False)
        >>> full.weight.data = torch.tensor([[1.0, 9.0, 5.0], [1.0, 9.0, 5.0]])
        >>> cut_weights(full, small, {"weight": (None, "H")}, {"H": 3}, {"H": 2}, []).weight.tolist()
        [[9.0, 5.0], [9.0, 5.0]]
    """
    trained = {name: (weight, *_found(name, axes)) for name, weight in model.state_dict().items()}
    outside = {label[-1] for pattern, labels in axes.items() if "*" not in pattern for label in labels if label}
    scores: dict[tuple[str, int | None], Tensor] = defaultdict(lambda: torch.zeros(()))
    for weight, layer, labels in trained.values():
        for dimension, label in enumerate(labels):
            if label:
                key = (label[-1], None if label[-1] in outside else layer)
                scores[key] = scores[key] + _shares(weight, dimension, label, full)
    kept = {
        (name, layer): score.argsort(descending=True, stable=True)[: shape[name]].sort().values
        for (name, layer), score in scores.items()
    }
    state = {}
    for name in small.state_dict():
        layer, labels = _found(name, axes)
        source = None if layer is None else layers[layer]
        weight = trained[name if layer is None else re.sub(r"\d+", str(source), name, count=1)][0]
        for dimension, label in enumerate(labels):
            if label:
                groups = kept[label[-1], None if label[-1] in outside else source]
                weight = weight.index_select(dimension, _indices(groups, weight.shape[dimension], label, full))
        state[name] = weight
    small.load_state_dict(state)
    return small.eval()


def _found(name: str, axes: Axes) -> tuple[int | None, tuple[str | None, ...]]:
    """Return the layer a weight belongs to, if any, and what its axes run over; empty for a weight that is not cut."""
    if name in axes:
        return None, axes[name]
    number = re.search(r"\d+", name)
    if number is None:
        return None, ()
    return int(number[0]), axes.get(f"{name[: number.start()]}*{name[number.end() :]}", ())


def _shares(weight: Tensor, dimension: int, label: str, full: Mapping[str, int]) -> Tensor:
    """Return each group's share of the squared norm along one axis, `(full[parameter],)`, float64."""
    squares = weight.double().square().movedim(dimension, 0).reshape(weight.shape[dimension], -1).sum(dim=1)
    groups = squares.view(_copies(label), full[label[-1]], -1).sum(dim=(0, 2))
    return groups / groups.sum().clamp(min=torch.finfo(torch.float64).tiny)


def _indices(groups: Tensor, length: int, label: str, full: Mapping[str, int]) -> Tensor:
    """Return the positions of the kept groups on an axis of the given length."""
    every = torch.arange(length).view(_copies(label), full[label[-1]], -1)
    return every[:, groups].flatten()


def _copies(label: str) -> int:
    return int(label[:-1] or 1)
