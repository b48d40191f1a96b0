"""Vision transformers (ViT, DeiT; pre-norm): closed-form sizes and operations, untrained networks, anatomy.

An architecture is D layers, A attention heads, hidden size H, intermediate size I. The constants are `image` and
`patch` (sides of the square image and its patches, in pixels) and `channels`. A further one, `distillation`, is 1 where
a second token follows the class token, as in DeiT. There is no pooler or head.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.families.anatomy import Anatomy, Branch, axes_of
from fsp.families.family import Constants, Shape
from fsp.families.transformer import Names, attention, check_type, integers, layer_parameters, norm, sizes_of

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

PARAMETERS = ("D", "A", "H", "I")
CONSTANTS = ("image", "patch", "channels")
_CONFIG_NAMES = {"D": "num_hidden_layers", "A": "num_attention_heads", "H": "hidden_size", "I": "intermediate_size"}
MODEL_TYPES = ("vit", "deit")
_READERS = ("attention.q_proj", "attention.k_proj", "attention.v_proj")
_TOKENS = ("cls_token", "distillation_token", "mask_token", "position_embeddings")
_CLASSIFIERS = ("classifier", "cls_classifier", "distillation_classifier")
anatomy = Anatomy(
    "layers",
    {
        **{f"embeddings.{name}": (None, None, "H") for name in _TOKENS},
        **axes_of({"embeddings.patch_embeddings.projection": ("H", None, None, None)}),
        **axes_of(
            {
                **dict.fromkeys(_READERS, ("A", "H")),
                "attention.o_proj": ("H", "A"),
                "layernorm_before": ("H",),
                "layernorm_after": ("H",),
                "mlp.fc1": ("I", "H"),
                "mlp.fc2": ("H", "I"),
            },
            "layers.*.",
        ),
        **axes_of({"layernorm": ("H",), "pooler.dense": ("H", "H")}),
    },
    (
        Branch("layernorm_before", _READERS, "attention.o_proj", "A"),
        Branch("layernorm_after", ("mlp.fc1",), "mlp.fc2", "I"),
    ),
    last="layernorm",
    head={f"{name}.weight": (None, "H") for name in _CLASSIFIERS},
    head_reads=("pooler.dense", *_CLASSIFIERS),
    reshapes_heads=True,
)


def _check(config: "PretrainedConfig") -> None:
    check_type(config, "vit", MODEL_TYPES)
    if not config.qkv_bias or type(config.image_size) is not int or type(config.patch_size) is not int:
        raise InputError("family vit takes square images and patches, and attention with biases; this ViT differs")


_NAMES = Names(
    _CONFIG_NAMES,
    {"image": "image_size", "patch": "patch_size", "channels": "num_channels"},
    _check,
    ("pooler_output_size",),
    lambda config: {"distillation": int(config.model_type == "deit")},
)
architecture_of, constants_of, resized = _NAMES.architecture_of, _NAMES.constants_of, _NAMES.resized


def parameters(shape: Shape, constants: Constants) -> dict[str, NDArray[np.int64]]:
    """Return the exact number of weights: `embedding_parameters`, `encoder_parameters` and their sum `parameters`.

    Patch projection, further tokens and positions are embeddings; the final layer norm counts towards the encoder.
    A does not appear: heads partition H.

    Args:
        shape: D, A, H, I as integers or arrays of one length n.
        constants: see `CONSTANTS`.

    Example:
        >>> base = parameters(dict(D=12, A=12, H=768, I=3072), dict(image=224, patch=16, channels=3))
        >>> int(base["parameters"])
        85798656
    """
    depth, hidden, inner = integers(shape, "DHI")
    embedding = hidden * (_pixels(constants) + 1 + _tokens(constants) - _patches(constants) + _tokens(constants))
    encoder = depth * layer_parameters(hidden, inner) + 2 * hidden
    return sizes_of(embedding, encoder)


def operations(shape: Shape, constants: Constants, *, batch: int = 1, length: int = 128) -> NDArray[np.int64]:
    """Return additions + multiplications + other operations of one forward pass over a batch of images.

    Counted as in `fsp.families.bert.operations`. Projecting the patches is a matrix product; adding positions takes
    1 per value.

    Args:
        shape: D, A, H, I as integers or arrays of one length n.
        constants: see `CONSTANTS`; they fix the number of tokens: one per patch, the class token and, in a DeiT, the
            distillation token.
        batch: number of images.
        length: not used by this family.

    Example:
        >>> int(operations(dict(D=12, A=12, H=768, I=3072), dict(image=224, patch=16, channels=3)))
        35218770730
    """
    depth, heads, hidden, inner = integers(shape, "DAHI")
    tokens = _tokens(constants)
    embedding = 2 * _patches(constants) * _pixels(constants) * hidden + tokens * hidden
    projections = 2 * tokens * 4 * hidden * hidden
    feed_forward = 2 * tokens * 2 * hidden * inner + 5 * tokens * inner
    residual = 2 * tokens * hidden
    layer = projections + attention(tokens, heads, hidden) + feed_forward + residual + 2 * norm(tokens, hidden)
    return batch * (embedding + depth * layer + norm(tokens, hidden))


def inputs(constants: Constants, *, batch: int, length: int) -> "dict[str, torch.Tensor]":
    """Return images, `batch x channels x image x image`, as keyword arguments of a forward pass."""
    import torch

    return {"pixel_values": torch.zeros(batch, constants["channels"], constants["image"], constants["image"])}


def build(architecture: Mapping[str, int], constants: Constants) -> "PreTrainedModel":
    """Return an untrained network of that shape, without pooler or head; with `distillation` a DeiT.

    Raises:
        InputError: A does not divide H, or the patches do not tile the image.
    """
    from transformers import DeiTConfig, DeiTModel, ViTConfig, ViTModel

    options = _NAMES.options(architecture, constants)
    if constants["image"] % constants["patch"]:
        raise InputError(f"patches of {constants['patch']} pixels do not tile an image of {constants['image']}")
    if constants.get("distillation"):
        return DeiTModel(DeiTConfig(**options), add_pooling_layer=False)
    return ViTModel(ViTConfig(**options), add_pooling_layer=False)


def _patches(constants: Constants) -> int:
    return (constants["image"] // constants["patch"]) ** 2


def _tokens(constants: Constants) -> int:
    """Return the number of tokens: one per patch, and those of the whole image."""
    return _patches(constants) + 1 + constants.get("distillation", 0)


def _pixels(constants: Constants) -> int:
    """Return the number of values in one patch."""
    return constants["channels"] * constants["patch"] ** 2
