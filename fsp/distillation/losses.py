"""Losses, each returning (sum, count): the caller adds them up over batches and processes and divides once.

All but `squared_error` compute in float32 or, for float64 inputs, in float64, which serves as a reference.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Summed = tuple[Tensor, int]


def wide(values: Tensor) -> Tensor:
    """Return values in float32, or in float64 if they are float64.

    Example:
        >>> wide(torch.ones(1, dtype=torch.float16)).dtype, wide(torch.ones(1, dtype=torch.float64)).dtype
        (torch.float32, torch.float64)
    """
    return values if values.dtype == torch.float64 else values.float()


@dataclass(frozen=True)
class TopLogits:
    """A teacher's distribution at a temperature: its k likeliest tokens and the mass of all others.

    Attributes:
        ids: the k likeliest tokens, `n x k`, int64.
        log_probabilities: their log-probabilities, `n x k`.
        log_tail: log-probability of all other tokens together, `n`.
    """

    ids: Tensor
    log_probabilities: Tensor
    log_tail: Tensor

    @classmethod
    def of(cls, logits: Tensor, k: int, temperature: float) -> "TopLogits":
        """Return the k likeliest tokens of logits `n x V`.

        Example:
            >>> top = TopLogits.of(torch.tensor([[0.0, 0.0, 0.0, 0.0]]), 3, temperature=2.0)
            >>> round(float(top.log_tail.exp()), 6)
            0.25
        """
        scaled = wide(logits) / temperature
        ids = scaled.topk(k, dim=-1).indices
        log_probabilities = scaled.log_softmax(dim=-1)
        rest = log_probabilities.scatter(-1, ids, -math.inf)
        return cls(ids, log_probabilities.gather(-1, ids), rest.logsumexp(dim=-1))

    def __getitem__(self, rows: slice) -> "TopLogits":
        return TopLogits(self.ids[rows], self.log_probabilities[rows], self.log_tail[rows])


def cross_entropy(logits: Tensor, labels: Tensor) -> Summed:
    """Return the summed cross-entropy of logits `n x V` against token ids `n`, and n.

    Example:
        >>> cross_entropy(torch.zeros(2, 4), torch.tensor([1, 3]))[0] / 2  # log 4
        tensor(1.3863)
    """
    return F.cross_entropy(wide(logits), labels, reduction="sum"), len(labels)


def divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Summed:
    """Return T² KL(softmax(teacher / T) ‖ softmax(student / T)) in nats, summed, and the number of positions.

    The sum is over the vocabulary and all positions. The factor T² keeps gradients comparable between temperatures
    (Hinton, Vinyals and Dean, arXiv 1503.02531, section 2).

    Args:
        student: logits, `(..., vocabulary)`.
        teacher: logits of the same shape; they get no gradient.
        temperature: T.

    Example:
        >>> total, count = divergence(torch.zeros(3, 2), torch.tensor([0.0, torch.inf]).expand(3, 2).clamp(max=50))
        >>> round(float(total), 4), count  # three times log 2
        (2.0794, 3)
    """
    _check_shapes(student, teacher)
    ours = (wide(student) / temperature).log_softmax(dim=-1)
    theirs = (wide(teacher.detach()) / temperature).log_softmax(dim=-1)
    total = F.kl_div(ours, theirs, reduction="sum", log_target=True)
    return temperature**2 * total, student.shape[:-1].numel()


def top_divergence(student: Tensor, teacher: TopLogits, temperature: float = 1.0) -> Summed:
    """Return `divergence` with all tokens but the teacher's k likeliest merged into one, and the number of rows.

    Up to float32 rounding, this is a lower bound of the full divergence; the two are equal if student and teacher have
    the same conditional distribution over the tail.

    Args:
        student: logits, `n x V`.
        teacher: its k likeliest tokens at this temperature.
        temperature: T.

    Example:
        >>> logits = torch.tensor([[3.0, 1.0, 0.0, 0.0]])
        >>> float(top_divergence(logits, TopLogits.of(logits, 2, 1.0))[0]) < 1e-6
        True
    """
    scaled = wide(student) / temperature
    normaliser = scaled.logsumexp(dim=-1)
    predicted = scaled.gather(-1, teacher.ids) - normaliser[:, None]
    tail = scaled.scatter(-1, teacher.ids, -math.inf).logsumexp(dim=-1) - normaliser
    target, target_tail = teacher.log_probabilities.to(scaled.dtype), teacher.log_tail.to(scaled.dtype)
    likely = F.kl_div(predicted, target, reduction="sum", log_target=True)
    has_tail = target_tail.isfinite() & tail.isfinite()  # there is no tail if k is the whole vocabulary
    rest = F.kl_div(tail[has_tail], target_tail[has_tail], reduction="sum", log_target=True)
    return temperature**2 * (likely + rest), len(student)


def cosine_distance(student: Tensor, teacher: Tensor) -> Summed:
    """Return 1 - cosine between vectors `n x H`, summed over vectors, and n.

    Example:
        >>> cosine_distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]]))
        (tensor(1.), 1)
    """
    return (1 - F.cosine_similarity(wide(student), wide(teacher), dim=-1)).sum(), len(student)


def squared_distance(student: Tensor, teacher: Tensor) -> Summed:
    """Return the squared distance per coordinate between vectors `n x H`, summed over vectors, and n.

    Example:
        >>> squared_distance(torch.zeros(1, 4), torch.full((1, 4), 3.0))
        (tensor(9.), 1)
    """
    return (wide(student) - wide(teacher)).square().mean(dim=-1).sum(), len(student)


def squared_error(predicted: Tensor, target: Tensor) -> tuple[Tensor, int]:
    """Return the summed squared error over all coordinates in float32, and the number of token vectors.

    Args:
        predicted: `(..., width)`.
        target: values of the same shape and any floating type.

    Example:
        >>> squared_error(torch.ones(2, 3), torch.zeros(2, 3))
        (tensor(6.), 2)
    """
    _check_shapes(predicted, target)
    difference = predicted.float() - target.float()
    return difference.square().sum(), difference.shape[:-1].numel()


def relation_divergence(
    student: Sequence[Tensor], teacher: Sequence[Tensor], heads: int, *, causal: bool = False
) -> Summed:
    """Return KL(teacher || student) between self-attention relations, summed, and the number of distributions.

    The relation of queries is softmax(Q Qᵀ / sqrt(d)), and likewise for keys and values; vectors are split into `heads`
    relation heads of size d, so neither head counts nor widths need to agree (MiniLMv2, arXiv 2012.15828).

    Args:
        student: queries, keys and values of a layer, `n x length x width` each, with all heads concatenated.
        teacher: the same for the teacher, with its own widths.
        heads: number of relation heads; divides all widths.
        causal: relate each token only to itself and to earlier tokens.

    Example:
        >>> same = [torch.randn(2, 3, 8)] * 3
        >>> value, count = relation_divergence(same, same, heads=4)
        >>> float(value) < 1e-5, count
        (True, 72)
    """
    total, count = torch.zeros((), device=student[0].device), 0
    for own, wanted in zip(student, teacher, strict=True):
        predicted = _relations(wide(own), heads, causal)
        target = _relations(wide(wanted.detach()), heads, causal)
        ratio = (target - predicted).masked_fill(target.isneginf(), 0.0)
        total = total + (target.exp() * ratio).sum()
        count += predicted.shape[:-1].numel()
    return total, count


class Unexplained:
    """1 - R²: the share of the targets' variance that predictions leave unexplained, accumulated over batches.

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
        """Add one batch of predictions and targets, `(..., width)` each."""
        residual, count = squared_error(predicted.double(), target.double())
        flat = target.double().flatten(0, -2)
        self._residual += float(residual)
        self._count += count
        self._sum = self._sum + flat.sum(dim=0)
        self._square += float(flat.square().sum())

    def value(self) -> float:
        """Return 1 - R² over all batches, with the variance taken about the mean of the targets."""
        total = self._square - float(torch.as_tensor(self._sum).square().sum()) / self._count
        return self._residual / total


def _relations(vectors: Tensor, heads: int, causal: bool) -> Tensor:
    """Log-relations `n x heads x length x length` of vectors `n x length x H`."""
    split = vectors.unflatten(-1, (heads, -1)).transpose(1, 2)
    scores = split @ split.transpose(-1, -2) / math.sqrt(split.shape[-1])
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, -math.inf)
    return scores.log_softmax(dim=-1)


def _check_shapes(one: Tensor, other: Tensor) -> None:
    if one.shape != other.shape:
        raise ValueError(f"shapes differ: {tuple(one.shape)} and {tuple(other.shape)}")
