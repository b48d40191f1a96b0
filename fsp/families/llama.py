"""Llama-like decoders (Llama, Mistral, Qwen2, Qwen3): closed-form sizes and operations, networks, anatomy.

An architecture is D layers, A query heads, K key/value heads, each of which serves A / K query heads, hidden size H,
intermediate size I (of each of the two halves of SwiGLU). The constants are `vocabulary`, `positions` (rotations, which
have no weights) and `head_size`, since heads do not partition H. Two more are 1 where a network has such parts and left
out otherwise: `qkv_bias` (biases of queries, keys and values, as in Qwen2) and `qk_norm` (norms of queries and keys, as
in Qwen3). There is no language-model head.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.families.anatomy import Anatomy, Branch, axes_of
from fsp.families.family import Constants, Shape
from fsp.families.transformer import (
    Count,
    Names,
    attention,
    built_like,
    check_heads,
    check_type,
    integers,
    sizes_of,
    token_inputs,
)

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

PARAMETERS = ("D", "A", "K", "H", "I")
CONSTANTS = ("vocabulary", "positions", "head_size")
MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")
_CONFIG_NAMES = {
    "D": "num_hidden_layers",
    "A": "num_attention_heads",
    "K": "num_key_value_heads",
    "H": "hidden_size",
    "I": "intermediate_size",
}
_READERS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_HEADS = ("lm_head", "score", "qa_outputs")

anatomy = Anatomy(
    "layers",
    {
        "embed_tokens.weight": (None, "H"),
        **axes_of(
            {
                "self_attn.q_proj": ("A", "H"),
                "self_attn.k_proj": ("K", "H"),
                "self_attn.v_proj": ("K", "H"),
                "self_attn.o_proj": ("H", "A"),
                "mlp.gate_proj": ("I", "H"),
                "mlp.up_proj": ("I", "H"),
                "mlp.down_proj": ("H", "I"),
                "input_layernorm": ("H",),
                "post_attention_layernorm": ("H",),
            },
            "layers.*.",
        ),
        "norm.weight": ("H",),
    },
    (
        Branch("input_layernorm", _READERS, "self_attn.o_proj", "A"),
        Branch("post_attention_layernorm", ("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj", "I"),
    ),
    last="norm",
    head={f"{name}.weight": (None, "H") for name in _HEADS},
    head_reads=_HEADS,
    norms=("model.norm",),
    groups={"A": "K"},
    partitions=False,
    causal=True,
)


def _check(config: "PretrainedConfig") -> None:
    check_type(config, "llama", MODEL_TYPES)
    if getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False):
        raise InputError(
            f"a network of type {config.model_type} with attention_bias or mlp_bias is not supported by family llama; "
            "it takes one without"
        )
    _check_shape({name: getattr(config, key) for name, key in _CONFIG_NAMES.items()}, _head_size(config))


def _check_shape(architecture: Mapping[str, int], head_size: int) -> None:
    check_heads(architecture)
    if architecture["A"] % architecture["K"]:
        raise InputError(f"K={architecture['K']} does not divide A={architecture['A']}; choose K so that A % K == 0")
    if head_size % 2:
        raise InputError(
            f"heads of {head_size} values cannot be turned in pairs, as rotary positions do; give an even head_size"
        )


def _head_size(config: "PretrainedConfig") -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _further(config: "PretrainedConfig") -> dict[str, int]:
    kind = config.model_type
    return {"head_size": _head_size(config), "qkv_bias": int(kind == "qwen2"), "qk_norm": int(kind == "qwen3")}


_NAMES = Names(
    _CONFIG_NAMES, {"vocabulary": "vocab_size", "positions": "max_position_embeddings"}, _check, further=_further
)
architecture_of, constants_of, inputs = _NAMES.architecture_of, _NAMES.constants_of, token_inputs


def resized(network: Any, shape: Shape, layers: Sequence[int]) -> "PreTrainedModel":
    """Return an untrained network like a given one, head and other settings included, of another shape."""
    config = _NAMES.resized_config(network.config, shape, layers)
    config.head_dim = _head_size(network.config)  # it would follow H and A otherwise
    return built_like(network, config)


def parameters(shape: Shape, constants: Constants) -> dict[str, NDArray[np.int64]]:
    """Return the exact number of weights: `embedding_parameters`, `encoder_parameters` and their sum `parameters`.

    The final norm counts towards the encoder. Heads are not counted.

    Args:
        shape: D, A, K, H, I as integers or arrays of one length n.
        constants: see `CONSTANTS`; positions have no weights.

    Example:
        >>> tables = dict(vocabulary=49152, positions=8192, head_size=64)
        >>> smollm = parameters(dict(D=30, A=9, K=3, H=576, I=1536), tables)
        >>> int(smollm["parameters"])
        134515008
    """
    depth, heads, groups, hidden, inner = integers(shape, "DAKHI")
    size = constants["head_size"]
    projections = 2 * hidden * size * (heads + groups) + constants.get("qkv_bias", 0) * size * (heads + 2 * groups)
    layer = projections + constants.get("qk_norm", 0) * 2 * size + 3 * hidden * inner + 2 * hidden
    return sizes_of(constants["vocabulary"] * hidden, depth * layer + hidden)


def operations(shape: Shape, constants: Constants, *, batch: int = 1, length: int = 128) -> NDArray[np.int64]:
    """Return additions + multiplications + other operations of one forward pass over `batch x length` tokens.

    Counted as in `fsp.families.bert.operations`, with these differences: a root-mean-square norm takes 4 per value and
    2 per vector; SiLU 4 and the gate 1 per value; rotating queries and keys 7/2 per value, and the table of angles 9/2
    per value of one head and position, once. Masks, causal or sliding, save nothing: what they hide is computed too.

    Args:
        shape: D, A, K, H, I as integers or arrays of one length n.
        constants: see `CONSTANTS`.
        batch: number of sequences.
        length: tokens per sequence.

    Example:
        >>> tables = dict(vocabulary=49152, positions=8192, head_size=64)
        >>> int(operations(dict(D=30, A=9, K=3, H=576, I=1536), tables))
        28373761792
    """
    depth, heads, groups, hidden, inner = integers(shape, "DAKHI")
    size = constants["head_size"]
    queries, keys = heads * size, groups * size
    projections = (queries + 2 * keys) * (2 * hidden - 1 + constants.get("qkv_bias", 0)) + hidden * (2 * queries - 1)
    normed = constants.get("qk_norm", 0) * (heads + groups) * _norm(size)
    rotation = 7 * (queries + keys) // 2
    feed_forward = 2 * inner * (2 * hidden - 1) + (4 + 1) * inner + hidden * (2 * inner - 1)
    layer = length * (projections + normed + rotation + feed_forward + 2 * hidden + 2 * _norm(hidden))
    angles = 9 * length * size // 2
    return batch * (depth * (layer + attention(length, heads, queries)) + length * _norm(hidden)) + angles


def build(architecture: Mapping[str, int], constants: Constants) -> "PreTrainedModel":
    """Return an untrained network of that shape, without a head: a Llama, with `qkv_bias` a Qwen2, `qk_norm` a Qwen3.

    Raises:
        InputError: A does not divide H or K does not divide A, the heads have an odd size, or no network has both
            biases and norms of queries and keys.
    """
    import transformers

    _check_shape(architecture, constants["head_size"])
    kinds = [kind for name, kind in (("qkv_bias", "Qwen2"), ("qk_norm", "Qwen3")) if constants.get(name)] or ["Llama"]
    if len(kinds) > 1:
        raise InputError("family llama has no network with both qkv_bias and qk_norm; give one of them")
    options = _NAMES.options(architecture, constants) | {"head_dim": constants["head_size"]}
    config = getattr(transformers, f"{kinds[0]}Config")(**options)
    return getattr(transformers, f"{kinds[0]}Model")(config)


def _norm(width: Count | int) -> Any:
    """Return the operations of a root-mean-square norm of one vector: squares, mean, root, scaling, weights."""
    return 4 * width + 2
