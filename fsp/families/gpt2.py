"""GPT-2 decoders (pre-norm, causal): closed-form sizes and operations, networks, anatomy.

An architecture is D layers, A attention heads, hidden size H, intermediate size I. The constants are `vocabulary`
and `positions` (sizes of the two embedding tables). There is no language-model head; its matrix would be tied.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.families.anatomy import Anatomy, Branch, axes_of
from fsp.families.architecture import Architecture
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
    from transformers import PretrainedConfig, PreTrainedModel

PARAMETERS = ("D", "A", "H", "I")
CONSTANTS = ("vocabulary", "positions")
_CONFIG_NAMES = {"D": "n_layer", "A": "n_head", "H": "n_embd", "I": "n_inner"}
MODEL_TYPES = ("gpt2",)
_HEADS = ("lm_head", "score", "classifier", "qa_outputs")
anatomy = Anatomy(
    "h",
    {  # matrices are stored as inputs x outputs
        "wte.weight": (None, "H"),
        "wpe.weight": (None, "H"),
        **axes_of({"h.*.ln_1": ("H",), "h.*.ln_2": ("H",), "ln_f": ("H",)}),
        "h.*.attn.c_attn.weight": ("H", "3A"),
        "h.*.attn.c_attn.bias": ("3A",),
        "h.*.attn.c_proj.weight": ("A", "H"),
        "h.*.attn.c_proj.bias": ("H",),
        "h.*.mlp.c_fc.weight": ("H", "I"),
        "h.*.mlp.c_fc.bias": ("I",),
        "h.*.mlp.c_proj.weight": ("I", "H"),
        "h.*.mlp.c_proj.bias": ("H",),
    },
    (
        Branch("ln_1", ("attn.c_attn",), "attn.c_proj", "A"),
        Branch("ln_2", ("mlp.c_fc",), "mlp.c_proj", "I"),
    ),
    last="ln_f",
    head={f"{name}.weight": (None, "H") for name in _HEADS},
    head_reads=_HEADS,
    norms=("transformer.ln_f",),
    reshapes_heads=True,
    causal=True,
)


def _check(config: "PretrainedConfig") -> None:
    check_type(config, "gpt2", MODEL_TYPES)
    if config.add_cross_attention:
        raise InputError("a GPT-2 with cross-attention is not supported by family gpt2; it takes one without")
    if config.scale_attn_by_inverse_layer_idx:
        raise InputError(
            "a GPT-2 that scales attention by the layer's number (scale_attn_by_inverse_layer_idx) is not supported by "
            "family gpt2; it takes one that does not"
        )


_NAMES = Names(_CONFIG_NAMES, {"vocabulary": "vocab_size", "positions": "n_positions"}, _check)
constants_of, resized, inputs = _NAMES.constants_of, _NAMES.resized, token_inputs


def parameters(shape: Shape, constants: Constants) -> dict[str, NDArray[np.int64]]:
    """Return the exact number of weights: `embedding_parameters`, `encoder_parameters` and their sum `parameters`.

    The final layer norm counts towards the encoder. A does not appear: heads partition H.

    Args:
        shape: D, A, H, I as integers or arrays of one length n.
        constants: sizes of the embedding tables, see `CONSTANTS`.

    Example:
        >>> small = parameters(dict(D=12, A=12, H=768, I=3072), dict(vocabulary=50257, positions=1024))
        >>> int(small["parameters"])
        124439808
    """
    depth, hidden, inner = integers(shape, "DHI")
    embedding = (constants["vocabulary"] + constants["positions"]) * hidden
    encoder = depth * layer_parameters(hidden, inner) + 2 * hidden
    return sizes_of(embedding, encoder)


def operations(shape: Shape, constants: Constants, *, batch: int = 1, length: int = 128) -> NDArray[np.int64]:
    """Return additions + multiplications + other operations of one forward pass over `batch x length` tokens.

    Counted as in `fsp.families.bert.operations`, except that GELU in its tanh form takes 9 per value. Adding positions
    to tokens takes 1 per value. The causal mask saves nothing: the masked half is computed anyway.

    Args:
        shape: D, A, H, I as integers or arrays of one length n.
        constants: not used by this family.
        batch: number of sequences.
        length: tokens per sequence.

    Example:
        >>> int(operations(dict(D=12, A=12, H=768, I=3072), dict(vocabulary=50257, positions=1024)))
        22419966208
    """
    depth, heads, hidden, inner = integers(shape, "DAHI")
    projections = 2 * length * 4 * hidden * hidden
    feed_forward = 2 * length * 2 * hidden * inner + 9 * length * inner
    residual = 2 * length * hidden
    layer = projections + attention(length, heads, hidden) + feed_forward + residual + 2 * norm(length, hidden)
    return batch * (length * hidden + depth * layer + norm(length, hidden))


def architecture_of(config: "PretrainedConfig") -> Architecture:
    """Return the architecture of a Hugging Face configuration. Raises InputError for other families."""
    _check(config)
    inner = config.n_inner or 4 * config.n_embd  # GPT-2's default for a missing n_inner
    return Architecture(D=config.n_layer, A=config.n_head, H=config.n_embd, I=inner)


def build(architecture: Mapping[str, int], constants: Constants) -> "PreTrainedModel":
    """Return an untrained network of that shape, without a head. Raises InputError if A does not divide H."""
    from transformers import GPT2Config, GPT2Model

    special = {key: min(50256, constants["vocabulary"] - 1) for key in ("bos_token_id", "eos_token_id")}
    return GPT2Model(GPT2Config(**_NAMES.options(architecture, constants), **special))
