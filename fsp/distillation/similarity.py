"""How close the embeddings of a student are to T's on held-out sentences."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NEIGHBOURS = 10


@dataclass(frozen=True)
class SentenceFigures:
    """How close a student's sentence embeddings are to T's, both as sentence-transformers computes them.

    Attributes:
        spearman: agreement of the similarities of all pairs of sentences, see `similarity_agreement`.
        neighbours: share of T's ten nearest neighbours of a sentence that are also the student's.
        cosine: mean cosine between the two embeddings of a sentence.
    """

    spearman: float
    neighbours: float
    cosine: float

    @classmethod
    def of(cls, wanted: NDArray[np.float32], found: NDArray[np.float32]) -> "SentenceFigures":
        """Compare a student's embeddings with T's, both `n x d`, for n >= 3 different sentences."""
        cosine = float((_unit(wanted) * _unit(found)).sum(axis=1).mean())
        return cls(similarity_agreement(wanted, found), shared_neighbours(wanted, found), cosine)


def similarity_agreement(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return Spearman's correlation between the cosine similarities of all pairs of rows of two embeddings.

    Args:
        first: embeddings of n >= 3 sentences, `n x d`.
        second: other embeddings of the same sentences, `n x d'`.
    """
    from scipy.stats import spearmanr

    upper = np.triu_indices(len(first), k=1)
    return float(spearmanr(_cosines(first)[upper], _cosines(second)[upper]).statistic)


def shared_neighbours(first: NDArray[np.float32], second: NDArray[np.float32], count: int = _NEIGHBOURS) -> float:
    """Return the mean share of a row's nearest neighbours by cosine that two embeddings of the same rows agree on.

    Example:
        >>> rows = np.eye(3, 2, dtype=np.float32) + 1
        >>> shared_neighbours(rows, rows, 1)
        1.0
    """
    count = min(count, len(first) - 1)
    near = []
    for vectors in (first, second):
        cosines = _cosines(vectors)
        np.fill_diagonal(cosines, -np.inf)
        near.append(np.argsort(-cosines, axis=1, kind="stable")[:, :count])
    return float(np.mean([len(np.intersect1d(a, b)) / count for a, b in zip(*near, strict=True)]))


def _cosines(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit = _unit(vectors)
    return unit @ unit.T


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
