"""Settings of latency measurements, checked before anything is built."""

from dataclasses import dataclass
from typing import Annotated

from fsp.base.defaults import BATCH, LENGTH
from fsp.base.device import Placed
from fsp.base.errors import InputError, check_least
from fsp.base.machine import check_threads
from fsp.base.option import SEED, THREADS, Option

LEAST_ROUNDS = 6  # with fewer there is no 95% interval for a median
_Rounds = Annotated[int, Option("How often each network is timed.")]


@dataclass(frozen=True)
class Timing:
    """What to time, and how often; `threads` of None uses all processors, and torch keeps the number afterwards.

    Raises:
        InputError: a number is out of range.

    Example:
        >>> Timing(batch=0)
        Traceback (most recent call last):
        fsp.base.errors.InputError: batch must be at least 1, not 0
    """

    batch: Annotated[int, Option("Sequences of an input.")] = BATCH
    length: Annotated[int, Option("Tokens of a sequence.")] = LENGTH
    rounds: _Rounds = 30
    threads: Annotated[int | None, THREADS] = None

    def __post_init__(self) -> None:
        check_least(vars(self), batch=1, length=1, rounds=LEAST_ROUNDS)
        check_threads(self.threads)


@dataclass(frozen=True)
class MeasurementSettings(Placed, Timing):
    """Settings of `fsp.deploy.latency.measuring.measure`; the device and its numbers are those of torch's runtimes.

    Weights are in the type of numbers too, as they are where a network is served.
    """

    memory: Annotated[bool, Option("Also measure peak memory.")] = False
    device: Annotated[str, Option("Where eager and compile run: cpu, cuda, cuda:N, mps or auto.")] = "cpu"
    dtype: Annotated[str, Option("Weights and numbers of eager and compile: float32 or bfloat16.")] = "float32"


@dataclass(frozen=True)
class CalibrationSettings(Timing):
    """Settings of `fsp.deploy.latency.calibrating.calibrate`; costs are operations."""

    rounds: _Rounds = 12
    share: Annotated[float, Option("Most that the fitted candidates may cost, of the cost of all; 0.15 for 15%.")] = (
        0.15
    )
    held_out: Annotated[int, Option("Other candidates to judge the prediction by.")] = 12
    seed: Annotated[int, SEED] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(vars(self), seed=0)
        if not 0 < self.share <= 1:
            raise InputError(f"share {self.share} is out of range; give a number up to 1, e.g. 0.15")
        check_least(vars(self), held_out=3)
