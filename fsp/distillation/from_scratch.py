"""The error `mlm`, the paper's literal procedure: train a candidate from scratch on masked language modelling."""

import copy
import math
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fsp.base.errors import Diverged, InputError, check_least
from fsp.base.version import __version__
from fsp.distillation.examples import digest_of
from fsp.distillation.fitting import fit
from fsp.distillation.masking import Masking
from fsp.distillation.plateau import Plateau
from fsp.distillation.tasks.task import LEAST_HELD_OUT_TOKENS
from fsp.distillation.text.corpus import Corpus, pack
from fsp.distillation.threads import computing_with
from fsp.families import bert
from fsp.families.architecture import Architecture

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_BATCH = 32  # blocks per forward pass where nothing is trained
_HELD_OUT_MASKS = 0  # seed of the held-out masks, the same for all candidates and seeds


@dataclass(frozen=True)
class OptimiserSettings:
    """One θ of Θ.

    Attributes:
        learning_rate: the peak.
        batch: blocks per step.
        weight_decay: applied to matrices only.
        warmup: fraction of the steps.
    """

    learning_rate: float
    batch: int = 16
    weight_decay: float = 0.01
    warmup: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"a learning rate must be a positive number, not {self.learning_rate}")
        check_least(vars(self), batch=1)


@dataclass(frozen=True)
class MaskedLanguageModellingSettings:
    """What the error depends on besides the architecture and the seed.

    Attributes:
        steps: optimiser steps s for every θ.
        hyperparameters: Θ.
    """

    steps: int = 100
    hyperparameters: tuple[OptimiserSettings, ...] = (OptimiserSettings(1e-3), OptimiserSettings(3e-3))

    def __post_init__(self) -> None:
        check_least(vars(self), steps=1)
        if not self.hyperparameters:
            raise InputError("the set of hyperparameters is empty; give at least one learning rate")


@dataclass(frozen=True)
class MaskedText:
    """Text to train on and to measure on.

    Attributes:
        train: blocks of token ids, `n x length`.
        validation: held-out blocks, `m x length`.
        masking: how the blocks are masked.
    """

    train: NDArray[np.int32]
    validation: NDArray[np.int32]
    masking: Masking

    @classmethod
    def prepare(
        cls, tokenizer: "PreTrainedTokenizerBase", corpus: Corpus, *, length: int = 64, held_out_tokens: int = 16_384
    ) -> "MaskedText":
        """Pack the train part of a corpus, and at most `held_out_tokens` of its validation part, spread evenly over it.

        Raises:
            InputError: the tokenizer lacks a mask, start or end token, or the validation part is too small.
        """
        if tokenizer.cls_token_id is None or tokenizer.sep_token_id is None:
            raise InputError("the tokenizer has no start or end token")
        if length < 8:
            raise InputError(f"a block of {length} tokens is too short; choose 8 or more")
        validation = pack(tokenizer, corpus.validation, length)
        if validation.size < LEAST_HELD_OUT_TOKENS:
            raise corpus.too_small("validation", f"{validation.size:,} tokens", f"{LEAST_HELD_OUT_TOKENS:,}")
        chosen = np.random.default_rng(0).permutation(len(validation))[: max(1, held_out_tokens // length)]
        return cls(pack(tokenizer, corpus.train, length), validation[chosen], Masking.of(tokenizer))

    @cached_property
    def held_out(self) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """The validation blocks as the network sees them, and the positions to predict; the same on every call."""
        return self.masking(self.validation, _HELD_OUT_MASKS)

    def batches(self, size: int, seed: int) -> "Iterator[tuple[Tensor, Tensor, Tensor]]":
        """Yield batches of `size` training blocks indefinitely: masked ids, positions to predict, and their labels.

        Each pass has a new order and new masks, both determined by the seed.
        """
        generator = np.random.default_rng(seed)
        while True:
            masks = int(generator.integers(2**62))
            order = generator.permutation(len(self.train))
            for i in range(0, len(order) - size + 1, size):
                blocks = self.train[order[i : i + size]]
                yield _tensors(blocks, *self.masking(blocks, masks))


def _tensors(
    blocks: NDArray[np.int32], seen: NDArray[np.int32], chosen: NDArray[np.bool_]
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.from_numpy(seen).long(), torch.from_numpy(chosen), torch.from_numpy(blocks[chosen]).long()


class MaskedLanguageModelling:
    """The surrogate error `mlm`: the least held-out cross-entropy over Θ after s steps from random init.

    Call it with an architecture and a seed (for the init, the order of the text and its masks). The value is in nats
    per masked position. This is Algorithm 1 of arXiv 2010.08512 read literally: a candidate of family `bert` is built
    untrained (weights from N(0, 0.02)), and each θ trains it from that same init. The head is BERT's, its decoder tied
    to the word embeddings; logits are computed at masked positions only. Dropout stays off.

    A few hundred steps rarely suffice for a ranking: check the values with `plateau` before using them.

    Args:
        text: to train on and to measure on.
        constants: sizes of the space's embedding tables.
        settings: steps and Θ.
        threads: number of torch threads on each call; None for the current number. Values depend on it.

    Attributes:
        threads: number of torch threads on each call.

    Raises:
        InputError: the tables are too small for the text, or there are fewer training blocks than one step takes.
        Diverged: on a call, if the loss is not finite under any θ.

    Example:
        >>> blocks = np.arange(2, 42, dtype=np.int32).reshape(4, 10)
        >>> text = MaskedText(blocks, blocks, Masking(mask_token=1, special=(0, 1), vocabulary=42))
        >>> settings = MaskedLanguageModellingSettings(steps=2, hyperparameters=(OptimiserSettings(1e-3, batch=2),))
        >>> error = MaskedLanguageModelling(text, dict(vocabulary=42, positions=16, token_types=1), settings)
        >>> round(error(Architecture(D=1, A=2, H=8, I=8)), 1)
        3.7
    """

    def __init__(
        self,
        text: MaskedText,
        constants: Mapping[str, int],
        settings: MaskedLanguageModellingSettings | None = None,
        *,
        threads: int | None = None,
    ):
        self.threads = threads or torch.get_num_threads()
        self._chosen = settings or MaskedLanguageModellingSettings()
        self.text = text
        self._constants = dict(constants)
        for name, needed in (("vocabulary", text.masking.vocabulary), ("positions", text.train.shape[1])):
            if constants[name] < needed:
                raise InputError(f"the text needs {name} of at least {needed}, but the space has {constants[name]}")
        largest = max(theta.batch for theta in self._chosen.hyperparameters)
        if len(text.train) < largest:
            raise InputError(
                f"the training text has {len(text.train)} blocks, but a step takes {largest}; "
                "give more text or shorter blocks"
            )

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that a value depends on besides architecture and seed, for the study's key."""
        return {
            "error": "mlm",
            "fsp": __version__,
            "constants": self._constants,
            "masking": [self.text.masking.mask_token, *self.text.masking.special, self.text.masking.vocabulary],
            "train_blocks": digest_of({"input_ids": self.text.train}),
            "validation_blocks": digest_of({"input_ids": self.text.validation}),
            "threads": self.threads,
            "torch": torch.__version__,
            "machine": platform.machine(),
            "steps": self._chosen.steps,
            "hyperparameters": [asdict(theta) for theta in self._chosen.hyperparameters],
        }

    @cached_property
    def plateau(self) -> Plateau:
        """The scores of predictors without context on the same held-out positions, to judge values of this error."""
        seen, chosen = self.text.held_out
        return Plateau.of(self.text.train, self.text.validation[chosen], seen[chosen], self.text.masking)

    def longer(self, factor: int) -> "MaskedLanguageModelling":
        """Return the same error with `factor` times the steps."""
        longer = copy.copy(self)
        longer._chosen = replace(self._chosen, steps=factor * self._chosen.steps)
        return longer

    def network(self, architecture: Architecture, seed: int) -> "PreTrainedModel":
        """Return the untrained candidate with its head; the state of torch's global generator is kept."""
        from transformers import BertForMaskedLM

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return BertForMaskedLM(bert.config_for(architecture, self._constants)).eval()

    def losses(self, architecture: Architecture, seed: int = 0) -> list[float]:
        """Return the held-out cross-entropy under every θ of Θ, in nats per masked position; NaN where it diverged."""
        found = []
        for theta in self._chosen.hyperparameters:
            network = self.network(architecture, seed)
            batches = self.text.batches(theta.batch, seed)
            try:
                fit(
                    network,
                    _loss,
                    batches,
                    steps=self._chosen.steps,
                    learning_rate=theta.learning_rate,
                    warmup=theta.warmup,
                    weight_decay=theta.weight_decay,
                )
                found.append(self.held_out_loss(network))
            except Diverged:
                found.append(math.nan)
        return found

    @torch.inference_mode()
    def held_out_loss(self, network: "PreTrainedModel") -> float:
        """Return the cross-entropy of a network over the held-out masked positions, in nats per position.

        Raises:
            Diverged: it is not finite.
        """
        seen, chosen = self.text.held_out
        total = 0.0
        for i in range(0, len(seen), _BATCH):
            rows = slice(i, i + _BATCH)
            batch = _tensors(self.text.validation[rows], seen[rows], chosen[rows])
            total += float(_loss(network, batch, reduction="sum"))
        if not math.isfinite(total):
            raise Diverged(f"the held-out loss is {total}")
        return total / int(chosen.sum())

    def __call__(self, architecture: Architecture, seed: int = 0) -> float:
        """Return the error of a candidate."""
        with computing_with(self.threads):
            numbers = [loss for loss in self.losses(architecture, seed) if not math.isnan(loss)]
        if not numbers:
            raise Diverged(
                f"the loss is not a number under any of {len(self._chosen.hyperparameters)} hyperparameter sets"
            )
        return min(numbers)


def _loss(network: "PreTrainedModel", batch: tuple[Tensor, Tensor, Tensor], reduction: str = "mean") -> Tensor:
    """Return the cross-entropy at the positions to predict; to save memory, no other logits are computed."""
    tokens, where, labels = batch
    logits = network.cls(network.bert(input_ids=tokens).last_hidden_state[where])
    return nn.functional.cross_entropy(logits, labels, reduction=reduction)
