"""The workers that a search starts on its own machine."""

import contextlib
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from fsp.base.errors import InputError
from fsp.base.machine import processors
from fsp.base.progress import Progress
from fsp.studies.store import Store

_GRACE = 5  # seconds between asking a worker to end and killing it


def check_cores(workers: int, threads: int) -> None:
    """Raise InputError if `workers` workers of `threads` threads each exceed the processors of this machine.

    An error depends on the number of threads, so it is never reduced silently.
    """
    if workers < 1:
        raise InputError(f"workers must be at least 1, not {workers}")
    cores = processors()
    if workers > 1 and workers * threads > cores:
        advice = f"add --threads {cores // workers}" if cores >= workers else f"give at most {cores} workers"
        raise InputError(
            f"{workers} workers of {threads} threads need {workers * threads} processors, and there are {cores}; "
            f"{advice} (numbers depend on the threads)"
        )


@contextmanager
def start_workers(store: Store, count: int, arguments: Sequence[str], display: Progress) -> Iterator[None]:
    """Run `count` processes of `fsp worker` during the block.

    They end with the block, and after their current evaluation if this process is killed.

    Args:
        store: the store shared with this process; not in memory.
        count: number of workers.
        arguments: arguments of `fsp worker`.
        display: where a failure of a worker is reported.
    """
    if not count:
        yield
        return
    leader = f"leader {uuid.uuid4().hex}"
    command = [sys.executable, "-m", "fsp", "worker", *arguments, "--leader", leader]
    with store.claims.holding(leader), tempfile.TemporaryFile("w+") as messages:
        started = [_start(command, messages) for _ in range(count)]
        try:
            yield
        finally:
            failed = [process for process in started if process.poll()]
            _end(started)
            if failed:
                messages.seek(0)
                last = (messages.read().strip().splitlines() or ["no message"])[-1]
                display.say(f"{len(failed)} of {count} workers ended early, and the search went on: {last[:300]}")


def _start(command: Sequence[str], messages: IO[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=messages,
        start_new_session=True,  # keeps Ctrl-C in the terminal from the workers: the search ends them itself
    )


def _end(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
        process.kill()
        process.wait()


def worker_arguments(space: str, where: str | Path, options: Mapping[str, Any], data: Sequence[str]) -> list[str]:
    """Return the arguments of an `fsp worker` that helps a search; options that are None are left out."""
    given = [space, "--study", str(where)]
    for name, value in options.items():
        given += [] if value is None else [f"--{name}", str(value)]
    return given + [word for path in data for word in ("--corpus", path)]
