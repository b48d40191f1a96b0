"""One interface to the language models of all supported types, with the parts that distillation needs.

A language model here is C(B(A(x))) with a vocabulary head: a body that returns token states, a transform of them and
a vocabulary layer. The head is separate so that it can be applied to chosen positions only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from fsp.base.errors import InputError
from fsp.distillation.models.identity import fingerprint
from fsp.distillation.models.loading import check_sees_both_sides, longest_input, open_model
from fsp.families.architecture import Architecture

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class _Kind:
    """The parts of a model type.

    Attributes:
        sizes: names of D, A, H, I in the configuration.
        transform: the part of the head before the vocabulary layer.
        projections: modules of the last layer that return queries, keys and values, or one that returns all three
            concatenated.
        causal: whether the model is a decoder.
    """

    sizes: tuple[str, str, str, str]
    transform: Callable[[Any, Tensor], Tensor]
    projections: Callable[[Any], list[nn.Module]]
    causal: bool = False


def _bert_projections(body: Any) -> list[nn.Module]:
    attention = body.encoder.layer[-1].attention.self
    return [attention.query, attention.key, attention.value]


def _roberta_transform(model: Any, states: Tensor) -> Tensor:
    head = model.lm_head
    return head.layer_norm(nn.functional.gelu(head.dense(states)))


def _distilbert_transform(model: Any, states: Tensor) -> Tensor:
    return model.vocab_layer_norm(model.activation(model.vocab_transform(states)))


def _distilbert_projections(body: Any) -> list[nn.Module]:
    attention = body.transformer.layer[-1].attention
    return [attention.q_lin, attention.k_lin, attention.v_lin]


_STANDARD = ("num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size")
_KINDS = {
    "bert": _Kind(_STANDARD, lambda model, states: model.cls.predictions.transform(states), _bert_projections),
    "roberta": _Kind(_STANDARD, _roberta_transform, _bert_projections),
    "distilbert": _Kind(("n_layers", "n_heads", "dim", "hidden_dim"), _distilbert_transform, _distilbert_projections),
    "electra": _Kind(_STANDARD, lambda model, states: model.generator_predictions(states), _bert_projections),
    "modernbert": _Kind(_STANDARD, lambda model, states: model.head(states), lambda body: [body.layers[-1].attn.Wqkv]),
    "gpt2": _Kind(
        ("n_layer", "n_head", "n_embd", "n_inner"),
        lambda model, states: states,
        lambda body: [body.h[-1].attn.c_attn],
        causal=True,
    ),
}


@dataclass(frozen=True)
class LanguageModel:
    """A network of a supported type, with or without its vocabulary head.

    Attributes:
        network: the network.

    Example:
        >>> import torch
        >>> from transformers import BertConfig, BertForMaskedLM
        >>> sizes = dict(num_hidden_layers=1, num_attention_heads=2, hidden_size=8, intermediate_size=8, vocab_size=50)
        >>> model = LanguageModel(BertForMaskedLM(BertConfig(**sizes)))
        >>> model.architecture, model.has_head, model.transform(torch.ones(3, 8)).shape
        (Architecture(D=1, A=2, H=8, I=8), True, torch.Size([3, 8]))
    """

    network: "PreTrainedModel"

    @property
    def config(self) -> "PretrainedConfig":
        """The network's configuration."""
        return self.network.config

    @property
    def causal(self) -> bool:
        """Whether tokens see only earlier tokens, and the next token is predicted."""
        return _KINDS[self.config.model_type].causal

    @property
    def architecture(self) -> Architecture:
        """The network's shape."""
        return architecture_of(self.config)

    @property
    def body(self) -> Any:
        """The network without its vocabulary head."""
        return self.network.base_model

    @property
    def has_head(self) -> bool:
        """Whether there is a vocabulary head."""
        return self.network.base_model is not self.network

    @property
    def vocabulary_layer(self) -> nn.Linear:
        """The last layer, from the transformed states to logits."""
        layer = self.network.get_output_embeddings()
        assert isinstance(layer, nn.Linear)
        return layer

    def transform(self, states: Tensor) -> Tensor:
        """Return the inputs of the vocabulary layer, `n x E`, for token states `n x H`."""
        return _KINDS[self.config.model_type].transform(self.network, states)

    def logits(self, states: Tensor) -> Tensor:
        """Return logits `n x V` of token states `n x H`, all at once, so for few states only."""
        return self.vocabulary_layer(self.transform(states))

    def forward(self, tokens: Tensor, *, relations: bool = False) -> tuple[Tensor, list[Tensor]]:
        """Return the last token states, `n x length x H`, and on request the last queries, keys and values.

        Args:
            tokens: ids, `n x length`, without padding.
            relations: whether to return queries, keys and values, `n x length x H` each, before any rotation.
        """
        seen: list[Tensor] = []
        modules = _KINDS[self.config.model_type].projections(self.body) if relations else []
        hooks = [module.register_forward_hook(lambda _, inputs, output: seen.append(output)) for module in modules]
        try:
            states = self.body(input_ids=tokens).last_hidden_state
        finally:
            for hook in hooks:
                hook.remove()
        return states, list(seen[0].chunk(3, dim=-1)) if len(seen) == 1 else seen


def architecture_of(config: "PretrainedConfig") -> Architecture:
    """Return the architecture of a configuration. Raises InputError if its model type is not supported."""
    if config.model_type not in _KINDS:
        raise InputError(f"model type {config.model_type!r} is not supported; choose from {', '.join(_KINDS)}")
    values = [getattr(config, name) for name in _KINDS[config.model_type].sizes]
    return Architecture(D=values[0], A=values[1], H=values[2], I=values[3] or 4 * values[2])  # as GPT-2 does


def size_names(model_type: str) -> dict[str, str]:
    """Return the names of D, A, H and I in configurations of a model type."""
    return dict(zip("DAHI", _KINDS[model_type].sizes, strict=True))


@dataclass(frozen=True)
class Pretrained:
    """A loaded language model.

    Attributes:
        model: the network.
        tokenizer: its tokenizer.
        name: its name in messages.
        fingerprint: digest of everything that changes what it computes.
    """

    model: LanguageModel
    tokenizer: "PreTrainedTokenizerBase"
    name: str
    fingerprint: str


def load_language_model(source: str | Path, *, what: str = "teacher") -> Pretrained:
    """Load a language model in Hugging Face format, with its vocabulary head if it has a trained one.

    Args:
        source: a directory or hub name.
        what: its role in messages.

    Raises:
        InputError: its type is not supported, its tokenizer has no fast version, or
            `fsp.distillation.models.loading` refuses it.
    """
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

    found = open_model(source, what=what)
    with found.blamed():
        architecture_of(found.config)
        if not (causal := _KINDS[found.config.model_type].causal):
            check_sees_both_sides(found.config)
    network, missing = found.network(AutoModelForCausalLM if causal else AutoModelForMaskedLM)
    if missing:
        network, _ = found.network(AutoModel)
    tokenizer = found.tokenizer()
    with found.blamed():
        if getattr(tokenizer, "backend_tokenizer", None) is None:
            raise InputError("its tokenizer has no fast version (tokenizer.json)")
    if getattr(network, "pooler", None) is not None:
        network.pooler = None  # no loss reads it
    network.requires_grad_(False)
    known = fingerprint(network, config=network.config, tokenizer=tokenizer)
    return Pretrained(LanguageModel(network), tokenizer, found.name, known)


def check_vocabularies(student: Pretrained, teacher: Pretrained, logits: bool) -> None:
    """Raise InputError if two models cannot be compared token by token.

    Args:
        student: the model whose tokenizer is used.
        teacher: the model that reads the same token ids.
        logits: whether a loss compares logits.
    """
    own, wanted = student.tokenizer.get_vocab(), teacher.tokenizer.get_vocab()
    if own != wanted:
        differing = sum(wanted.get(token) != number for token, number in own.items())
        raise InputError(
            f"the tokenizers differ: {differing:,} of the {len(own):,} tokens of student {student.name} differ in "
            f"teacher {teacher.name} ({len(wanted):,} tokens); give a teacher with the student's tokenizer, "
            "or --no-teacher"
        )
    sizes = student.model.config.vocab_size, teacher.model.config.vocab_size
    if logits and sizes[0] != sizes[1]:
        raise InputError(
            f"student {student.name} has {sizes[0]:,} logits and teacher {teacher.name} {sizes[1]:,}; "
            "use --kl 0 (hidden-state losses still work) or a model with as many rows"
        )


def check_length(model: LanguageModel, length: int) -> None:
    """Raise InputError if a model does not take blocks of the given length."""
    longest = longest_input(model.config)
    if not 8 <= length <= longest:
        raise InputError(f"blocks of {length} tokens do not suit the model; choose --length from 8 to {longest}")
