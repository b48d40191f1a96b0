"""The question that a search answers: an objective with its limits, or W with its p and exponents."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.search.certificates.settings import CertifiedSettings
from fsp.search.coefficient import w_coefficient
from fsp.search.limits import resolve_limits, within
from fsp.spaces.space import SearchSpace, family_of

Objective = Literal["limits", "w"]
Size = Literal["parameters", "encoder_parameters"]

DEFAULT_SHARE = "25%"


@dataclass(frozen=True)
class Limits:
    """The least error among the candidates within hard limits.

    Attributes:
        limits: the largest value of each objective, a number or a share of T's such as "25%"; by name: `parameters`,
            `embedding_parameters`, `encoder_parameters`, `operations`, `peak_memory` (bytes, see
            `fsp.objectives.memory`) and, with a calibration, `latency` (milliseconds); None for a quarter of T's
            encoder parameters and i.
    """

    limits: Mapping[str, float | str] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        if self.limits is None:
            return
        if not isinstance(self.limits, Mapping):
            raise InputError(f'limits {self.limits!r} are no limits by name; write e.g. {{"operations": "25%"}}')
        object.__setattr__(self, "limits", dict(self.limits))
        resolve_limits(self.limits, dict.fromkeys(self.limits, 1.0))  # refuses what is no number

    def resolved(self, maximum: Mapping[str, float]) -> "Question":
        """Return the question with absolute limits, from p and i of T."""
        default = {"encoder_parameters": DEFAULT_SHARE, _speed(maximum): DEFAULT_SHARE}
        return Question("limits", resolve_limits(self.limits or default, maximum), "parameters", (1.0, 1.0), maximum)


@dataclass(frozen=True)
class LargestW:
    """The largest W-coefficient among all candidates.

    Attributes:
        size: the objective that is p(f).
        exponents: exponents of the factors of p and i.
    """

    size: Size = "parameters"
    exponents: tuple[float, float] = (1.0, 1.0)
    limits: ClassVar[None] = None

    def __post_init__(self) -> None:
        if self.size not in ("parameters", "encoder_parameters"):
            raise InputError(f"no size {self.size!r} for W; there are parameters and encoder_parameters")
        if len(self.exponents) != 2 or not all(0 <= exponent < np.inf for exponent in self.exponents):
            raise InputError(f"exponents {self.exponents} are out of range; give two numbers from 0, e.g. 1 and 1")

    def resolved(self, maximum: Mapping[str, float]) -> "Question":
        """Return the question with p and i of T."""
        return Question("w", {}, self.size, self.exponents, maximum)


def asked(
    objective: str, limits: Mapping[str, float | str] | None, size: Size, exponents: tuple[float, float]
) -> Limits | LargestW:
    """Return the question that flat options ask.

    Raises:
        InputError: an objective or size is unknown, limits are given for W, or a limit or exponent is out of range.
    """
    if objective not in ("limits", "w"):
        raise InputError(f"no objective {objective!r}; there are limits and w")
    if objective == "w" and limits:
        raise InputError("limits belong to objective 'limits'; leave them out for 'w'")
    largest = LargestW(size, exponents)  # checks both, whatever the objective
    return Limits(limits) if objective == "limits" else largest


@dataclass(frozen=True)
class Question:
    """A question that a table of p, i and error answers.

    Attributes:
        objective: `limits` or `w`.
        limits: the limits as absolute numbers, empty for `w`.
        size: the objective that is p(f) in W.
        exponents: exponents of the factors of p and i in W.
        maximum: p and i of T. If it has `latency`, that is i in W and in the default limits; otherwise `operations` is.
    """

    objective: Objective
    limits: dict[str, float]
    size: Size
    exponents: tuple[float, float]
    maximum: Mapping[str, float]

    @property
    def speed(self) -> str:
        """The column of i."""
        return _speed(self.maximum)

    @classmethod
    def of(
        cls,
        objective: Objective,
        limits: Mapping[str, float | str] | None,
        size: Size,
        exponents: tuple[float, float],
        maximum: Mapping[str, float],
    ) -> "Question":
        """Return the question with absolute limits (a quarter of T if none are given).

        Raises:
            InputError: an objective or size is unknown, limits are given for W, or a limit or exponent is out of range.
        """
        return asked(objective, limits, size, exponents).resolved(maximum)

    def feasible(self, table: pd.DataFrame) -> NDArray[np.intp]:
        """Return the positions of the rows within the limits. Raises InputError if there are none."""
        return np.flatnonzero(within(table, self.limits)) if self.limits else np.arange(len(table))

    def score(self, table: pd.DataFrame) -> NDArray[np.float64]:
        """Return W or, under limits, 1/error of each row, `(n,)`; NaN for a row without an error."""
        error = table["error"].to_numpy(dtype=np.float64)
        scores = np.full(len(table), np.nan)
        known = ~np.isnan(error)
        if self.objective == "limits":
            scores[known] = 1 / error[known]
        else:
            maximum = (self.maximum[self.size], self.maximum[self.speed])
            rows = table[known]
            scores[known] = w_coefficient(
                rows[self.size], rows[self.speed], rows["error"], maximum=maximum, exponents=self.exponents
            )
        return scores

    def record(
        self, space: SearchSpace, table: pd.DataFrame, settings: CertifiedSettings, gap: float
    ) -> dict[str, Any]:
        """Return the record of a certificate before any evaluation.

        Args:
            space: the search space; its neutral parameters must be equal in comparable shapes unless the settings
                give them a tolerance.
            table: p and i of all candidates, in the order of `space.candidates`.
            settings: the assumptions.
            gap: the gap to prove.
        """
        if self.objective == "limits":
            choice: dict[str, Any] = {"objective": "limits", "limits": self.limits}
        else:
            choice = {"objective": "w", "size": self.size, "speed": ["operations"] * 2}
            choice["exponents"] = list(self.exponents)
        needed = family_of(space).CONSTANTS
        constants = {name: value for name, value in space.constants.items() if name in needed}
        return {
            "space": space.describe() | {"constants": constants},
            "parameters": {name: column.tolist() for name, column in space.columns(space.candidates).items()},
            "equal": [name for name in getattr(space, "neutral", ()) if name not in settings.neutral],
            "objectives": {name: table[name].tolist() for name in self.maximum},
            "maximum": dict(self.maximum),
            "choice": choice,
            "assumptions": settings.assumptions(),
            "alpha": settings.alpha,
            "target": gap,
        }


def _speed(maximum: Mapping[str, float]) -> str:
    return "latency" if "latency" in maximum else "operations"
