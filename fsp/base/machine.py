"""How long a command may take, how much memory, and on how many processors."""

import math
import os
import re
import signal

from fsp.base.errors import InputError

_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_LEAST = 10**9  # bytes: torch and transformers, loaded, reserve most of it


def keep_time(seconds: float) -> None:
    """End this process after so many seconds as SIGTERM does: what is finished is kept.

    Raises:
        InputError: not a positive number of seconds.
    """
    if not 0 < seconds < math.inf:
        raise InputError(f"--max-time {seconds:g} is no time; give a positive number of seconds")
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGTERM))
    signal.setitimer(signal.ITIMER_REAL, seconds)


def keep_memory(text: str) -> None:
    """Let this process, and each that it starts, have so much memory of its own; what asks for more fails.

    Files that are mapped, such as a teacher's states, do not count (RLIMIT_DATA).

    Args:
        text: bytes, or with a unit, as `4GB` or `800 MB`.

    Raises:
        InputError: no such amount, or less than the libraries need.
    """
    import resource  # there is none but on POSIX, and processors() is asked everywhere

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
    """Return how many processors this process may use; a cluster's scheduler may grant fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_threads(threads: int | None) -> None:
    """Raise InputError for a number of threads that no processor has; None stands for all processors."""
    if threads is not None and not 1 <= threads <= 1024:
        raise InputError(f"threads must be 1 to 1024, not {threads}")
