"""The parts of any network with or without a head: its body, its vocabulary layer, its logits."""

from typing import Any

import torch
from torch import Tensor, nn

from fsp.families.anatomy import Anatomy


def body_of(network: Any) -> Any:
    """Return a network without its head."""
    return getattr(network, "base_model", network)


def vocabulary_layer(network: Any) -> nn.Linear | None:
    """Return the layer from states to the logits of tokens; None for a network that predicts no tokens."""
    if body_of(network) is network:
        return None
    layer: nn.Linear | None = network.get_output_embeddings()
    return layer


def token_logits(network: Any, anatomy: Anatomy, states: Tensor) -> Tensor:
    """Return the logits `n x V` of a language model for its last states `n x H`."""
    layer = vocabulary_layer(network)
    assert layer is not None
    return layer(states if anatomy.transform is None else anatomy.transform(network, states))


def last_states(network: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Return the last states of a network's body, `n x sites x H`."""
    states: Tensor = body_of(network)(**inputs).last_hidden_state
    return states


def outputs(network: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Return the logits of a whole network, `n x classes`."""
    found = network(**inputs)
    logits: Tensor = found if isinstance(found, Tensor) else found.logits
    return logits


def without_layers(network: Any, anatomy: Anatomy) -> Any:
    """Return a copy of a network that has no layers left: its head reads the embeddings."""
    import copy

    kept = {}
    parent, _, name = anatomy.layers.rpartition(".")
    holder = body_of(network).get_submodule(parent)
    layers = getattr(holder, name)
    kept[id(layers)] = nn.ModuleList()  # the layers are not copied, only left out
    return copy.deepcopy(network, kept)


def device_of(network: Any) -> torch.device:
    """Return the device of a network's weights."""
    return next(network.parameters()).device
