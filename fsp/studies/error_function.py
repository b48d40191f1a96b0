"""The protocol of an error e(f), two optional capabilities, and errors made from plain functions."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from fsp.base.errors import InputError
from fsp.families.architecture import Architecture


class ErrorFunction(Protocol):
    """An error e(f): positive, without a unit; smaller is better.

    A plain function of an architecture, or of an architecture and `seed`, is accepted too; see `as_error`. An error may
    also be `Trained`, `Prolonged` or both.

    Attributes:
        settings: everything that values depend on besides architecture and seed, JSON-like. A study reuses evaluations
            only under equal settings. If missing, the name of the function is used, and a change of its code goes
            unnoticed.
        seeded: whether values depend on the seed. If missing, they do if the call takes one.

    Example:
        >>> class Depth:
        ...     settings, seeded = {"error": "depth"}, False
        ...
        ...     def __call__(self, architecture: Architecture, seed: int) -> float:
        ...         return 1 / architecture["D"]
        >>> as_error(Depth())(Architecture(D=4), seed=0)
        0.25
    """

    @property
    def settings(self) -> Mapping[str, Any]:
        """Everything that values depend on besides architecture and seed."""
        ...

    @property
    def seeded(self) -> bool:
        """Whether values depend on the seed."""
        ...

    def __call__(self, architecture: Architecture, seed: int) -> float:
        """Return the error of a candidate.

        Raises:
            ArithmeticError: the candidate has no error (training diverged); it is recorded as failed.
        """
        ...


AnyError = ErrorFunction | Callable[..., float]


class Trained(Protocol):
    """An error that can be measured after any number of steps; fidelities need it."""

    def with_steps(self, steps: int) -> AnyError:
        """Return the same error after `steps` training steps."""
        ...


class Prolonged(Protocol):
    """An error that can be measured after longer training; finalists and anchors need it."""

    def longer(self, factor: int) -> AnyError:
        """Return the same error after `factor` times the training."""
        ...


class Error:
    """An error with the full interface that fsp uses, made from any supported error; see `as_error`."""

    def __init__(self, given: AnyError):
        self._given = given
        try:
            seed = inspect.signature(given).parameters.get("seed")
        except (TypeError, ValueError):  # some callables written in C have no signature
            seed = None
        self._seed = seed

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that values depend on besides architecture and seed."""
        name = f"{self._given.__module__}.{getattr(self._given, '__qualname__', type(self._given).__qualname__)}"
        return dict(getattr(self._given, "settings", {"error": name}))

    @property
    def seeded(self) -> bool:
        """Whether values depend on the seed."""
        return self._seed is not None and getattr(self._given, "seeded", True)

    def __call__(self, architecture: Architecture, seed: int) -> float:
        """Return the error of a candidate."""
        required = self._seed is not None and self._seed.default is inspect.Parameter.empty
        if self.seeded or required:
            return float(self._given(architecture, seed=seed))
        return float(self._given(architecture))  # type: ignore[call-arg]

    def with_steps(self, steps: int) -> "Error":
        """Return the same error after `steps` training steps. Raises InputError if it is not `Trained`."""
        if not self._has("with_steps"):
            raise InputError("fidelities need an error with a method with_steps(steps); add one, or leave them out")
        return Error(cast(Trained, self._given).with_steps(steps))

    def longer(self, factor: int) -> "Error":
        """Return the same error after `factor` times the training. Raises InputError if it is not `Prolonged`."""
        if not self._has("longer"):
            raise InputError(
                "finalists and anchors need an error with a method longer(factor); add one, or leave finalists at 1 "
                "and anchors at 0"
            )
        return Error(cast(Prolonged, self._given).longer(factor))

    def variants(self, steps: int | None, factor: int | None) -> "list[Error]":
        """Return this error, and those after `steps` steps or `factor` times the training that it supports."""
        found = [self]
        if steps is not None and self._has("with_steps"):
            found.append(self.with_steps(steps))
        if factor is not None and self._has("longer"):
            found.append(self.longer(factor))
        return found

    def _has(self, method: str) -> bool:
        return callable(getattr(self._given, method, None))


def as_error(given: AnyError) -> Error:
    """Return an `Error` made from an `ErrorFunction`, or from a function of an architecture and, optionally, `seed`.

    Example:
        >>> error = as_error(lambda architecture: 1 / architecture["D"])
        >>> error(Architecture(D=2), seed=7), error.seeded
        (0.5, False)
    """
    return given if isinstance(given, Error) else Error(given)
