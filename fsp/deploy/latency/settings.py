"""What every measurement of latency asks of its numbers, checked before anything is built."""

from fsp.base.errors import InputError
from fsp.deploy.latency.rounds import LEAST_ROUNDS


def check_settings(*, batch: int, length: int, rounds: int, threads: int | None, seed: int = 0) -> None:
    """Raise InputError where a number is out of range; threads may be None, for all processors'.

    Example:
        >>> check_settings(batch=0, length=128, rounds=12, threads=None)
        Traceback (most recent call last):
        fsp.base.errors.InputError: batch must be at least 1, not 0
    """
    least = {"batch": (batch, 1), "length": (length, 1), "rounds": (rounds, LEAST_ROUNDS), "seed": (seed, 0)}
    for name, (value, bound) in least.items():
        if value < bound:
            raise InputError(f"{name} must be at least {bound}, not {value}")
    if threads is not None and not 1 <= threads <= 1024:
        raise InputError(f"threads must be 1 to 1024, not {threads}")
