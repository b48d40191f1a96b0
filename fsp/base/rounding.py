"""Numbers as text, rounded in the direction that keeps a claim about them true."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

_EXACT = Context(prec=800)  # digits: enough for every float
_LONG = 10_000  # percent; from here on, four digits and a power of ten
_DIGITS = 2  # of alpha


def at_most(share: float, digits: int = 2) -> str:
    """Return a share as a percentage rounded up, for upper bounds such as a gap.

    Args:
        share: not negative.
        digits: number of digits after the decimal point.

    Example:
        >>> at_most(0.020408), at_most(0.05), at_most(1e-9), at_most(1.25e30)
        ('2.05%', '5.00%', '0.01%', '1.250e+32%')
    """
    return _percent(share, digits, ROUND_CEILING)


def at_least(share: float, digits: int = 2) -> str:
    """Return a share as a percentage rounded down, for lower bounds such as a coverage.

    Example:
        >>> at_least(0.9996, 1), at_least(1.0, 0)
        ('99.9%', '100%')
    """
    return _percent(share, digits, ROUND_FLOOR)


def confidence(alpha: float) -> str:
    """Return 1 - alpha as a percentage, alpha rounded up to two digits; it is never 100%.

    Example:
        >>> confidence(0.05), confidence(0.004), confidence(0.00123456), confidence(1e-9)
        ('95%', '99.6%', '99.87%', '99.9999999%')
    """
    rounded = _rounded(Decimal(repr(float(alpha))), _DIGITS, ROUND_CEILING)
    text = f"{_EXACT.multiply(_EXACT.subtract(Decimal(1), rounded), Decimal(100)):f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + "%"


def up(value: float, digits: int = 3) -> str:
    """Return a number rounded up to `digits` significant digits.

    Example:
        >>> up(0.0204081), up(0.0)
        ('0.0205', '0')
    """
    return plain(float(_rounded(Decimal(repr(float(value))), digits, ROUND_CEILING)))


def plain(value: float) -> str:
    """Return a number in the fewest digits that read back as itself.

    Example:
        >>> plain(1048576.0), plain(0.02), plain(4)
        ('1048576', '0.02', '4')
    """
    return repr(int(value)) if float(value).is_integer() and abs(value) < 1e16 else repr(float(value))


def _percent(share: float, digits: int, rounding: str) -> str:
    if not math.isfinite(share):
        return f"{share}%"
    value = _EXACT.multiply(Decimal(repr(float(share))), Decimal(100))
    if value >= _LONG:
        return f"{_rounded(value, 4, rounding):.3e}%"
    return f"{value.quantize(Decimal(1).scaleb(-digits), rounding=rounding, context=_EXACT):f}%"


def _rounded(value: Decimal, digits: int, rounding: str) -> Decimal:
    """Return a number rounded to `digits` significant digits."""
    if not value:
        return value
    return value.quantize(Decimal(1).scaleb(value.adjusted() + 1 - digits), rounding=rounding, context=_EXACT)
