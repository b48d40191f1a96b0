"""Claims: named locks with one holder at a time, released by the system when the holder's process ends.

A claim is a lock of the operating system on a byte of a file, or an advisory lock of a PostgreSQL session. Neither
needs a heartbeat, a time limit or a clock, and a process that is stopped for an hour keeps its claims.
"""

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Engine

_LONGEST_NAP = 0.05  # seconds between attempts to take a claim that is held


class Claims:
    """Claims among the threads of this process; subclasses extend them to several processes."""

    def __init__(self) -> None:
        self._mine: set[str] = set()
        self._guard = threading.Lock()

    def take(self, name: str) -> bool:
        """Take a claim if it is free, and return whether it was taken."""
        with self._guard:
            if name in self._mine or not self._lock(_number(name)):
                return False
            self._mine.add(name)
            return True

    def release(self, name: str) -> None:
        """Release a claim that was taken."""
        with self._guard:
            self._mine.discard(name)
            self._unlock(_number(name))

    def wait(self, name: str) -> None:
        """Take a claim as soon as it is free."""
        nap = 0.001
        while not self.take(name):
            time.sleep(nap)
            nap = min(2 * nap, _LONGEST_NAP)

    def held(self, name: str) -> bool:
        """Return whether anybody holds a claim. The check itself takes the claim for an instant."""
        if self.take(name):
            self.release(name)
            return False
        return True

    @contextmanager
    def holding(self, name: str) -> Iterator[None]:
        """Hold a claim during a block, waiting until it is free."""
        self.wait(name)
        try:
            yield
        finally:
            self.release(name)

    def _lock(self, number: int) -> bool:
        return True

    def _unlock(self, number: int) -> None:
        pass


class FileClaims(Claims):
    """Claims among processes on one file system: POSIX locks on single bytes, far apart, of an empty file.

    Use `file_claims` to make one: a process loses all POSIX locks on a file when it closes any descriptor of the file.

    Args:
        path: the file, created at the first claim.
    """

    def __init__(self, path: Path):
        super().__init__()
        self._path = path
        self._descriptor = -1

    def _lock(self, number: int) -> bool:
        if not self._mine:
            self._open()
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except (BlockingIOError, PermissionError):  # POSIX allows both for a lock that another process holds
            return False
        return True

    def _unlock(self, number: int) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, number)

    def _open(self) -> None:
        """Open the file that the path currently names, as the folder may have been removed and created again."""
        if self._descriptor >= 0:
            try:
                if os.path.samestat(os.fstat(self._descriptor), self._path.stat()):
                    return
            except FileNotFoundError:
                pass
            os.close(self._descriptor)
            self._descriptor = -1
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


_files: dict[tuple[int, Path], FileClaims] = {}
_files_guard = threading.Lock()


def file_claims(path: Path) -> FileClaims:
    """Return the claims of this process in a file.

    Example:
        >>> import tempfile
        >>> claims = file_claims(Path(tempfile.mkdtemp()) / "claims")
        >>> claims.take("a"), claims.take("a"), claims.take("b"), claims.held("a")
        (True, False, True, True)
        >>> claims.release("a")
        >>> claims.held("a")
        False
    """
    key = os.getpid(), path.resolve()  # a forked child inherits the object but none of the locks
    with _files_guard:
        return _files.setdefault(key, FileClaims(path.resolve()))


class ServerClaims(Claims):
    """Claims among all clients of a PostgreSQL database: advisory locks of one session.

    Args:
        engine: a SQLAlchemy engine; one of its connections stays open.
    """

    def __init__(self, engine: "Engine"):
        super().__init__()
        self._connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        # keepalives let the server notice soon that a client's machine has disappeared
        for name, seconds in (("idle", 30), ("interval", 10), ("count", 3)):
            self._run(f"SET tcp_keepalives_{name} = {seconds}")

    def _lock(self, number: int) -> bool:
        return bool(self._run(f"SELECT pg_try_advisory_lock({number})").scalar())

    def _unlock(self, number: int) -> None:
        self._run(f"SELECT pg_advisory_unlock({number})")

    def _run(self, statement: str):  # type: ignore[no-untyped-def]
        from sqlalchemy import text

        return self._connection.execute(text(statement))


def _number(name: str) -> int:
    """Return a number below 2^62 for a name: an offset in a file, or the key of an advisory lock."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 2
