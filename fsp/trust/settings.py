"""Settings of a report card."""

from dataclasses import dataclass
from typing import Annotated

from fsp.base.errors import InputError, check_least
from fsp.base.option import SEED, STEPS, THREADS, Option


@dataclass(frozen=True)
class CardSettings:
    """Settings of `fsp error card`, apart from its space, T, text and limits.

    Raises:
        InputError: a number is out of range.
    """

    shapes: Annotated[int, Option("How many candidates to train long.")] = 24
    truth_steps: Annotated[int, Option("Steps of the long training.")] = 512
    truth_seeds: Annotated[int, Option("Long trainings of each; 2 or more give the noise.")] = 2
    steps: Annotated[int, STEPS] = 16
    seed: Annotated[int, SEED] = 0
    threads: Annotated[int | None, THREADS] = None

    def __post_init__(self) -> None:
        for name, least in (("shapes", 10), ("truth_steps", 1), ("truth_seeds", 1)):
            if getattr(self, name) < least:
                raise InputError(f"--{name.replace('_', '-')} must be at least {least}, not {getattr(self, name)}")
        check_least(vars(self), seed=0)
        if self.steps < 1:
            raise InputError("a report card compares the error after s and 2s steps; give --steps of at least 1")
