"""Attention heads of a different size than T's, made by merging or splitting trained heads.

A head's values and its attention pattern are treated separately. A trained head's values may be expressed in any basis,
so the directions that write most come first, and each new head takes a run of directions. A new head has a single
attention pattern: its logits are the mean of those of the trained heads whose values it passes on, weighted by their
share of its values, and reduced to the rank that its size allows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_TINY = 1e-9  # of the largest singular value: smaller singular values are rounding errors

Run = list[tuple[int, int]]  # the value directions of one new head: (trained head, number of its direction)


@dataclass(frozen=True)
class Projections:
    """The heads of a layer as affine maps from T's hidden state (width H_T) and back.

    Attributes:
        query: `H x (H_T + 1)`, heads concatenated, the bias as the last column.
        key: the same for the keys.
        value: the same for the values.
        write: `H_T x H`, from the values to T's hidden state.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    write: Tensor


class TrainedHeads:
    """The heads of one of T's layers, to be made into heads of another size.

    Args:
        projections: the trained heads, float64.
        heads: how many there are.
        mean: mean of the layer's input on real text, `H_T`, float64.
        covariance: covariance of that input, `H_T x H_T`.
        context: covariance of the values as the heads pass them on, `H_T x H_T`.
    """

    def __init__(self, projections: Projections, heads: int, mean: Tensor, covariance: Tensor, context: Tensor):
        self._size = len(mean) // heads
        split = (heads, self._size)
        self._query, self._key = projections.query, projections.key
        # softmax ignores what all keys have in common, so keys are centred; queries are not
        one = torch.cat([mean, mean.new_ones(1)])
        moment = torch.outer(one, one)
        moment[:-1, :-1] += covariance
        self._queries = self._query @ moment @ self._query.T
        self._keys = self._key[:, :-1] @ covariance @ self._key[:, :-1].T
        products = (self._queries * self._keys).unflatten(0, split).unflatten(2, split).sum(dim=(1, 3))
        length = products.diagonal().clamp(min=torch.finfo(torch.float64).tiny).sqrt()
        self._alike = products / torch.outer(length, length)  # cosine of the logits of two heads

        values, write = projections.value.unflatten(0, split), projections.write
        self._values, self._writes, self._written = [], [], []
        for head in range(heads):
            here = slice(head * self._size, (head + 1) * self._size)
            out, strength, _ = torch.linalg.svd(write[:, here] @ _root(context[here, here]), full_matrices=False)
            unit = float(write[:, here].norm()) / self._size**0.5 or 1.0  # T's weights keep their magnitude
            self._values.append(out.T @ write[:, here] @ values[head] / unit)
            self._writes.append(out * unit)
            self._written.append(strength.square())

    def reshaped(self, heads: int, size: int) -> Projections:
        """Return the projections of `heads` heads of the given size (together at most T's hidden size)."""
        made = [self._head(run, size) for run in self._runs(heads, size)]
        query, key, value = (torch.cat([head[part] for head in made]).float() for part in range(3))
        return Projections(query, key, value, torch.cat([head[3] for head in made], dim=1).float())

    def _runs(self, heads: int, size: int) -> list[Run]:
        """Choose the value directions of each new head.

        If heads shrink, each new head is part of one trained head. If they grow, the trained heads that write most are
        concatenated and split into runs of the new size.
        """
        count, width = len(self._written), self._size
        if size <= width:
            pieces = [(head, first) for head in range(count) for first in range(0, width - size + 1, size)]
            strength = [float(self._written[head][first : first + size].sum()) for head, first in pieces]
            best = sorted(range(len(pieces)), key=strength.__getitem__, reverse=True)[:heads]
            return [[(head, first + j) for j in range(size)] for head, first in (pieces[i] for i in sorted(best))]
        written = torch.stack([strength.sum() for strength in self._written])
        chosen = written.argsort(descending=True, stable=True)[: -(-heads * size // width)].tolist()
        line = [(head, j) for head in self._side_by_side(chosen, size) for j in range(width)]
        return [line[i * size : (i + 1) * size] for i in range(heads)]

    def _side_by_side(self, chosen: list[int], size: int) -> list[int]:
        """Order trained heads so that those whose values share a new head have similar attention."""
        line, left = [chosen[0]], chosen[1:]
        while left:
            first = len(line) * self._size // size * size  # value direction that the next new head begins with
            begun = line[first // self._size :] or left[:1]
            line.append(max(left, key=lambda head: float(self._alike[head, begun].sum())))
            left.remove(line[-1])
        return line

    def _head(self, run: Run, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return query, key, value of one new head, `size x (H_T + 1)` with the bias last, and write, `H_T x size`."""
        covered = sorted({head for head, _ in run})
        share = torch.tensor([sum(head == h for h, _ in run) / size for head in covered], dtype=torch.float64)
        rows = torch.cat([torch.arange(head * self._size, (head + 1) * self._size) for head in covered])
        weight = share.repeat_interleave(self._size)[:, None] * (size / self._size) ** 0.5
        queries = weight * self._queries[rows][:, rows] * weight.T
        query, key = _reduced(queries, self._keys[rows][:, rows], size)
        value = torch.stack([self._values[head][j] for head, j in run])
        write = torch.stack([self._writes[head][:, j] for head, j in run], dim=1)
        return query @ (weight * self._query[rows]), key @ self._key[rows], value, write


def _root(moment: Tensor) -> Tensor:
    """Return R with R Rᵀ = moment, for a symmetric positive semidefinite moment."""
    values, vectors = torch.linalg.eigh(moment)
    return vectors * values.clamp(min=0).sqrt()


def _reduced(queries: Tensor, keys: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return the maps P, Q `(rank, n)` that minimise E[(qᵀk - (Pq)ᵀ(Qk))²], given E[qqᵀ] and E[kkᵀ], `n x n`.

    With the roots R and S of the two, the minimum is the distance of Rᵀ S from its best approximation of that rank,
    given by a singular value decomposition U D Vᵀ (Eckart and Young). Rows without a singular value are zero.
    """
    left, right = _root(queries), _root(keys)
    u, d, vt = torch.linalg.svd(left.T @ right, full_matrices=False)
    u, d, v = u[:, :rank], d[:rank], vt[:rank].T
    scale = torch.where(d > _TINY * d[0], d.clamp(min=torch.finfo(d.dtype).tiny).rsqrt(), 0.0)[:, None]
    maps = scale * (right @ v).T, scale * (left @ u).T
    padding = queries.new_zeros(max(0, rank - len(d)), len(queries))
    return torch.cat([maps[0], padding]), torch.cat([maps[1], padding])
