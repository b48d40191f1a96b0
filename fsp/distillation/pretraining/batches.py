"""Batches of a run: which blocks, what is masked in them, and which positions the losses look at."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsp.distillation.masking import PassMasking
from fsp.distillation.pretraining.order import shuffled
from fsp.distillation.pretraining.packed import Stream

HELD_OUT_EPOCH = 1 << 40  # held-out blocks are masked as in a pass that training never reaches


@dataclass(frozen=True)
class Batch:
    """What a model reads and what it is asked.

    tokens: ids as the model sees them, `n x length`. positions: where it is asked, as indices into the flattened
    tokens, `p`. labels: the true ids there, `p`; of the next token for decoders. examples, epochs: what each
    block is, `n`.
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

    masking: None where nothing is masked: decoders predict the next token everywhere (`causal`), and where no loss
    reads logits, hidden states are compared everywhere. seed: of the order.
    """

    stream: Stream
    masking: PassMasking | None
    causal: bool
    seed: int

    @property
    def positions_a_block(self) -> int:
        """How many positions of each block are looked at."""
        length = self.stream.length
        return self.masking.count(length) if self.masking else length - self.causal

    def at(self, places: NDArray[np.int64]) -> Batch:
        """Return the blocks at some places of the shuffled sequence, counted from 0 without end."""
        examples, epochs = shuffled(places, len(self.stream), self.seed)
        return self.of(examples, epochs)

    def of(self, examples: NDArray[np.int64], epochs: NDArray[np.int64]) -> Batch:
        """Return given blocks as they are masked in given passes."""
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
