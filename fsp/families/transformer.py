"""Functions that transformer families share. Scalar operations are counted as in `fsp.families.bert.operations`."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.families.architecture import Architecture

if TYPE_CHECKING:
    import torch

Count = NDArray[np.int64]


@dataclass(frozen=True)
class Names:
    """The names of a family's parameters and constants in the configurations of the transformers library.

    Attributes:
        parameters: by D, A, H and I, their names in a configuration.
        constants: by the family's constants, their names in a configuration.
        check: raises InputError for configurations of other families.
        follow: names in a configuration of sizes that follow H where they equal it.
        further: returns the constants that are no single entry of a configuration; those that are 0 are left out.
    """

    parameters: Mapping[str, str]
    constants: Mapping[str, str]
    check: Callable[[Any], None]
    follow: tuple[str, ...] = ()
    further: Callable[[Any], Mapping[str, int]] = lambda config: {}

    def architecture_of(self, config: Any) -> Architecture:
        """Return the architecture of a configuration. Raises InputError for other families."""
        self.check(config)
        return Architecture({name: getattr(config, key) for name, key in self.parameters.items()})

    def constants_of(self, config: Any) -> dict[str, int]:
        """Return the family's constants of a configuration. Raises InputError for other families."""
        self.check(config)
        named = {name: getattr(config, key) for name, key in self.constants.items()}
        return named | {name: value for name, value in self.further(config).items() if value}

    def resized(self, network: Any, shape: Mapping[str, int], layers: Sequence[int]) -> Any:
        """Return an untrained network of the same class and settings and of another shape, in evaluation mode."""
        return built_like(network, self.resized_config(network.config, shape, layers))

    def resized_config(self, config: Any, shape: Mapping[str, int], layers: Sequence[int]) -> Any:
        """Return a configuration with the same settings and another shape."""
        small = copy.deepcopy(config)
        for name, key in self.parameters.items():
            setattr(small, key, shape[name])
        if kinds := getattr(config, "layer_types", None):
            small.layer_types = [kinds[k] for k in layers]
        for key in self.follow:
            if getattr(config, key, None) == config.hidden_size:
                setattr(small, key, shape["H"])
        return small

    def options(self, architecture: Mapping[str, int], constants: Mapping[str, int]) -> dict[str, int]:
        """Return the keyword arguments of a configuration. Raises InputError if A does not divide H."""
        check_heads(architecture)
        sizes = {key: architecture[name] for name, key in self.parameters.items()}
        return sizes | {key: constants[name] for name, key in self.constants.items()}


def built_like(network: Any, config: Any) -> Any:
    """Return an untrained network of a configuration, of a network's class and with a pooler if it has one."""
    small = type(network)(config)
    if getattr(network.base_model, "pooler", None) is None and hasattr(small.base_model, "pooler"):
        small.base_model.pooler = None
    return small.eval()


def check_type(config: Any, family: str, types: Sequence[str]) -> None:
    """Raise InputError if a configuration is of none of the family's model types."""
    kind = getattr(config, "model_type", None)
    if kind not in types:
        raise InputError(f"model type {kind!r} is not supported by family {family}; it takes {', '.join(types)}")


def token_inputs(constants: Mapping[str, int], *, batch: int, length: int) -> "dict[str, torch.Tensor]":
    """Return token ids, `batch x length`, as keyword arguments of a forward pass."""
    import torch

    return {"input_ids": torch.zeros(batch, length, dtype=torch.long)}


def sizes_of(embedding: Count, encoder: Count) -> dict[str, Count]:
    """Return the numbers of weights and their sum, under the names that all families use."""
    return {"parameters": embedding + encoder, "embedding_parameters": embedding, "encoder_parameters": encoder}


def layer_parameters(width: Count, inner: Count) -> Count:
    """Return the weights of a layer with biases: attention `4 (h² + h)`, feed-forward `2 h i + i + h`, norms `4 h`."""
    return 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width


def integers(shape: Mapping[str, Any], names: str) -> list[Count]:
    """Return the named parameters as int64 arrays."""
    return [np.asarray(shape[name], dtype=np.int64) for name in names]


def norm(rows: int, width: Count, *, bias: bool = True) -> Count:
    """Return the operations of layer normalisation: 7 per value and 2 per vector; without bias, 6 per value."""
    return rows * ((7 if bias else 6) * width + 2)


def attention(rows: int, heads: Count, width: Count) -> Count:
    """Return the operations of attention among `rows` tokens, without projections; masks save nothing.

    Q K^T takes `rows² (2 width - heads)`, the scaling `heads rows²`, the softmax `heads rows (5 rows - 2)`,
    the context `rows width (2 rows - 1)`.
    """
    return 2 * rows * rows * width + heads * rows * (5 * rows - 2) + rows * width * (2 * rows - 1)


def check_heads(architecture: Mapping[str, int]) -> None:
    """Raise InputError if the heads do not partition the hidden size."""
    if architecture["H"] % architecture["A"]:
        raise InputError(f"A={architecture['A']} does not divide H={architecture['H']}; choose A so that H % A == 0")
