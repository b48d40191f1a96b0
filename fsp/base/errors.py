"""Exceptions, grouped by what the caller does about them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral
from typing import Any


class InputError(ValueError):
    """The user's input cannot be used; the message is one line saying what is wrong and what to do (exit 2).

    Line ends and terminal codes in quoted user data are shown escaped.
    """

    def __init__(self, message: str):
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message))


def check_least(given: Mapping[str, Any], **least: int) -> None:
    """Raise InputError if a given number is below its lower bound.

    Example:
        >>> check_least({"steps": 0}, steps=1)
        Traceback (most recent call last):
        fsp.base.errors.InputError: steps must be at least 1, not 0
    """
    for name, bound in least.items():
        if not isinstance(given[name], Integral):
            raise InputError(f"{name} must be a whole number, not {given[name]!r}")
        if given[name] < bound:
            raise InputError(f"{name} must be at least {bound}, not {given[name]}")


_DAMAGE = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RecursionError,
    StopIteration,
)
"""Exceptions that reading data not written by fsp may raise."""


@contextmanager
def untrusted(what: str, advice: str, also: type[Exception] = AssertionError) -> Iterator[None]:
    """Turn any exception that damaged data causes in this block into an InputError.

    Args:
        what: the data, as named in the message.
        advice: what to do if it is damaged.
        also: a further exception that reading it may raise.

    Raises:
        InputError: the data was not written by fsp or is damaged.
    """
    try:
        yield
    except InputError:
        raise
    except (*_DAMAGE, also) as problem:
        detail = " ".join(f"{type(problem).__name__} {problem}".split())[:100]
        raise InputError(f"{what} is damaged ({detail}); {advice}") from None


class ModelWarning(UserWarning):
    """A property of a loaded model that is allowed but probably unintended; one line."""


class RunFailed(RuntimeError):
    """The input was valid but the work failed, e.g. every candidate diverged (exit 1)."""


class AllFailed(RunFailed):
    """Every candidate failed."""


class Diverged(ArithmeticError):
    """Training produced a value that is not finite; the candidate is recorded as failed."""


def is_out_of_memory(problem: BaseException) -> bool:
    """Return whether an exception of Python, NumPy or torch reports a failed memory allocation."""
    if isinstance(problem, MemoryError) or type(problem).__name__ == "OutOfMemoryError":
        return True
    text = str(problem).lower()
    return isinstance(problem, RuntimeError) and ("allocate memory" in text or "bad_alloc" in text)
