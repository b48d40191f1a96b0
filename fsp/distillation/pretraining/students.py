"""The student before its first step: cut out of the teacher, random, or loaded."""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fsp.base.errors import InputError
from fsp.distillation.pretraining.models import LanguageModel, size_names
from fsp.families.architecture import Architecture
from fsp.families.bert.heads import check_cuttable
from fsp.families.cutting import check_fits, cut_weights, spread

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_STD = 0.02  # standard deviation of random weights, as in Bort
_HEALED = ("bert", "roberta")


def student_config(
    config: "PretrainedConfig", shape: Mapping[str, int], *, dropout: float | None = None
) -> "PretrainedConfig":
    """Return a teacher's configuration with another shape.

    Args:
        config: configuration of the teacher.
        shape: D, A, H, I.
        dropout: dropout of hidden states and attention weights; None for the teacher's.
    """
    own = copy.deepcopy(config)
    for name, key in size_names(config.model_type).items():
        setattr(own, key, shape[name])
    if config.model_type == "electra" and config.embedding_size == config.hidden_size:
        own.embedding_size = shape["H"]
    if config.model_type == "modernbert":
        own.layer_types = [config.layer_types[k % len(config.layer_types)] for k in range(shape["D"])]
    if dropout is not None:
        for key in vars(own):
            if key.endswith(("dropout", "dropout_prob", "_pdrop")) and isinstance(getattr(own, key), int | float):
                setattr(own, key, dropout)
    return own


def random_student(config: "PretrainedConfig", *, head: bool, causal: bool, seed: int) -> LanguageModel:
    """Return an untrained model: matrices from N(0, 0.02), norms one, biases zero.

    Args:
        config: its configuration.
        head: whether it has a vocabulary head.
        causal: whether the head predicts the next token.
        seed: seed of the weights.
    """
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

    config = copy.deepcopy(config)
    config.initializer_range = _STD
    kind = (AutoModelForCausalLM if causal else AutoModelForMaskedLM) if head else AutoModel
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = kind.from_config(config, dtype=torch.float32)
    if getattr(network, "pooler", None) is not None:
        network.pooler = None
    return LanguageModel(network)


def cut_student(
    teacher: LanguageModel, config: "PretrainedConfig", tokens: Tensor, *, head: bool, seed: int
) -> LanguageModel:
    """Return a model made of the most important parts of the teacher, including its vocabulary head.

    BERT and RoBERTa bodies are ranked and healed on text (see `fsp.families.bert.cutter`), others are cut by the norms
    of their weights.

    Args:
        teacher: the model to cut.
        config: configuration of the student, see `student_config`.
        tokens: ids of real text, `n x length`, for ranking and healing.
        head: whether the student has a vocabulary head; it is random if the teacher has none.
        seed: seed of random weights.

    Raises:
        InputError: the shape is larger than the teacher, or has another head size and is not BERT or RoBERTa.
    """
    student = random_student(config, head=head, causal=teacher.causal, seed=seed)
    shape, full = student.architecture, teacher.architecture
    try:
        (check_cuttable if teacher.config.model_type in _HEALED else check_fits)(full, shape)
    except InputError as error:
        raise InputError(f"{error}, or start from random weights with --init random") from None
    if teacher.config.model_type in _HEALED:
        from fsp.families.bert.cutter import Cutter

        body = Cutter(teacher.body, tokens).cut(shape)
        student.body.load_state_dict(body.state_dict())
    elif teacher.config.model_type in _AXES:
        _cut_by_norms(teacher, student, full, shape)
    else:
        from fsp.families.family import load_family

        body = load_family(teacher.config.model_type).cut(teacher.body, shape)
        student.config.layer_types = getattr(body.config, "layer_types", None)
        student = random_student(student.config, head=head, causal=teacher.causal, seed=seed)
        student.body.load_state_dict(body.state_dict())
    if head and teacher.has_head:
        _copy_head(teacher, student)
    return student


def _copy_head(teacher: LanguageModel, student: LanguageModel) -> None:
    """Copy the head's weights for the hidden coordinates that the student kept."""
    if teacher.config.model_type in _AXES:
        return  # the head was cut with the body
    keep = _kept(student.network.get_input_embeddings().weight, teacher.network.get_input_embeddings().weight)
    full = teacher.architecture["H"]
    inside = f"{student.network.base_model_prefix}."
    trained = teacher.network.state_dict()
    with torch.no_grad():
        for name, weight in student.network.named_parameters():
            if not name.startswith(inside):
                source = trained[name]
                for axis in range(source.ndim):
                    if source.shape[axis] == full and weight.shape[axis] != source.shape[axis]:
                        source = source.index_select(axis, keep)
                weight.copy_(source)


def _kept(small: Tensor, full: Tensor) -> Tensor:
    """Return the columns of the teacher's embeddings, `V x H`, that the student, `V x h`, kept."""
    rows = min(256, len(full))
    same = (small[:rows].T[:, None] == full[:rows].T[None]).all(dim=-1)
    if not same.any(dim=1).all():
        raise ValueError("the cut changed the embeddings; the head's hidden coordinates are unknown")
    return same.int().argmax(dim=1)


def _cut_by_norms(teacher: LanguageModel, student: LanguageModel, full: Architecture, shape: Architecture) -> None:
    axes: dict[str, Any] = _AXES[teacher.config.model_type](teacher.config)
    layers = spread(full["D"], shape["D"])
    if teacher.has_head and student.has_head:
        cut_weights(teacher.network, student.network, axes, full, shape, layers)
    else:
        prefix = f"{teacher.network.base_model_prefix}." if teacher.has_head else _prefix(axes)
        inner = {name.removeprefix(prefix): value for name, value in axes.items() if name.startswith(prefix)}
        cut_weights(teacher.body, student.body, inner, full, shape, layers)


def _prefix(axes: Mapping[str, Any]) -> str:
    return next(iter(axes)).partition(".")[0] + "."


def _pairs(prefix: str, modules: Mapping[str, tuple[Any, Any]]) -> dict[str, tuple[Any, ...]]:
    """Return the axes of weights and biases for the axes of modules: (outputs, inputs)."""
    found: dict[str, tuple[Any, ...]] = {}
    for name, (outputs, inputs) in modules.items():
        found[f"{prefix}{name}.weight"] = (outputs,) if inputs == "norm" else (outputs, inputs)
        if outputs is not None:
            found[f"{prefix}{name}.bias"] = (outputs,)
    return found


def _distilbert_axes(config: "PretrainedConfig") -> dict[str, tuple[Any, ...]]:
    layer = {
        **{f"attention.{name}_lin": ("A", "H") for name in "qkv"},
        "attention.out_lin": ("H", "A"),
        "sa_layer_norm": ("H", "norm"),
        "ffn.lin1": ("I", "H"),
        "ffn.lin2": ("H", "I"),
        "output_layer_norm": ("H", "norm"),
    }
    return {
        **{f"distilbert.embeddings.{name}_embeddings.weight": (None, "H") for name in ("word", "position")},
        **_pairs("distilbert.", {"embeddings.LayerNorm": ("H", "norm")}),
        **_pairs("distilbert.transformer.layer.*.", layer),
        **_pairs("", {"vocab_transform": ("H", "H"), "vocab_layer_norm": ("H", "norm")}),
        "vocab_projector.weight": (None, "H"),
    }


def _electra_axes(config: "PretrainedConfig") -> dict[str, tuple[Any, ...]]:
    layer = {
        **{f"attention.self.{name}": ("A", "H") for name in ("query", "key", "value")},
        "attention.output.dense": ("H", "A"),
        "attention.output.LayerNorm": ("H", "norm"),
        "intermediate.dense": ("I", "H"),
        "output.dense": ("H", "I"),
        "output.LayerNorm": ("H", "norm"),
    }
    axes = _pairs("electra.encoder.layer.*.", layer)
    if config.embedding_size != config.hidden_size:
        axes |= _pairs("electra.", {"embeddings_project": ("H", None)})
        return axes | {"generator_predictions.dense.weight": (None, "H")}
    tables = ("word", "position", "token_type")
    axes |= {f"electra.embeddings.{name}_embeddings.weight": (None, "H") for name in tables}
    axes |= _pairs("electra.", {"embeddings.LayerNorm": ("H", "norm")})
    axes |= _pairs("generator_predictions.", {"dense": ("H", "H"), "LayerNorm": ("H", "norm")})
    return axes | {"generator_lm_head.weight": (None, "H")}


_AXES = {"distilbert": _distilbert_axes, "electra": _electra_axes}
