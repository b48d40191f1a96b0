"""Near-copies: generated points that nearly repeat a text of dev, test or the held-out third of dev."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fsp.finetuning.examples import normalised

THRESHOLD = 0.4  # docs/agora.md: edits of a tenth of the words lie above it, unrelated snippets below
_GRAM = 4  # characters


def similarities(texts: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """Return for each text its largest similarity to any reference, `(len(texts),)`; 0 where there is no reference.

    Similarity is the Jaccard index of the sets of four-character pieces; case and white space do not count. The
    fields of a pair are taken together.

    Example:
        >>> similarities([["A fine film."], ["Nothing alike"]], [["a  fine film!"]]).round(2)
        array([0.8, 0. ])
    """
    if not texts or not references:
        return np.zeros(len(texts))
    vocabulary: dict[str, int] = {}
    ours, theirs = (_incidence(part, vocabulary) for part in (texts, references))
    for matrix in (ours, theirs):
        matrix.resize((matrix.shape[0], len(vocabulary)))
    sizes, others = ours.sum(axis=1), theirs.sum(axis=1)
    best = np.zeros(len(texts))
    for start in range(0, len(texts), 256):  # keeps the dense block small
        stop = start + 256
        common = (ours[start:stop] @ theirs.T).toarray()
        best[start:stop] = (common / (sizes[start:stop, None] + others[None] - common)).max(axis=1)
    return best


def near_copies(texts: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> NDArray[np.bool_]:
    """Tell of each text whether it nearly repeats a reference, `(len(texts),)`.

    Example:
        >>> near_copies([["A fine film."], ["Nothing alike"]], [["a  fine film!"]])
        array([ True, False])
    """
    return similarities(texts, references) >= THRESHOLD


def _incidence(texts: Sequence[Sequence[str]], vocabulary: dict[str, int]) -> csr_array:
    rows, columns = [], []
    for row, fields in enumerate(texts):
        text = normalised(fields)
        pieces = {text[i : i + _GRAM] for i in range(max(1, len(text) - _GRAM + 1))}
        for piece in sorted(pieces):
            rows.append(row)
            columns.append(vocabulary.setdefault(piece, len(vocabulary)))
    shape = (len(texts), max(len(vocabulary), 1))
    return csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
