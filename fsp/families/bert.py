"""BERT-like encoders (BERT, RoBERTa): closed-form sizes and operations, untrained networks, anatomy.

An architecture is D layers, A attention heads, hidden size H, intermediate size I. The constants are
`vocabulary`, `positions` and `token_types` (sizes of the three embedding tables).
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.families.anatomy import Anatomy, Branch, axes_of
from fsp.families.family import Constants, Shape
from fsp.families.others import other_way
from fsp.families.transformer import Names, attention, integers, layer_parameters, norm, sizes_of, token_inputs

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel

PARAMETERS = ("D", "A", "H", "I")
CONSTANTS = ("vocabulary", "positions", "token_types")
MODEL_TYPES = ("bert", "roberta")
CONFIG_NAMES = {"D": "num_hidden_layers", "A": "num_attention_heads", "H": "hidden_size", "I": "intermediate_size"}
_CONSTANT_NAMES = {
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
    "token_types": "type_vocab_size",
}
_READERS = ("attention.self.query", "attention.self.key", "attention.self.value")


def _transform(network: Any, states: "Tensor") -> "Tensor":
    if hasattr(network, "lm_head"):  # RoBERTa
        from torch.nn.functional import gelu

        return network.lm_head.layer_norm(gelu(network.lm_head.dense(states)))
    if hasattr(network, "generator_predictions"):  # ELECTRA
        return network.generator_predictions(states)
    return network.cls.predictions.transform(states)


anatomy = Anatomy(
    "encoder.layer",
    {
        **{f"embeddings.{name}_embeddings.weight": (None, "H") for name in ("word", "position", "token_type")},
        **axes_of({"embeddings.LayerNorm": ("H",), "pooler.dense": ("H", "H")}),
        **axes_of(
            {
                **dict.fromkeys(_READERS, ("A", "H")),
                "attention.output.dense": ("H", "A"),
                "attention.output.LayerNorm": ("H",),
                "intermediate.dense": ("I", "H"),
                "output.dense": ("H", "I"),
                "output.LayerNorm": ("H",),
            },
            "encoder.layer.*.",
        ),
    },
    (
        Branch("attention.self", _READERS, "attention.output.dense", "A", "attention.output.LayerNorm"),
        Branch("intermediate.dense", ("intermediate.dense",), "output.dense", "I", "output.LayerNorm"),
    ),
    head={
        **axes_of({f"{name}.dense": ("H", "H") for name in ("cls.predictions.transform", "lm_head", "classifier")}),
        **axes_of({"cls.predictions.transform.LayerNorm": ("H",), "lm_head.layer_norm": ("H",)}),
        **{
            f"{name}.weight": (None, "H")
            for name in (
                "cls.predictions.decoder",
                "lm_head.decoder",
                "classifier",
                "classifier.out_proj",
                "cls.seq_relationship",
            )
        },
    },
    head_reads=("cls.predictions.transform.dense", "lm_head.dense", "bert.pooler.dense", "classifier.dense"),
    transform=_transform,
    reshapes_heads=True,
)


def _check(config: "PretrainedConfig") -> None:
    kind = getattr(config, "model_type", None)
    if kind not in MODEL_TYPES:
        raise InputError(f"model type {kind!r} is not supported by family bert: {other_way(str(kind))}")


_NAMES = Names(CONFIG_NAMES, _CONSTANT_NAMES, _check)
architecture_of, constants_of, resized, inputs = (
    _NAMES.architecture_of,
    _NAMES.constants_of,
    _NAMES.resized,
    token_inputs,
)


def parameters(shape: Shape, constants: Constants) -> dict[str, NDArray[np.int64]]:
    """Return the exact number of weights: `embedding_parameters`, `encoder_parameters` and their sum `parameters`.

    Pooler and heads are not counted. A does not appear: heads partition H.

    Args:
        shape: D, A, H, I as integers or arrays of one length n.
        constants: sizes of the embedding tables, see `CONSTANTS`.

    Example:
        >>> bort = parameters(dict(D=4, A=8, H=1024, I=768), dict(vocabulary=50265, positions=512, token_types=1))
        >>> int(bort["encoder_parameters"]), int(bort["embedding_parameters"]), int(bort["parameters"])
        (23108608, 51998720, 75107328)
    """
    depth, hidden, inner = integers(shape, "DHI")
    rows = sum(constants[name] for name in CONSTANTS)
    embedding = hidden * rows + 2 * hidden
    encoder = depth * layer_parameters(hidden, inner)
    return sizes_of(embedding, encoder)


def operations(shape: Shape, constants: Constants, *, batch: int = 1, length: int = 128) -> NDArray[np.int64]:
    """Return additions + multiplications + other operations of one forward pass over `batch x length` tokens.

    This is the inference-speed surrogate of arXiv 2010.08512: every scalar operation counts as one.
    A product of an n-vector with an m x n matrix counts nm multiplications and m(n - 1) additions, its bias m more;
    softmax over s values 5s - 2 (s - 1 comparisons, s subtractions, s exponentials, s - 1 additions, s divisions);
    layer normalisation over h values 7h + 2; GELU 5 per value; table look-ups nothing.

    Args:
        shape: D, A, H, I as integers or arrays of one length n.
        constants: not used by this family.
        batch: number of sequences.
        length: tokens per sequence.
    """
    depth, heads, hidden, inner = integers(shape, "DAHI")
    projections = 2 * length * 4 * hidden * hidden
    feed_forward = 2 * length * 2 * hidden * inner + 5 * length * inner
    residual = 2 * length * hidden
    layer = projections + attention(length, heads, hidden) + feed_forward + residual + 2 * norm(length, hidden)
    embedding = 2 * length * hidden + norm(length, hidden)
    return batch * (embedding + depth * layer)


def config_for(architecture: Shape, constants: Constants) -> "PretrainedConfig":
    """Return a BERT configuration of that shape. Raises InputError if A does not divide H."""
    from transformers import BertConfig

    return BertConfig(**_NAMES.options(architecture, constants))


def build(architecture: Shape, constants: Constants) -> "PreTrainedModel":
    """Return an untrained network of that shape, without pooler or head."""
    from transformers import BertModel

    return BertModel(config_for(architecture, constants), add_pooling_layer=False)
