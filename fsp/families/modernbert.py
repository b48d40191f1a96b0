"""ModernBERT encoders (pre-norm, GeGLU, rotary positions): closed-form sizes and operations, networks, anatomy.

An architecture is D layers, A attention heads, hidden size H, intermediate size I (of each of the two halves of
GeGLU). The constants are `vocabulary` and `positions`; positions are rotations and have no weights. No layer has
a bias. Every third layer attends to all tokens, the others to neighbouring tokens only.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.families.anatomy import Anatomy, Branch, spread
from fsp.families.family import Constants, Shape
from fsp.families.transformer import Names, attention, check_heads, check_type, integers, norm, sizes_of, token_inputs

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

PARAMETERS = ("D", "A", "H", "I")
CONSTANTS = ("vocabulary", "positions")
_CONFIG_NAMES = {"D": "num_hidden_layers", "A": "num_attention_heads", "H": "hidden_size", "I": "intermediate_size"}
_SPECIAL_TOKENS = ("pad_token_id", "eos_token_id", "bos_token_id", "cls_token_id", "sep_token_id")
MODEL_TYPES = ("modernbert",)


def _sources(full: int, kept: int) -> list[int]:
    """Return evenly spaced layers with T's first, which alone reads the embeddings without a norm of its own."""
    return [0, *spread(full, kept)[1:]]


anatomy = Anatomy(
    "layers",
    {
        "embeddings.tok_embeddings.weight": (None, "H"),
        "embeddings.norm.weight": ("H",),
        "layers.*.attn_norm.weight": ("H",),
        "layers.*.attn.Wqkv.weight": ("3A", "H"),
        "layers.*.attn.Wo.weight": ("H", "A"),
        "layers.*.mlp_norm.weight": ("H",),
        "layers.*.mlp.Wi.weight": ("2I", "H"),
        "layers.*.mlp.Wo.weight": ("H", "I"),
        "final_norm.weight": ("H",),
    },
    (
        Branch("attn_norm", ("attn.Wqkv",), "attn.Wo", "A"),
        Branch("mlp_norm", ("mlp.Wi",), "mlp.Wo", "I"),
    ),
    last="final_norm",
    head={
        "head.dense.weight": ("H", "H"),
        "head.dense.bias": ("H",),
        "head.norm.weight": ("H",),
        "decoder.weight": (None, "H"),
        "classifier.weight": (None, "H"),
    },
    head_reads=("head.dense", "classifier"),
    norms=("head.norm",),
    transform=lambda network, states: network.head(states),
    sources=_sources,
)


def _check_heads(architecture: Mapping[str, int]) -> None:
    check_heads(architecture)
    heads, hidden = architecture["A"], architecture["H"]
    if hidden // heads % 2:
        raise InputError(
            f"A={heads} H={hidden} has heads of {hidden // heads} values, and rotary positions turn values in pairs; "
            "choose A and H so that H % (2 * A) == 0"
        )


def _check(config: "PretrainedConfig") -> None:
    check_type(config, "modernbert", MODEL_TYPES)
    if config.attention_bias or config.mlp_bias or config.norm_bias:
        raise InputError("a ModernBERT with biases is not supported by family modernbert; it takes one without")
    _check_heads({name: getattr(config, key) for name, key in _CONFIG_NAMES.items()})


_NAMES = Names(_CONFIG_NAMES, {"vocabulary": "vocab_size", "positions": "max_position_embeddings"}, _check)
architecture_of, constants_of, resized, inputs = (
    _NAMES.architecture_of,
    _NAMES.constants_of,
    _NAMES.resized,
    token_inputs,
)


def parameters(shape: Shape, constants: Constants) -> dict[str, NDArray[np.int64]]:
    """Return the exact number of weights: `embedding_parameters`, `encoder_parameters` and their sum `parameters`.

    The first layer has no norm before its attention, but the final norm counts towards the encoder, so the encoder has
    two norms per layer. A does not appear: heads partition H.

    Args:
        shape: D, A, H, I as integers or arrays of one length n.
        constants: see `CONSTANTS`; only the vocabulary has weights.

    Example:
        >>> base = parameters(dict(D=22, A=12, H=768, I=1152), dict(vocabulary=50368, positions=8192))
        >>> int(base["parameters"])
        149014272
    """
    depth, hidden, inner = integers(shape, "DHI")
    embedding = constants["vocabulary"] * hidden + hidden
    layer = 4 * hidden * hidden + 3 * hidden * inner + 2 * hidden
    encoder = depth * layer
    return sizes_of(embedding, encoder)


def operations(shape: Shape, constants: Constants, *, batch: int = 1, length: int = 128) -> NDArray[np.int64]:
    """Return additions + multiplications + other operations of one forward pass over `batch x length` tokens.

    Counted as in `fsp.families.bert.operations`, with these differences: no matrix has a bias; a norm takes 6 per
    value and 2 per token; the gate of GeGLU 1 per value; rotating queries and keys 7 per hidden value and token,
    and the table of angles 9/2 per value of one head and position, once for each of the (at most two) kinds of
    layer. Neighbourhood attention saves nothing: masked entries are computed anyway.

    Args:
        shape: D, A, H, I as integers or arrays of one length n.
        constants: not used by this family.
        batch: number of sequences.
        length: tokens per sequence.

    Example:
        >>> int(operations(dict(D=22, A=12, H=768, I=1152), dict(vocabulary=50368, positions=8192)))
        29411001600
    """
    depth, heads, hidden, inner = integers(shape, "DAHI")
    layer_norm = norm(length, hidden, bias=False)
    projections = length * (2 * 4 * hidden * hidden - 4 * hidden)
    rotation = 7 * length * hidden
    feed_forward = length * (2 * 3 * hidden * inner - 2 * inner - hidden) + (5 + 1) * length * inner
    residual = 2 * length * hidden
    layer = projections + rotation + attention(length, heads, hidden) + feed_forward + residual + 2 * layer_norm
    angles = np.minimum(depth, 2) * (9 * length * (hidden // heads) // 2)
    # 2 D + 1 norms: two per layer except one in the first, one after the embedding and one at the end
    return batch * (layer_norm + depth * layer) + angles


def build(architecture: Mapping[str, int], constants: Constants) -> "PreTrainedModel":
    """Return an untrained network of that shape, without a head.

    Raises:
        InputError: A does not divide H, or the heads have an odd size, which rotary positions cannot pair.
    """
    from transformers import ModernBertConfig, ModernBertModel

    _check_heads(architecture)
    usual = ModernBertConfig()
    special = {key: min(getattr(usual, key), constants["vocabulary"] - 1) for key in _SPECIAL_TOKENS}
    return ModernBertModel(ModernBertConfig(**_NAMES.options(architecture, constants), **special))
