"""What an error e(f) is for the rest of fsp: one protocol, two capabilities that it may have, and plain functions."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from fsp.base.errors import InputError
from fsp.families.architecture import Architecture


class ErrorFunction(Protocol):
    """An error e(f): smaller is better, positive, no unit.

    A plain function of an architecture, or of an architecture and `seed`, will do as well; see `as_error`. An error may
    also be `Trained`, `Prolonged` or both.

    Attributes:
        settings: what values depend on besides architecture and seed, JSON-like. Evaluations in a study are reused only
            under equal settings. Where it is missing, the name of the function stands for it, and a change of its code
            goes unnoticed.
        seeded: whether values depend on the seed. Where it is missing, they do if the call takes one.

    Example:
        >>> class Depth:
        ...     settings, seeded = {"error": "depth"}, False
        ...
        ...     def __call__(self, architecture: Architecture, seed: int) -> float:
        ...         return 1 / architecture["D"]
        >>> as_error(Depth())(Architecture(D=4), seed=0)
        0.25
    """

    settings: Mapping[str, Any]
    seeded: bool

    def __call__(self, architecture: Architecture, seed: int) -> float:
        """Return the error of a candidate.

        Raises:
            ArithmeticError: it has none (training diverged); the candidate is recorded as failed.
        """
        ...


AnyError = ErrorFunction | Callable[..., float]


@runtime_checkable
class Trained(Protocol):
    """An error that can be measured after any number of steps; fidelities need it."""

    def with_steps(self, steps: int) -> AnyError:
        """Return the same error after so many training steps."""
        ...


@runtime_checkable
class Prolonged(Protocol):
    """An error that can be measured after longer training; finalists and anchors need it."""

    def longer(self, factor: int) -> AnyError:
        """Return the same error after so many times the training."""
        ...


class Error:
    """An error as the rest of fsp sees it, made of whatever a caller has; see `as_error`."""

    def __init__(self, given: AnyError):
        self._given = given
        self._takes_seed = "seed" in inspect.signature(given).parameters

    @property
    def settings(self) -> dict[str, Any]:
        """What values depend on besides architecture and seed."""
        name = f"{self._given.__module__}.{getattr(self._given, '__qualname__', type(self._given).__qualname__)}"
        return dict(getattr(self._given, "settings", {"error": name}))

    @property
    def seeded(self) -> bool:
        """Whether values depend on the seed."""
        return self._takes_seed and getattr(self._given, "seeded", True)

    def __call__(self, architecture: Architecture, seed: int) -> float:
        """Return the error of a candidate."""
        return float(self._given(architecture, seed=seed) if self._takes_seed else self._given(architecture))  # type: ignore[call-arg]

    def with_steps(self, steps: int) -> "Error":
        """Return the same error after so many steps. Raises InputError where it is not `Trained`."""
        if not isinstance(self._given, Trained):
            raise InputError("fidelities need an error with a method with_steps(steps); add one, or leave them out")
        return Error(self._given.with_steps(steps))

    def longer(self, factor: int) -> "Error":
        """Return the same error after so many times the training. Raises InputError where it is not `Prolonged`."""
        if not isinstance(self._given, Prolonged):
            raise InputError(
                "finalists and anchors need an error with a method longer(factor); add one, or leave finalists at 1 "
                "and anchors at 0"
            )
        return Error(self._given.longer(factor))

    def variants(self, steps: int | None, factor: int | None) -> "list[Error]":
        """Return this error and what it becomes after so many steps or so many times the training, where it can."""
        found = [self]
        if steps is not None and isinstance(self._given, Trained):
            found.append(self.with_steps(steps))
        if factor is not None and isinstance(self._given, Prolonged):
            found.append(self.longer(factor))
        return found


def as_error(given: AnyError) -> Error:
    """Return an error made of an `ErrorFunction`, or of a function of an architecture or an architecture and `seed`.

    Example:
        >>> error = as_error(lambda architecture: 1 / architecture["D"])
        >>> error(Architecture(D=2), seed=7), error.seeded
        (0.5, False)
    """
    return given if isinstance(given, Error) else Error(given)
