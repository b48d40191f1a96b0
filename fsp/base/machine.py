"""Limits of a command: time, memory, processors."""

import math
import os
import re
import signal

from fsp.base.errors import InputError

_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_LEAST = 10**9  # bytes; importing torch and transformers reserves most of it


def keep_time(seconds: float) -> None:
    """End this process after the given seconds as SIGTERM does: finished work is kept.

    Raises:
        InputError: not a positive number of seconds.
    """
    if not 0 < seconds < math.inf:
        raise InputError(f"--max-time must be a positive number of seconds, not {seconds:g}")
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGTERM))
    signal.setitimer(signal.ITIMER_REAL, seconds)


def keep_memory(text: str) -> None:
    """Limit the private memory of this process and of each process that it starts; allocations beyond it fail.

    Mapped files, such as a teacher's states, do not count (RLIMIT_DATA).

    Args:
        text: bytes, or a number with a unit, such as `4GB` or `800 MB`.

    Raises:
        InputError: not an amount of memory, or less than the libraries need.
    """
    import resource  # here, because it exists on POSIX only and the rest of the module is needed everywhere

    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?b|)\s*", text.lower())
    if match is None:
        raise InputError(f"--max-memory {text!r} is no amount of memory; write it as 4GB")
    wanted = float(match[1]) * _UNITS[match[2]]
    if not _LEAST <= wanted < 2**62:
        raise InputError(f"--max-memory {text} is too little to load torch, or too much; give 1GB or more")
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    own = int(wanted) if hard == resource.RLIM_INFINITY else min(int(wanted), hard)
    resource.setrlimit(resource.RLIMIT_DATA, (own, hard))


def processors() -> int:
    """Return how many processors this process may use; a cluster's scheduler may grant fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_threads(threads: int | None) -> None:
    """Raise InputError for an impossible number of threads; None stands for all processors."""
    if threads is not None and not 1 <= threads <= 1024:
        raise InputError(f"threads must be 1 to 1024, not {threads}")
