"""Residual multilayer perceptrons: closed-form sizes and operations, networks, anatomy.

An architecture is D middle layers of width H. The constants are the numbers of `inputs` and `outputs`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.families.anatomy import Anatomy, Branch, axes_of
from fsp.families.architecture import Architecture
from fsp.families.family import Constants, Shape

if TYPE_CHECKING:
    import torch

    from fsp.families.mlp.network import MLP, Config

PARAMETERS = ("D", "H")
CONSTANTS = ("inputs", "outputs")
MODEL_TYPES = ("mlp",)
anatomy = Anatomy(
    "middle",
    axes_of({"first": ("H", None), "middle.*": ("H", "H"), "last": (None, "H")}),
    (Branch("", ("",)),),
    last="last",
    head_reads=("last",),
)


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


def resized(network: "MLP", shape: Mapping[str, int], layers: Sequence[int]) -> "MLP":
    """Return an untrained network with the same inputs and outputs and another shape."""
    return build(shape, constants_of(network.config))


def _check(config: "Config") -> None:
    if getattr(config, "model_type", None) != "mlp":
        raise InputError(
            f"model type {getattr(config, 'model_type', None)!r} is not supported by family mlp; it takes mlp"
        )
