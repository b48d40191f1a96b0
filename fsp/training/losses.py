"""Losses, each returning (sum, count) so that whoever adds up batches normalises once."""

import torch
from torch import Tensor


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
