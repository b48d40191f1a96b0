"""What every measurement of latency asks of its numbers, checked before anything is built."""

from fsp.base.errors import check_least
from fsp.base.machine import check_threads
from fsp.deploy.latency.rounds import LEAST_ROUNDS


def check_settings(*, batch: int, length: int, rounds: int, threads: int | None, seed: int = 0) -> None:
    """Raise InputError where a number is out of range; threads may be None, for all processors'.

    Example:
        >>> check_settings(batch=0, length=128, rounds=12, threads=None)
        Traceback (most recent call last):
        fsp.base.errors.InputError: batch must be at least 1, not 0
    """
    given = {"batch": batch, "length": length, "rounds": rounds, "seed": seed}
    check_least(given, batch=1, length=1, rounds=LEAST_ROUNDS, seed=0)
    check_threads(threads)
