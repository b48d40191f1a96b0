"""Settings of T's states and of the surrogate error based on them; imports no heavy library."""

from dataclasses import dataclass
from typing import Annotated

from fsp.base.device import Placed
from fsp.base.errors import check_least
from fsp.base.machine import check_threads, processors
from fsp.base.option import STEPS, TASK, THREADS


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
        tokens: tokens of training text, or samples; also the budget of a final distillation.
        length: tokens per training block.
        held_out_tokens: tokens of validation text, or samples, and as many of test text.
        threads: number of torch threads; None for all processors.

    Raises:
        InputError: a number is out of range.
    """

    steps: Annotated[int, STEPS] = 16
    tokens: int = 131_072
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
