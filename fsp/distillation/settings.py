"""Settings of the surrogate error and of final distillations; imports no heavy library."""

import math
from dataclasses import dataclass, replace
from typing import Annotated

from fsp.base.device import Placed
from fsp.base.errors import InputError, check_least
from fsp.base.machine import check_threads, processors
from fsp.base.option import STEPS, TASK, THREADS, Option


@dataclass(frozen=True, kw_only=True)
class Running(Placed):
    """What T is for, and where networks run; see `Placed`.

    Attributes:
        task: what T is for; None for what it is.
    """

    task: Annotated[str | None, TASK] = None


@dataclass(frozen=True)
class SurrogateSettings(Running):
    """Settings of a surrogate error, apart from T and text.

    Attributes:
        steps: training steps s per candidate.
        tokens: tokens of training text, or samples, that evaluations train on.
        length: tokens per training block.
        held_out_tokens: tokens of validation text, or samples, and as many of test text.
        threads: number of torch threads; None for all processors.

    Raises:
        InputError: a number is out of range.
    """

    steps: Annotated[int, STEPS] = 16
    tokens: int = 65_536
    length: int = 64
    held_out_tokens: int = 8_192
    threads: Annotated[int | None, THREADS] = None

    def __post_init__(self) -> None:
        check_least(vars(self), steps=0, tokens=1, held_out_tokens=2048)
        check_threads(self.threads)

    @property
    def processor_threads(self) -> int:
        """Number of torch threads."""
        return self.threads or processors()


@dataclass(frozen=True)
class Budget:
    """The budget of each final distillation.

    Attributes:
        tokens: tokens of training text, or samples, for which T's outputs are computed, at most.
        epochs: how often a student sees them.
        minutes: wall time for T's outputs and one training; it sets the tokens, and the epochs too where the text is
            too short to fill it.

    Raises:
        InputError: a number is not positive.
    """

    tokens: Annotated[int, Option("Tokens of training text, or a classifier's samples.")] = 500_000
    epochs: Annotated[int, Option("How often a student of the final distillation sees them.")] = 1
    minutes: Annotated[
        float | None,
        Option("Minutes for T's outputs and each final distillation, instead of --tokens.", shown="none"),
    ] = None

    def __post_init__(self) -> None:
        check_least(vars(self), tokens=1, epochs=1)
        if self.minutes is not None and not (self.minutes > 0 and math.isfinite(self.minutes)):
            raise InputError(f"{self.minutes:g} minutes are no budget; give a positive number")

    def first(self, settings: SurrogateSettings) -> SurrogateSettings:
        """Return settings of a search that takes no more text than the final distillations."""
        return settings if self.minutes else replace(settings, tokens=min(settings.tokens, self.tokens))
