"""BERT-like encoders (BERT, RoBERTa, XLM-R, CamemBERT, ELECTRA): closed-form sizes and operations, networks, anatomy.

An architecture is D layers, A attention heads, hidden size H, intermediate size I. The constants are
`vocabulary`, `positions` and `token_types` (sizes of the three embedding tables). A further one, `embedding`, is the
width of these tables where it is not H: an ELECTRA projects them to H.
"""

from collections.abc import Sequence
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
CONSTANTS = ("vocabulary", "positions", "token_types")
MODEL_TYPES = ("bert", "roberta", "xlm-roberta", "camembert", "electra")
CONFIG_NAMES = {"D": "num_hidden_layers", "A": "num_attention_heads", "H": "hidden_size", "I": "intermediate_size"}
_CONSTANT_NAMES = {
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
    "token_types": "type_vocab_size",
}
_READERS = ("attention.self.query", "attention.self.key", "attention.self.value")
_HIDDEN = (
    "cls.predictions.transform.dense",
    "lm_head.dense",
    "generator_predictions.dense",
    "discriminator_predictions.dense",
    "classifier.dense",
)
_NORMS = ("cls.predictions.transform.LayerNorm", "lm_head.layer_norm", "generator_predictions.LayerNorm")
_VOCABULARIES = ("cls.predictions.decoder", "lm_head.decoder", "generator_lm_head")
_OUTPUTS = (
    "cls.seq_relationship",
    "classifier",
    "classifier.out_proj",
    "discriminator_predictions.dense_prediction",
    "qa_outputs",
)


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
        **axes_of({"embeddings.LayerNorm": ("H",), "embeddings_project": ("H", None), "pooler.dense": ("H", "H")}),
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
        **axes_of(dict.fromkeys(_HIDDEN, ("H", "H"))),
        **axes_of(dict.fromkeys(_NORMS, ("H",))),
        **{f"{name}.weight": (None, "H") for name in (*_VOCABULARIES, *_OUTPUTS)},
    },
    head_reads=(*_HIDDEN, "pooler.dense", "bert.pooler.dense", "roberta.pooler.dense", *_OUTPUTS),
    norms=_NORMS,
    transform=_transform,
    reshapes_heads=True,
)


def _check(config: "PretrainedConfig") -> None:
    check_type(config, "bert", MODEL_TYPES)
    if config.is_decoder or config.add_cross_attention:
        raise InputError(
            f"a {config.model_type} that is a decoder is not supported by family bert; it takes encoders (if "
            "is_decoder in its config.json is a mistake, put false there)"
        )
    if (positions := getattr(config, "position_embedding_type", None)) not in (None, "absolute"):
        raise InputError(
            f"a {config.model_type} with {positions} positions is not supported by family bert; it takes absolute ones"
        )


def _further(config: "PretrainedConfig") -> dict[str, int]:
    width = getattr(config, "embedding_size", config.hidden_size)
    return {"embedding": width if width != config.hidden_size else 0}


_NAMES = Names(CONFIG_NAMES, _CONSTANT_NAMES, _check, ("embedding_size",), _further)
architecture_of, constants_of, inputs = _NAMES.architecture_of, _NAMES.constants_of, token_inputs


def resized(network: Any, shape: Shape, layers: Sequence[int]) -> "PreTrainedModel":
    """Return an untrained network like a given one, head and other settings included, of another shape.

    Raises:
        InputError: H is the width of the embedding tables, so that the network would not project them as T does.
    """
    if _further(network.config)["embedding"] == shape["H"]:
        raise InputError(
            f"H={shape['H']} is the width of the embeddings, and an ELECTRA of that H does not project them as the "
            f"trained network does; choose another H (in a search space, by the rule 'H != {shape['H']}')"
        )
    return _NAMES.resized(network, shape, layers)


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
    width, projected = _embedding(hidden, constants)
    embedding = width * rows + 2 * width + projected * (width + 1) * hidden
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
        constants: only `embedding` is used.
        batch: number of sequences.
        length: tokens per sequence.
    """
    depth, heads, hidden, inner = integers(shape, "DAHI")
    projections = 2 * length * 4 * hidden * hidden
    feed_forward = 2 * length * 2 * hidden * inner + 5 * length * inner
    residual = 2 * length * hidden
    layer = projections + attention(length, heads, hidden) + feed_forward + residual + 2 * norm(length, hidden)
    width, projected = _embedding(hidden, constants)
    embedding = 2 * length * width + norm(length, width) + projected * 2 * length * width * hidden
    return batch * (embedding + depth * layer)


def config_for(architecture: Shape, constants: Constants) -> "PretrainedConfig":
    """Return a BERT configuration of that shape. Raises InputError if A does not divide H."""
    from transformers import BertConfig

    return BertConfig(**_NAMES.options(architecture, constants))


def build(architecture: Shape, constants: Constants) -> "PreTrainedModel":
    """Return an untrained network of that shape, without pooler or head; with the constant `embedding` an ELECTRA."""
    from transformers import BertModel, ElectraConfig, ElectraModel

    if width := constants.get("embedding"):
        return ElectraModel(ElectraConfig(**_NAMES.options(architecture, constants), embedding_size=width))
    return BertModel(config_for(architecture, constants), add_pooling_layer=False)


def _embedding(hidden: Count, constants: Constants) -> tuple[Count, Count]:
    """Return the width of the embedding tables, and 1 where they are projected to the hidden size, else 0."""
    width = np.full_like(hidden, constants.get("embedding") or 0)
    projected = ((width > 0) & (width != hidden)).astype(np.int64)
    return np.where(width > 0, width, hidden), projected
