"""The assumptions of a certified extraction about the error, and its budget."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fsp.base.errors import InputError


@dataclass(frozen=True)
class CertifiedSettings:
    """The assumptions and the budget of a certified extraction.

    Attributes:
        alpha: the largest probability that the claim is wrong.
        tau: tolerance of assumption M.
        neutral: parameters that may differ between comparable shapes, each with its tolerance.
        sigma: standard deviation of log e over seeds; 0 for an error without noise, None to estimate it.
        seeds: evaluations of each candidate; at least 2 if sigma is estimated.
        evaluations: the most candidates to evaluate; None for as many as it takes.
        audit: how many unevaluated candidates, drawn at random, to evaluate as a check of M.
        error_floor: a lower limit of all errors, None if none is known.
        tau_post_hoc: whether tau was chosen after seeing evaluations.
        transfer: `low`, `high` and `source` of e_final/e_s over all candidates, from ground truth.

    Raises:
        InputError: a value out of range.
    """

    alpha: float = 0.05
    tau: float = 0.0
    neutral: Mapping[str, float] = field(default_factory=dict)
    sigma: float | None = None
    seeds: int = 3
    evaluations: int | None = None
    audit: int = 0
    error_floor: float | None = None
    tau_post_hoc: bool = False
    transfer: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise InputError(f"alpha {self.alpha} is out of range; give a number between 0 and 1, e.g. 0.05")
        for name, value in (("tau", self.tau), *self.neutral.items()):
            if not 0 <= value < 1:
                raise InputError(f"the tolerance of {name}, {value}, is out of range; give 0 to below 1, e.g. 0.02")
        if self.sigma is not None and not 0 <= self.sigma < math.inf:
            raise InputError(f"sigma {self.sigma} is out of range; give 0 for no noise, e.g. 0.03, or leave it out")
        least = 2 if self.sigma is None else 1
        if self.seeds < least:
            raise InputError(f"seeds {self.seeds} is too few; give at least {least}, or declare sigma")
        if self.evaluations is not None and self.evaluations < 1:
            raise InputError(f"evaluations {self.evaluations} is too few; give at least 1")
        if self.audit < 0:
            raise InputError(f"audit {self.audit} is out of range; give 0 for none, e.g. 20")
        if self.error_floor is not None and not 0 < self.error_floor < math.inf:
            raise InputError(f"error_floor {self.error_floor} is out of range; give a positive number or leave it out")
        if self.transfer is not None:
            ends = self.transfer.get("low", 0), self.transfer.get("high", 0)
            if self.transfer.keys() != {"low", "high", "source"} or not 0 < ends[0] <= ends[1] < math.inf:
                raise InputError("transfer needs low, high and source, with 0 < low <= high; give all three or none")

    def assumptions(self) -> dict[str, Any]:
        """Return the part of a certificate's record that these settings determine."""
        names = ("tau", "tau_post_hoc", "sigma", "error_floor")
        transfer = None if self.transfer is None else dict(self.transfer)
        return {
            **{name: getattr(self, name) for name in names},
            "neutral": dict(self.neutral),
            "transfer": transfer,
        }
