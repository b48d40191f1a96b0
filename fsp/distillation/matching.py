"""The targets of students: T's token states, or T's predictions at masked positions."""

from typing import Protocol

import torch
from torch import Tensor, nn

from fsp.distillation.blocks import Blocks, StateBatch
from fsp.distillation.losses import Unexplained, divergence, squared_error
from fsp.distillation.student import Student

_BATCH = 32  # blocks per forward pass where nothing is trained


class Matching(Protocol):
    """A measure of how far a student is from T.

    Attributes:
        name: what is compared, `states` or `logits`.
    """

    name: str

    def loss(self, predicted: Tensor, batch: StateBatch) -> Tensor:
        """Return the training loss of a student's predictions of T's states, `(n, length, H)`; a scalar."""

    def error(self, student: Student, blocks: Blocks) -> float:
        """Return the error over all blocks; NaN if any value is."""


class StateMatching:
    """1 - R²: the share of the variance of T's token states that the student leaves unexplained.

    Args:
        variance: variance of T's states per token, summed over coordinates; scales the loss to the range of the error.
    """

    name = "states"

    def __init__(self, variance: float):
        self._variance = variance

    def loss(self, predicted: Tensor, batch: StateBatch) -> Tensor:
        """Return the mean squared error per token divided by T's variance."""
        total, count = squared_error(predicted, batch.states)
        return total / (count * self._variance)

    @torch.inference_mode()
    def error(self, student: Student, blocks: Blocks) -> float:
        """Return 1 - R² over the blocks; NaN if any value is."""
        share = Unexplained()
        for batch in blocks.batches(_BATCH):
            share.add(student(batch.tokens), batch.states)
        return share.value()


class LogitMatching:
    """KL(T ‖ f) in nats at masked positions: T's own head is applied to T's states and to the student's predictions.

    Args:
        head: T's head for masked language modelling, from token states `(m, H)` to logits `(m, vocabulary)`.
    """

    name = "logits"

    def __init__(self, head: nn.Module):
        self._head = head

    def loss(self, predicted: Tensor, batch: StateBatch) -> Tensor:
        """Return the mean divergence per masked position."""
        total, count = self._divergence(predicted, batch)
        return total / count

    @torch.inference_mode()
    def error(self, student: Student, blocks: Blocks) -> float:
        """Return the mean divergence per masked position over the blocks; NaN if any value is."""
        total, count = 0.0, 0
        for batch in blocks.batches(_BATCH):
            part, positions = self._divergence(student(batch.tokens), batch)
            total, count = total + float(part), count + positions
        return total / count

    def _divergence(self, predicted: Tensor, batch: StateBatch) -> tuple[Tensor, int]:
        if batch.masked is None:
            raise ValueError("logits are matched at masked positions, but these blocks have none")
        return divergence(self._head(predicted[batch.masked]), self._head(batch.states[batch.masked]))
