"""Batches of a run: their blocks, the masks in them, and the positions at which losses are computed."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsp.distillation.masking import PassMasking
from fsp.distillation.pretraining.order import shuffled
from fsp.distillation.pretraining.packed import Stream

HELD_OUT_EPOCH = 1 << 40  # the pass whose masks held-out blocks get; training never reaches it


@dataclass(frozen=True)
class Batch:
    """The input of a model and the tokens that it has to predict.

    Attributes:
        tokens: ids as the model sees them, `n x length`.
        positions: positions to predict at, as indices into the flattened tokens, `p`.
        labels: the true ids at these positions, or for decoders the next ones, `p`.
        examples: index of each block in the corpus, `n`.
        epochs: the pass over the corpus that each block belongs to, `n`.
    """

    tokens: Tensor
    positions: Tensor
    labels: Tensor
    examples: NDArray[np.int64]
    epochs: NDArray[np.int64]

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        if device.type == "cpu":
            return self
        tokens, positions, labels = (
            part.pin_memory().to(device, non_blocking=True) for part in (self.tokens, self.positions, self.labels)
        )
        return Batch(tokens, positions, labels, self.examples, self.epochs)


@dataclass(frozen=True)
class Batches:
    """Batches of a stream, as a function of the places in its endless sequence of passes.

    Attributes:
        stream: the blocks.
        masking: None if nothing is masked, because decoders predict every next token, or because no loss reads logits
            and hidden states are compared at every position.
        causal: whether the model predicts the next token.
        seed: seed of the order.
    """

    stream: Stream
    masking: PassMasking | None
    causal: bool
    seed: int

    @property
    def positions_a_block(self) -> int:
        """Number of positions per block at which losses are computed."""
        length = self.stream.length
        return self.masking.count(length) if self.masking else length - self.causal

    def at(self, places: NDArray[np.int64]) -> Batch:
        """Return the blocks at given places of the endless shuffled sequence, counted from 0."""
        examples, epochs = shuffled(places, len(self.stream), self.seed)
        return self.of(examples, epochs)

    def of(self, examples: NDArray[np.int64], epochs: NDArray[np.int64]) -> Batch:
        """Return given blocks, masked as in given passes."""
        blocks = self.stream.take(examples)
        n, length = blocks.shape
        if self.masking:
            seen, chosen = self.masking(blocks, examples, epochs)
        else:
            seen = blocks
            chosen = np.broadcast_to(np.arange(self.positions_a_block), (n, self.positions_a_block))
        flat = (np.arange(n)[:, None] * length + chosen).ravel()
        labels = blocks.ravel()[flat + self.causal]
        return Batch(torch.from_numpy(seen), torch.from_numpy(flat), torch.from_numpy(labels), examples, epochs)
