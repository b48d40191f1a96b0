"""DistilBERT encoders: closed-form sizes and operations, untrained networks, anatomy.

An architecture is D layers, A attention heads, hidden size H, intermediate size I. The constants are `vocabulary` and
`positions` (sizes of the two embedding tables).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fsp.families.anatomy import Anatomy, Branch, axes_of
from fsp.families.family import Constants, Shape
from fsp.families.transformer import (
    Names,
    attention,
    check_type,
    integers,
    layer_parameters,
    norm,
    sizes_of,
    token_inputs,
)

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel

PARAMETERS = ("D", "A", "H", "I")
CONSTANTS = ("vocabulary", "positions")
MODEL_TYPES = ("distilbert",)
_CONFIG_NAMES = {"D": "n_layers", "A": "n_heads", "H": "dim", "I": "hidden_dim"}
_READERS = ("attention.q_lin", "attention.k_lin", "attention.v_lin")


def _transform(network: Any, states: "Tensor") -> "Tensor":
    return network.vocab_layer_norm(network.activation(network.vocab_transform(states)))


anatomy = Anatomy(
    "transformer.layer",
    {
        "embeddings.word_embeddings.weight": (None, "H"),
        "embeddings.position_embeddings.weight": (None, "H"),
        **axes_of({"embeddings.LayerNorm": ("H",)}),
        **axes_of(
            {
                **dict.fromkeys(_READERS, ("A", "H")),
                "attention.out_lin": ("H", "A"),
                "sa_layer_norm": ("H",),
                "ffn.lin1": ("I", "H"),
                "ffn.lin2": ("H", "I"),
                "output_layer_norm": ("H",),
            },
            "transformer.layer.*.",
        ),
    },
    (
        Branch("attention", _READERS, "attention.out_lin", "A", "sa_layer_norm"),
        Branch("ffn.lin1", ("ffn.lin1",), "ffn.lin2", "I", "output_layer_norm"),
    ),
    head={
        **axes_of({"vocab_transform": ("H", "H"), "vocab_layer_norm": ("H",), "pre_classifier": ("H", "H")}),
        **{f"{name}.weight": (None, "H") for name in ("vocab_projector", "classifier", "qa_outputs")},
    },
    head_reads=("vocab_transform", "pre_classifier", "classifier", "qa_outputs"),
    norms=("vocab_layer_norm",),
    transform=_transform,
    reshapes_heads=True,
)


def _check(config: "PretrainedConfig") -> None:
    check_type(config, "distilbert", MODEL_TYPES)


_NAMES = Names(_CONFIG_NAMES, {"vocabulary": "vocab_size", "positions": "max_position_embeddings"}, _check)
architecture_of, constants_of, resized, inputs = (
    _NAMES.architecture_of,
    _NAMES.constants_of,
    _NAMES.resized,
    token_inputs,
)


def parameters(shape: Shape, constants: Constants) -> dict[str, NDArray[np.int64]]:
    """Return the exact number of weights: `embedding_parameters`, `encoder_parameters` and their sum `parameters`.

    Heads are not counted. A does not appear: heads partition H.

    Args:
        shape: D, A, H, I as integers or arrays of one length n.
        constants: sizes of the embedding tables, see `CONSTANTS`.

    Example:
        >>> base = parameters(dict(D=6, A=12, H=768, I=3072), dict(vocabulary=30522, positions=512))
        >>> int(base["parameters"])
        66362880
    """
    depth, hidden, inner = integers(shape, "DHI")
    embedding = hidden * (constants["vocabulary"] + constants["positions"]) + 2 * hidden
    return sizes_of(embedding, depth * layer_parameters(hidden, inner))


def operations(shape: Shape, constants: Constants, *, batch: int = 1, length: int = 128) -> NDArray[np.int64]:
    """Return additions + multiplications + other operations of one forward pass over `batch x length` tokens.

    Counted as in `fsp.families.bert.operations`; adding positions to tokens takes 1 per value.

    Args:
        shape: D, A, H, I as integers or arrays of one length n.
        constants: not used by this family.
        batch: number of sequences.
        length: tokens per sequence.

    Example:
        >>> int(operations(dict(D=6, A=12, H=768, I=3072), dict(vocabulary=30522, positions=512)))
        11200939264
    """
    depth, heads, hidden, inner = integers(shape, "DAHI")
    projections = 2 * length * 4 * hidden * hidden
    feed_forward = 2 * length * 2 * hidden * inner + 5 * length * inner
    residual = 2 * length * hidden
    layer = projections + attention(length, heads, hidden) + feed_forward + residual + 2 * norm(length, hidden)
    return batch * (length * hidden + norm(length, hidden) + depth * layer)


def build(architecture: Mapping[str, int], constants: Constants) -> "PreTrainedModel":
    """Return an untrained network of that shape, without a head. Raises InputError if A does not divide H."""
    from transformers import DistilBertConfig, DistilBertModel

    return DistilBertModel(DistilBertConfig(**_NAMES.options(architecture, constants)))
