"""A teacher's outputs for a batch, with which the losses compare the student."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsp.distillation.losses import Summed, TopLogits, divergence, top_divergence
from fsp.distillation.pretraining.batches import Batch
from fsp.distillation.pretraining.models import LanguageModel


@dataclass(frozen=True)
class TeacherOutputs:
    """The teacher's outputs for a batch; those that no loss needs are None.

    Logits are never stored whole: either `read` and `layer` are given, or `top`.

    Attributes:
        read: inputs of the vocabulary layer, `p x E`.
        layer: the vocabulary layer.
        top: the likeliest tokens with their probabilities.
        states: last hidden states at the positions, `p x H`.
        relations: queries, keys and values, `n x length x width` each.
    """

    read: Tensor | None = None
    layer: nn.Linear | None = None
    top: TopLogits | None = None
    states: Tensor | None = None
    relations: list[Tensor] = field(default_factory=list)

    def divergence(self, logits: Tensor, rows: slice, temperature: float) -> Summed:
        """Return the divergence of a student's logits for some rows of the positions."""
        if self.top is not None:
            return top_divergence(logits, self.top[rows], temperature)
        return divergence(logits, self.logits(rows), temperature)

    @torch.no_grad()
    def logits(self, rows: slice) -> Tensor:
        """Return the teacher's logits for some rows of the positions."""
        assert self.read is not None
        assert self.layer is not None
        with torch.autocast(self.read.device.type, enabled=False):
            return F.linear(self.read[rows].to(self.layer.weight.dtype), self.layer.weight, self.layer.bias)


@dataclass(frozen=True)
class LiveTeacher:
    """A teacher that computes its outputs for every batch.

    Attributes:
        model: the teacher.
        logits: whether to return logits.
        states: whether to return last hidden states.
        relations: whether to return queries, keys and values.
    """

    model: LanguageModel
    logits: bool
    states: bool
    relations: bool = False

    @torch.no_grad()
    def __call__(self, batch: Batch) -> TeacherOutputs:
        """Return the teacher's outputs for a batch."""
        states, relations = self.model.forward(batch.tokens, relations=self.relations)
        asked = states.flatten(0, 1)[batch.positions]
        return TeacherOutputs(
            read=self.model.transform(asked) if self.logits else None,
            layer=self.model.vocabulary_layer if self.logits else None,
            states=asked if self.states else None,
            relations=relations,
        )
