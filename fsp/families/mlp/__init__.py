"""Residual multilayer perceptrons: closed-form sizes and operations, networks, and cuts.

An architecture is D middle layers of width H. The constants are the numbers of `inputs` and `outputs`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.families.architecture import Architecture
from fsp.families.family import Constants, Shape

if TYPE_CHECKING:
    import torch

    from fsp.families.mlp.network import MLP, Config

PARAMETERS = ("D", "H")
CONSTANTS = ("inputs", "outputs")
_AXES: dict[str, tuple[str | None, ...]] = {
    "first.weight": ("H", None),
    "first.bias": ("H",),
    "middle.*.weight": ("H", "H"),
    "middle.*.bias": ("H",),
    "last.weight": (None, "H"),
    "last.bias": (None,),
}


def parameters(shape: Shape, constants: Constants) -> dict[str, NDArray[np.int64]]:
    """Return the exact number of weights: `embedding_parameters`, `encoder_parameters` and their sum `parameters`.

    The middle layers count as the encoder, the first and the last layer as the embeddings.

    Args:
        shape: D, H as integers or arrays of one length n.
        constants: see `CONSTANTS`.

    Example:
        >>> int(parameters(dict(D=2, H=4), dict(inputs=3, outputs=5))["parameters"])
        81
    """
    depth, width = (np.asarray(shape[name], dtype=np.int64) for name in PARAMETERS)
    embedding = width * (constants["inputs"] + 1) + constants["outputs"] * (width + 1)
    encoder = depth * (width * width + width)
    return {
        "parameters": embedding + encoder,
        "embedding_parameters": embedding,
        "encoder_parameters": encoder,
    }


def operations(shape: Shape, constants: Constants, *, batch: int = 1, length: int = 128) -> NDArray[np.int64]:
    """Return additions + multiplications + other operations of one forward pass over a batch of vectors.

    A matrix product with bias counts as in `fsp.families.bert.operations`, ReLU 1 and the residual sum 1 per value.

    Args:
        shape: D, H as integers or arrays of one length n.
        constants: see `CONSTANTS`.
        batch: number of vectors.
        length: not used by this family.

    Example:
        >>> int(operations(dict(D=2, H=4), dict(inputs=3, outputs=5)))
        144
    """
    depth, width = (np.asarray(shape[name], dtype=np.int64) for name in PARAMETERS)
    ends = 2 * width * (constants["inputs"] + constants["outputs"])
    return batch * (ends + depth * (2 * width * width + 2 * width))


def inputs(constants: Constants, *, batch: int, length: int) -> "dict[str, torch.Tensor]":
    """Return vectors, `batch x inputs`, as keyword arguments of a forward pass."""
    import torch

    return {"values": torch.zeros(batch, constants["inputs"])}


def architecture_of(config: "Config") -> Architecture:
    """Return the architecture of a network's `config`. Raises InputError for other families."""
    _check(config)
    return Architecture(D=config.depth, H=config.width)


def constants_of(config: "Config") -> dict[str, int]:
    """Return the constants of a network's `config`. Raises InputError for other families."""
    _check(config)
    return {"inputs": config.inputs, "outputs": config.outputs}


def build(architecture: Mapping[str, int], constants: Constants) -> "MLP":
    """Return an untrained network of that shape."""
    from fsp.families.mlp.network import MLP, Config

    return MLP(Config(architecture["D"], architecture["H"], constants["inputs"], constants["outputs"]))


def cut(model: "MLP", architecture: Mapping[str, int]) -> "MLP":
    """Return a network of that shape made of the parts of a trained one with the largest weights.

    The layers taken are evenly spaced and include the last.

    Args:
        model: the trained maximum point T.
        architecture: D, H, none larger than T's.

    Raises:
        InputError: the shape is larger than T.

    Example:
        >>> full = build(dict(D=4, H=16), dict(inputs=3, outputs=5))
        >>> architecture_of(cut(full, dict(D=2, H=8)).config)
        Architecture(D=2, H=8)
    """
    from fsp.families.cutting import check_fits, cut_weights, spread

    full, shape = architecture_of(model.config), Architecture(architecture)
    check_fits(full, shape)
    small = build(shape, constants_of(model.config))
    return cut_weights(model, small, _AXES, full, shape, spread(full["D"], shape["D"]))


def _check(config: "Config") -> None:
    if getattr(config, "model_type", None) != "mlp":
        raise InputError(
            f"model type {getattr(config, 'model_type', None)!r} is not supported by family mlp; it takes mlp"
        )
