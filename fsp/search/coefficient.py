"""The W-coefficient: the paper's single number for size, speed and error."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fsp.base.errors import InputError


def w_coefficient(
    parameters: ArrayLike,
    speed: ArrayLike,
    error: ArrayLike,
    /,
    *,
    maximum: tuple[float, float],
    exponents: tuple[float, float] = (1.0, 1.0),
) -> NDArray[np.float64]:
    """Return W = (1 - p/p_T)^a (1 - i/i_T)^b / e; larger is better, and W of the maximum point T is 0.

    Args:
        parameters: p, positive, in the unit of `maximum[0]`; a number or an array.
        speed: i, positive, in the unit of `maximum[1]`; smaller is faster.
        error: e, positive.
        maximum: p and i of the maximum point T.
        exponents: a and b, not negative; the paper's are 1 and 1.

    Raises:
        InputError: a value is NaN, infinite or not positive, p or i exceeds T's, or an exponent is out of range.

    Source: arXiv 2010.08512, in the form of its adaptation by kmz4/QHACK2021.

    Example:
        >>> w_coefficient([50, 100], [5, 10], [0.25, 0.01], maximum=(100, 10)).tolist()
        [1.0, 0.0]
    """
    p, i, e = (np.asarray(values, dtype=np.float64) for values in (parameters, speed, error))
    for name, values in (("parameters", p), ("speed", i), ("error", e), ("maximum", np.asarray(maximum, float))):
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise InputError(f"W needs positive, finite numbers; {name} holds others")
    if (p > maximum[0]).any() or (i > maximum[1]).any():
        raise InputError("W needs p and i no larger than those of the maximum point T")
    if not all(0 <= exponent < np.inf for exponent in exponents):
        raise InputError(f"exponents {exponents} of W are out of range; give numbers from 0, e.g. 1 and 1")
    return (1 - p / maximum[0]) ** exponents[0] * (1 - i / maximum[1]) ** exponents[1] / e
