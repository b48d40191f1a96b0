"""Losses of distillation, each returning (sum, count): who adds up batches and processes divides once.

All compute in float32 at least, whatever comes in; float64 stays float64, for the tests.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fsp.distillation.losses import kl_divergence, wide

Summed = tuple[Tensor, int]


@dataclass(frozen=True)
class TopLogits:
    """A teacher's distribution at a temperature: its k likeliest tokens and the mass of all others.

    ids: `n x k`, int64. log_probabilities: of them, `n x k`. log_tail: of the rest, `n`.
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
    """Return T² KL(softmax(teacher / T) || softmax(student / T)), summed over vocabulary and rows, and their number.

    T² keeps gradients comparable between temperatures (arXiv 1503.02531, section 2).

    Args:
        student: logits, `n x V`.
        teacher: logits, `n x V`; nothing flows back into them.
        temperature: T.

    Example:
        >>> divergence(torch.randn(2, 5), torch.zeros(2, 5))[0] > 0, divergence(torch.ones(2, 5), torch.zeros(2, 5))
        (tensor(True), (tensor(0.), 2))
    """
    total, count = kl_divergence(wide(student) / temperature, wide(teacher.detach()) / temperature)
    return temperature**2 * total, count


def top_divergence(student: Tensor, teacher: TopLogits, temperature: float = 1.0) -> Summed:
    """Return `divergence` where all tokens beside the teacher's k likeliest count as one, and the number of rows.

    A lower bound of the whole divergence but for float32 rounding, equal to it where student and teacher agree about
    the tail.

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
    has_tail = target_tail.isfinite() & tail.isfinite()  # none where k is the whole vocabulary
    rest = F.kl_div(tail[has_tail], target_tail[has_tail], reduction="sum", log_target=True)
    return temperature**2 * (likely + rest), len(student)


def cosine_distance(student: Tensor, teacher: Tensor) -> Summed:
    """Return the summed 1 - cosine between vectors `n x H`, and n.

    Example:
        >>> cosine_distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]]))
        (tensor(1.), 1)
    """
    return (1 - F.cosine_similarity(wide(student), wide(teacher), dim=-1)).sum(), len(student)


def squared_distance(student: Tensor, teacher: Tensor) -> Summed:
    """Return the squared distance a coordinate between vectors `n x H`, summed over vectors, and n.

    Example:
        >>> squared_distance(torch.zeros(1, 4), torch.full((1, 4), 3.0))
        (tensor(9.), 1)
    """
    return (wide(student) - wide(teacher)).square().mean(dim=-1).sum(), len(student)


def relation_divergence(
    student: Sequence[Tensor], teacher: Sequence[Tensor], heads: int, *, causal: bool = False
) -> Summed:
    """Return KL(teacher || student) between self-attention relations, summed, and the number of distributions.

    The relation of queries is softmax(Q Qᵀ / sqrt(d)), likewise for keys and values; vectors are cut into `heads`
    relation heads of size d, so neither head counts nor hidden sizes need agree (MiniLMv2, arXiv 2012.15828).

    Args:
        student: queries, keys and values of a layer, `n x length x H` each, all heads side by side.
        teacher: the same of the teacher, with its own H.
        heads: relation heads; divide both hidden sizes.
        causal: relate each token only to itself and those before it.

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


def _relations(vectors: Tensor, heads: int, causal: bool) -> Tensor:
    """Log-relations `n x heads x length x length` of vectors `n x length x H`."""
    split = vectors.unflatten(-1, (heads, -1)).transpose(1, 2)
    scores = split @ split.transpose(-1, -2) / math.sqrt(split.shape[-1])
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, -math.inf)
    return scores.log_softmax(dim=-1)
