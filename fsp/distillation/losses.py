"""Losses, each returning (sum, count) so that whoever adds up batches normalises once."""

import torch
from torch import Tensor, nn


def wide(values: Tensor) -> Tensor:
    """Return values in float32; float64 stays float64, for references.

    Example:
        >>> wide(torch.ones(1, dtype=torch.float16)).dtype, wide(torch.ones(1, dtype=torch.float64)).dtype
        (torch.float32, torch.float64)
    """
    return values if values.dtype == torch.float64 else values.float()


def squared_error(predicted: Tensor, target: Tensor) -> tuple[Tensor, int]:
    """Return the summed squared error over all coordinates in float32, and the number of token vectors.

    Args:
        predicted: `(..., width)`.
        target: the same shape; any floating type.

    Example:
        >>> squared_error(torch.ones(2, 3), torch.zeros(2, 3))
        (tensor(6.), 2)
    """
    if predicted.shape != target.shape:
        raise ValueError(f"shapes differ: {tuple(predicted.shape)} and {tuple(target.shape)}")
    difference = predicted.float() - target.float()
    return difference.square().sum(), difference.shape[:-1].numel()


def kl_divergence(logits: Tensor, target: Tensor) -> tuple[Tensor, int]:
    """Return KL(target ‖ logits) in nats, summed over the vocabulary and all positions, and the number of positions.

    Args:
        logits: `(..., vocabulary)`, of the student.
        target: the same shape, of T.

    Source: Hinton, Vinyals and Dean, Distilling the knowledge in a neural network (2015), at temperature 1.

    Example:
        >>> total, count = kl_divergence(torch.zeros(3, 2), torch.tensor([0.0, torch.inf]).expand(3, 2).clamp(max=50))
        >>> round(float(total), 4), count  # three times log 2
        (2.0794, 3)
    """
    if logits.shape != target.shape:
        raise ValueError(f"shapes differ: {tuple(logits.shape)} and {tuple(target.shape)}")
    ours, theirs = wide(logits).log_softmax(dim=-1), wide(target).log_softmax(dim=-1)
    return nn.functional.kl_div(ours, theirs, reduction="sum", log_target=True), logits.shape[:-1].numel()


class Unexplained:
    """1 - R²: the share of the targets' variance that predictions leave unexplained, summed up over batches.

    Example:
        >>> y = torch.tensor([[0.0], [2.0]])
        >>> share = Unexplained()
        >>> share.add(torch.ones(2, 1), y)  # the mean explains nothing
        >>> share.value()
        1.0
    """

    def __init__(self) -> None:
        self._residual = 0.0
        self._count = 0
        self._sum: Tensor | float = 0.0
        self._square = 0.0

    def add(self, predicted: Tensor, target: Tensor) -> None:
        """Take in one batch, `(..., width)` each."""
        residual, count = squared_error(predicted.double(), target.double())
        flat = target.double().flatten(0, -2)
        self._residual += float(residual)
        self._count += count
        self._sum = self._sum + flat.sum(dim=0)
        self._square += float(flat.square().sum())

    def value(self) -> float:
        """Return 1 - R² of all batches together, about the targets' own mean."""
        total = self._square - float(torch.as_tensor(self._sum).square().sum()) / self._count
        return self._residual / total
