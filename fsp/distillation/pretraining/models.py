"""One interface to the language models of all families, with the parts that distillation needs.

A language model here is C(B(A(x))) with a vocabulary head: a body that returns token states, a transform of them and
a vocabulary layer. The head is separate so that it can be applied to chosen positions only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from fsp.base.errors import InputError
from fsp.distillation.models.identity import fingerprint
from fsp.distillation.models.loading import check_sees_both_sides, longest_input, open_model
from fsp.distillation.networks import body_of, vocabulary_layer
from fsp.families.anatomy import Anatomy
from fsp.families.architecture import Architecture
from fsp.families.family import Family, family_of_type

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class LanguageModel:
    """A network of a family with an anatomy, with or without its vocabulary head.

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

    @cached_property
    def family(self) -> Family:
        """The network's family."""
        return family_of_type(self.config.model_type)

    @property
    def anatomy(self) -> Anatomy:
        """The parts of the network."""
        assert self.family.anatomy is not None
        return self.family.anatomy

    @property
    def causal(self) -> bool:
        """Whether tokens see only earlier tokens, and the next token is predicted."""
        return self.anatomy.causal

    @property
    def architecture(self) -> Architecture:
        """The network's shape."""
        return self.family.architecture_of(self.config)

    @property
    def body(self) -> Any:
        """The network without its vocabulary head."""
        return body_of(self.network)

    @property
    def has_head(self) -> bool:
        """Whether there is a vocabulary head."""
        return vocabulary_layer(self.network) is not None

    @property
    def vocabulary_layer(self) -> nn.Linear:
        """The last layer, from the transformed states to logits."""
        layer = vocabulary_layer(self.network)
        assert layer is not None
        return layer

    def attention_widths(self, shape: Mapping[str, int]) -> dict[str, int]:
        """Return the widths of queries (`A`) and, if these share keys and values (`K`), of those, for a shape."""
        size = self.family.constants_of(self.config).get("head_size", shape["H"] // shape["A"])
        return {unit: shape[unit] * size for unit in ("A", *self.anatomy.groups.values())}

    def transform(self, states: Tensor) -> Tensor:
        """Return the inputs of the vocabulary layer, `n x E`, for token states `n x H`."""
        transform = self.anatomy.transform
        return states if transform is None else transform(self.network, states)

    def logits(self, states: Tensor) -> Tensor:
        """Return logits `n x V` of token states `n x H`, all at once, so for few states only."""
        return self.vocabulary_layer(self.transform(states))

    def forward(self, tokens: Tensor, *, relations: bool = False) -> tuple[Tensor, list[Tensor]]:
        """Return the last token states, `n x length x H`, and on request the last queries, keys and values.

        Args:
            tokens: ids, `n x length`, without padding.
            relations: whether to return queries, keys and values as the last layer's projections return them, before
                any norm or rotation, `n x length x width` each; see `attention_widths`.
        """
        seen: list[Tensor] = []
        readers = self.anatomy.branches[0].reads if relations else ()
        last = f"{self.anatomy.layers}.{self.architecture['D'] - 1}"
        hooks = [
            self.body.get_submodule(f"{last}.{reader}").register_forward_hook(lambda _, given, made: seen.append(made))
            for reader in readers
        ]
        try:
            states = self.body(input_ids=tokens).last_hidden_state
        finally:
            for hook in hooks:
                hook.remove()
        return states, list(seen[0].chunk(3, dim=-1)) if len(readers) == 1 else seen


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
        InputError: it is no language model of a known family, its tokenizer has no fast version, or
            `fsp.distillation.models.loading` refuses it.
    """
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

    found = open_model(source, what=what)
    with found.blamed():
        family = family_of_type(found.config.model_type)
        if family.anatomy is None or getattr(found.config, "vocab_size", None) is None:
            raise InputError(
                f"model type {found.config.model_type!r} is no language model of a family with an anatomy "
                "(docs/own-space.md); give a model that reads text"
            )
        if not family.anatomy.causal:
            check_sees_both_sides(found.config)
        family.architecture_of(found.config)
    network, missing = found.network(AutoModelForCausalLM if family.anatomy.causal else AutoModelForMaskedLM)
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
