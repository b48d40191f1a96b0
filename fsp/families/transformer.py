"""What transformer families share. Scalar operations are counted as in `fsp.families.bert.operations`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError

Count = NDArray[np.int64]


def integers(shape: Mapping[str, Any], names: str) -> list[Count]:
    """Return the named parameters as int64 arrays."""
    return [np.asarray(shape[name], dtype=np.int64) for name in names]


def norm(rows: int, width: Count, *, bias: bool = True) -> Count:
    """Layer normalisation of `rows` vectors: 7 a value and 2 a vector, one less a value without bias."""
    return rows * ((7 if bias else 6) * width + 2)


def attention(rows: int, heads: Count, width: Count) -> Count:
    """Attention of `rows` tokens to each other, projections apart; masks save nothing.

    Q K^T takes `rows² (2 width - heads)`, the scaling `heads rows²`, the softmax `heads rows (5 rows - 2)`,
    the context `rows width (2 rows - 1)`.
    """
    return 2 * rows * rows * width + heads * rows * (5 * rows - 2) + rows * width * (2 * rows - 1)


def check_heads(architecture: Mapping[str, int]) -> None:
    """Raise InputError where the heads do not partition the hidden size."""
    if architecture["H"] % architecture["A"]:
        raise InputError(f"A={architecture['A']} does not divide H={architecture['H']}; choose A so that H % A == 0")


def head_size_changed(full: Mapping[str, int], shape: Mapping[str, int]) -> bool:
    """Return whether the attention heads of a shape have another size H / A than those of the trained network.

    Such a shape can only be cut by merging or splitting trained heads; false for a family without heads.

    Example:
        >>> large = {"D": 24, "A": 16, "H": 1024, "I": 4096}
        >>> head_size_changed(large, {"D": 4, "A": 8, "H": 1024, "I": 768})
        True
        >>> head_size_changed(large, {"D": 4, "A": 8, "H": 512, "I": 768})
        False
    """
    return "A" in full and shape["H"] * full["A"] != shape["A"] * full["H"]
