"""The two ways to compare a student's outputs with T's: unexplained variance and divergence."""

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

from fsp.distillation.losses import Unexplained, divergence, squared_error

_ROWS = 4096  # logits of so many sites are compared at once
Pairs = Iterable[tuple[Tensor, Tensor]]


class Comparison(Protocol):
    """A measure of how far outputs are from T's, 0 for T's own."""

    def loss(self, predicted: Tensor, wanted: Tensor) -> Tensor:
        """Return the training loss of a batch, a scalar, with gradient."""
        ...

    def error(self, pairs: Pairs) -> float:
        """Return the error over the predicted and wanted outputs of all batches; NaN if any value is."""
        ...

    def reference(self, wanted: Tensor) -> float:
        """Return the error of the best constant prediction of outputs `n x d`."""
        ...


class UnexplainedVariance:
    """1 - R²: the share of the variance of T's outputs that the student leaves unexplained.

    Args:
        variance: variance of T's outputs per site, summed over coordinates; scales the loss to the range of the error.
    """

    def __init__(self, variance: float):
        self._variance = variance

    def loss(self, predicted: Tensor, wanted: Tensor) -> Tensor:
        """Return the mean squared error per site divided by T's variance."""
        total, count = squared_error(predicted, wanted)
        return total / (count * self._variance)

    def error(self, pairs: Pairs) -> float:
        """Return 1 - R²; NaN if any value is."""
        share = Unexplained()
        for predicted, wanted in pairs:
            share.add(predicted.cpu(), wanted.cpu())
        return share.value()

    def reference(self, wanted: Tensor) -> float:
        """Return 1: the mean explains nothing."""
        return 1.0


class Divergence:
    """KL(T ‖ student) in nats per site, between the distributions that logits give."""

    def loss(self, predicted: Tensor, wanted: Tensor) -> Tensor:
        """Return the mean divergence per site."""
        total, count = divergence(predicted, wanted)
        return total / count

    def error(self, pairs: Pairs) -> float:
        """Return the mean divergence per site; NaN if any value is."""
        total, count = 0.0, 0
        for predicted, wanted in pairs:
            for own, theirs in zip(predicted.split(_ROWS), wanted.split(_ROWS), strict=True):
                part, sites = divergence(own, theirs)
                total, count = total + float(part), count + sites
        return total / count

    def reference(self, wanted: Tensor) -> float:
        """Return the mean divergence from T's mean distribution, the best constant prediction."""
        logs = wanted.float().log_softmax(dim=-1)
        mean = logs.logsumexp(dim=0) - torch.tensor(float(len(logs))).log()
        return float((logs.exp() * (logs - mean)).sum(dim=-1).mean())
