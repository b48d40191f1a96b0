"""Commands of fsp in processes of their own that kill themselves at a chosen moment."""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from running import HANG, SERVER, become

EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "tempfile.mkdtemp")


@dataclass(frozen=True)
class Ended:
    """What came of a command: its exit code (-9 if killed), output, and how often it touched the watched folder."""

    code: int | None
    stdout: str
    stderr: str
    touched: int


def _run(words, scratch, watched, kill_at, number, limits):
    """Be the command: called in a process of its own."""
    become(words, scratch)
    counter = os.open(scratch / "touched", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for name, value in limits.items():
        import resource

        resource.setrlimit(getattr(resource, name), (value, value))
    touched, inside = 0, False

    def hook(event, arguments):
        nonlocal touched, inside
        if inside or event not in EVENTS or not any(_below(argument, watched) for argument in arguments[:2]):
            return
        inside, touched = True, touched + 1
        os.pwrite(counter, b"%9d" % touched, 0)
        if touched == kill_at:
            os.kill(os.getpid(), number)
        inside = False

    sys.addaudithook(hook)
    from fsp.cli.app import main

    main()


def _below(argument, watched):
    return isinstance(argument, str | os.PathLike) and str(argument).startswith(watched)


class Commands:
    """Runs commands of fsp.

    Args:
        folder: for their output.
    """

    def __init__(self, folder: Path):
        self._folder, self._count = folder, 0

    def start(
        self, words: Sequence[object], *, watched: Path, kill_at: int = 0, number: int = signal.SIGKILL, limits=None
    ) -> "Running":
        """Start a command that sends itself a signal before it touches the watched folder for the `kill_at`-th time."""
        scratch = self._folder / str(self._count)
        scratch.mkdir(parents=True)
        self._count += 1
        process = SERVER.Process(
            target=_run, args=([str(word) for word in words], scratch, str(watched), kill_at, number, limits or {})
        )
        process.start()
        return Running(process, scratch)

    def run(self, words: Sequence[object], **options) -> Ended:
        """Run a command to its end."""
        return self.start(words, **options).end()


@dataclass(frozen=True)
class Running:
    """A command under way."""

    process: multiprocessing.process.BaseProcess
    scratch: Path

    @property
    def touched(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            return int((self.scratch / "touched").read_text())
        return 0

    def end(self, seconds: float = HANG) -> Ended:
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
            raise AssertionError("the command did not end: " + (self.scratch / "stderr").read_text())
        out, err = (
            (self.scratch / name).read_text() if (self.scratch / name).exists() else "" for name in ("stdout", "stderr")
        )
        return Ended(self.process.exitcode, out, err, self.touched)
