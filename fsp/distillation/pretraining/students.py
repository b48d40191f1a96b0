"""The student before its first step: cut out of the teacher, random, or loaded."""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from accelerate import init_empty_weights
from torch import Tensor

from fsp.base.errors import InputError
from fsp.distillation.cutting import Cutter
from fsp.distillation.pretraining.models import LanguageModel
from fsp.families.transformer import check_heads

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_STD = 0.02  # standard deviation of random weights, as in Bort


def check_shape(teacher: LanguageModel, shape: Mapping[str, int], *, cut: bool) -> None:
    """Raise InputError if there is no student of a shape.

    Args:
        teacher: the model whose settings the student takes.
        shape: the architectural parameters of the teacher's family.
        cut: whether the student is cut out of the teacher.
    """
    full = teacher.architecture
    if set(shape) != set(full):
        given = " ".join(f"{name}={value}" for name, value in shape.items())
        raise InputError(f"{given} is no shape of a {teacher.config.model_type}; give {', '.join(full)}")
    check_heads(shape)
    if cut:
        try:
            teacher.anatomy.check(full, shape)
        except InputError as error:
            raise InputError(f"{error}, or start from random weights with --init random") from None
    teacher.family.architecture_of(_resized(teacher, shape))


def random_student(
    teacher: LanguageModel, shape: Mapping[str, int], *, head: bool, dropout: float | None = None, seed: int
) -> LanguageModel:
    """Return an untrained model like the teacher: matrices from N(0, 0.02), norms one, biases zero.

    Args:
        teacher: the model whose settings it takes.
        shape: its shape, see `check_shape`.
        head: whether it has a vocabulary head.
        dropout: dropout of hidden states and attention weights; None for the teacher's.
        seed: seed of the weights.
    """
    return _untrained(_resized(teacher, shape), causal=teacher.causal, head=head, dropout=dropout, seed=seed)


def cut_student(
    teacher: LanguageModel,
    shape: Mapping[str, int],
    tokens: Tensor,
    *,
    head: bool,
    dropout: float | None = None,
    seed: int,
) -> LanguageModel:
    """Return a model made of the most important parts of the teacher, healed, including its vocabulary head.

    Args:
        teacher: the model to cut.
        shape: its shape, see `check_shape`.
        tokens: ids of real text, `n x length`, for ranking and healing.
        head: whether the student has a vocabulary head; it is random if the teacher has none.
        dropout: dropout of hidden states and attention weights; None for the teacher's.
        seed: seed of random weights.
    """
    whole = head and teacher.has_head
    trained = teacher.network if whole else teacher.body
    cut = Cutter(trained, teacher.family, {"input_ids": tokens}).cut(shape).network
    student = _untrained(cut.config, causal=teacher.causal, head=head, dropout=dropout, seed=seed)
    (student.network if whole else student.body).load_state_dict(cut.state_dict())
    return student


def _resized(teacher: LanguageModel, shape: Mapping[str, int]) -> "PretrainedConfig":
    """Return the teacher's configuration with another shape; kinds of layers recur in the teacher's order."""
    layers = [k % teacher.architecture["D"] for k in range(shape["D"])]
    with init_empty_weights():
        config: PretrainedConfig = teacher.family.resized(teacher.network, shape, layers).config
    return config


def _untrained(
    config: "PretrainedConfig", *, causal: bool, head: bool, dropout: float | None, seed: int
) -> LanguageModel:
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

    own = copy.deepcopy(config)
    own.initializer_range = _STD
    for key, value in vars(own).items():
        if dropout is not None and key.endswith(("dropout", "dropout_prob", "_pdrop")) and value is not None:
            setattr(own, key, dropout)
    kind = (AutoModelForCausalLM if causal else AutoModelForMaskedLM) if head else AutoModel
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = kind.from_config(own, dtype=torch.float32)
    if getattr(network, "pooler", None) is not None:
        network.pooler = None
    return LanguageModel(network)
