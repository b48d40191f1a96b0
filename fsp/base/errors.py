"""What can go wrong, by what follows from it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class InputError(ValueError):
    """What the user gave cannot be used; the message is one line saying what is wrong and what to do (exit 2).

    What it quotes of the user's data may hold line ends and terminal codes: they are shown escaped.
    """

    def __init__(self, message: str):
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message))


def check_least(given: Mapping[str, Any], **least: int) -> None:
    """Raise InputError where a given number is smaller than the least that it may be.

    Example:
        >>> check_least({"steps": 0}, steps=1)
        Traceback (most recent call last):
        fsp.base.errors.InputError: steps must be at least 1, not 0
    """
    for name, bound in least.items():
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
"""What reading data that no fsp has written may raise."""


@contextmanager
def untrusted(what: str, advice: str, also: type[Exception] = AssertionError) -> Iterator[None]:
    """Read data in this block.

    Args:
        what: the data.
        advice: what to do if it is damaged.
        also: what else reading it may raise.

    Raises:
        InputError: it is nothing that fsp has written.
    """
    try:
        yield
    except InputError:
        raise
    except (*_DAMAGE, also) as problem:
        detail = " ".join(f"{type(problem).__name__} {problem}".split())[:100]
        raise InputError(f"{what} is damaged ({detail}); {advice}") from None


class ModelWarning(UserWarning):
    """Something about a loaded model that is probably not what its user means, and may be; one line."""


class RunFailed(RuntimeError):
    """The input was fine and the work still failed, e.g. every candidate diverged (exit 1)."""


class AllFailed(RunFailed):
    """Every candidate failed."""


class Diverged(ArithmeticError):
    """Training gave something that is no number; the candidate is recorded as failed."""


def is_out_of_memory(problem: BaseException) -> bool:
    """Tell whether an exception says that memory could not be had, of Python, NumPy or torch."""
    if isinstance(problem, MemoryError) or type(problem).__name__ == "OutOfMemoryError":
        return True
    text = str(problem).lower()
    return isinstance(problem, RuntimeError) and ("allocate memory" in text or "bad_alloc" in text)
