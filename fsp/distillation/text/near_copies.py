"""Near-copies: pairs of nearly equal texts, found exactly in large sets."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

THRESHOLD = 0.4  # edits of a tenth of the words lie above it, unrelated snippets below; see docs/agora.md
_GRAM = 4  # characters
_FREQUENT = 0.2  # share of a text's pieces, the most frequent ones, that the first comparison leaves out
_ROWS = 256  # rows that are compared at a time
_PAIRS = 4096


def normalised(fields: Sequence[str]) -> str:
    """Return texts in the form that is compared for equality: case and white space do not count."""
    return "\n".join(" ".join(field.casefold().split()) for field in fields)


def near_copies(texts: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> NDArray[np.bool_]:
    """Return whether each text is a near-copy of a reference, `(len(texts),)`.

    The similarity of near-copies, the Jaccard index of their sets of four-character pieces, is at least .4; case and
    white space do not count. The fields of a pair are joined.

    Example:
        >>> near_copies([["A fine film."], ["Nothing alike"]], [["a  fine film!"]])
        array([ True, False])
    """
    found = np.zeros(len(texts), dtype=bool)
    if texts and references:
        every = np.arange(len(texts) + len(references))
        rows, columns = every[: len(texts)], every[len(texts) :]
        for near, _ in _pairs(_Pieces.of([*texts, *references]), rows, columns, lambda ours, theirs: found[ours]):
            found[near] = True
    return found


def clusters(texts: Sequence[str]) -> NDArray[np.int32]:
    """Return the number of each text's cluster, `(len(texts),)`: clusters are closed under near-copies.

    Example:
        >>> clusters(["A fine film.", "Nothing alike", "a  fine film!"])
        array([0, 1, 0], dtype=int32)
    """
    n = len(texts)
    if not n:
        return np.zeros(0, dtype=np.int32)
    every, label = np.arange(n), np.arange(n)

    def known(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> NDArray[np.bool_]:
        return label[ours] == label[theirs]

    for rows, columns in _pairs(_Pieces.of([[text] for text in texts]), every, every, known):
        graph = csr_array((np.ones(len(rows), dtype=bool), (label[rows], label[columns])), shape=(n, n))
        label[:] = connected_components(graph, directed=False)[1][label]
    return np.unique(label, return_inverse=True)[1].astype(np.int32)


@dataclass(frozen=True)
class _Pieces:
    """The sets of pieces of texts.

    Attributes:
        whole: which text has which piece, `texts x pieces`, the rarest pieces first.
        rare: the same without the most frequent fifth of each text's pieces.
        sizes: number of pieces of each text.
        left_out: number of pieces of each text that are missing in `rare`.
        last: index of each text's last piece in `rare`.
    """

    whole: csr_array
    rare: csr_array
    sizes: NDArray[np.int64]
    left_out: NDArray[np.int64]
    last: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[Sequence[str]]) -> "_Pieces":
        contents = [normalised(fields).ljust(_GRAM, "\0") for fields in texts]
        ends = np.cumsum([len(content) for content in contents])
        points = np.frombuffer("".join(contents).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        alphabet = np.flatnonzero(np.bincount(points))
        letters = np.zeros(alphabet[-1] + 1, dtype=np.uint64)
        letters[alphabet] = np.arange(len(alphabet))  # four letters must fit into 64 bits
        inside = np.ones(len(points), dtype=bool)
        for back in range(1, _GRAM):
            inside[ends - back] = False
        at = np.flatnonzero(inside)
        pieces = np.zeros(len(at), dtype=np.uint64)
        for k in range(_GRAM):
            pieces = (pieces << np.uint64(16)) | letters[points[at + k]]
        names = pd.factorize(pieces)[0]
        n = int(names.max()) + 1
        both = np.sort(np.searchsorted(ends, at, side="right") * n + names)  # many times faster than np.unique
        owners, names = np.divmod(both[np.diff(both, prepend=-1) > 0], n)
        by_rarity = np.empty(n, dtype=np.int64)
        by_rarity[np.argsort(np.bincount(names), kind="stable")] = np.arange(n)
        owners, names = np.divmod(np.sort(owners * n + by_rarity[names]), n)
        sizes = np.bincount(owners, minlength=len(texts))
        left_out = (sizes * _FREQUENT).astype(np.int64)
        starts = np.cumsum(sizes) - sizes
        kept = np.arange(len(names)) - starts[owners] < (sizes - left_out)[owners]
        whole, rare = (
            csr_array((np.ones(part.sum(), dtype=np.int32), (owners[part], names[part])), shape=(len(texts), n))
            for part in (np.ones(len(names), dtype=bool), kept)
        )
        return cls(whole, rare, sizes, left_out, names[starts + sizes - left_out - 1])


def _pairs(
    pieces: _Pieces,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    known: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the indices of near-copies in `rows` and `columns`, in blocks; each pair once if these are the same array.

    Pairs for which `known` is true when they are reached are left out. Only pairs with enough rare pieces in common are
    compared in full. Of two texts, take the one whose last rare piece is rarer: common pieces up to that piece are rare
    in both texts, and all other common pieces are among those that this text leaves out.

    Source: prefix filtering, Chaudhuri, Ganti and Kaushik 2006; Bayardo, Ma and Srikant 2007.
    """
    once = rows is columns
    rows, columns = (part[np.argsort(pieces.sizes[part], kind="stable")] for part in (rows, columns))
    sizes = pieces.sizes[columns]
    for start in range(0, len(rows), _ROWS):
        block = rows[start : start + _ROWS]
        low = start if once else np.searchsorted(sizes, THRESHOLD * pieces.sizes[block[0]] - 1)
        high = np.searchsorted(sizes, pieces.sizes[block[-1]] / THRESHOLD + 1)
        others = columns[low:high]
        common = (pieces.rare[block] @ pieces.rare[others].T).tocoo()
        ours, theirs = block[common.row], others[common.col]
        least = THRESHOLD / (1 + THRESHOLD) * (pieces.sizes[ours] + pieces.sizes[theirs])
        rarer = np.where(pieces.last[ours] <= pieces.last[theirs], ours, theirs)
        near = common.data + pieces.left_out[rarer] >= least - 1e-6
        if once:
            near &= common.row < common.col
        ours, theirs = ours[near], theirs[near]
        for first in range(0, len(ours), _PAIRS):
            one, other = ours[first : first + _PAIRS], theirs[first : first + _PAIRS]
            new = ~known(one, other)  # saves most comparisons if many texts follow one template
            one, other = one[new], other[new]
            same = pieces.whole[one].multiply(pieces.whole[other]).sum(axis=1)
            close = same / (pieces.sizes[one] + pieces.sizes[other] - same) >= THRESHOLD
            if close.any():
                yield one[close], other[close]
