"""Where evaluations are kept: an Optuna storage in a journal file, SQLite or PostgreSQL, and the claims beside it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from fsp.base.errors import InputError, RunFailed, untrusted
from fsp.studies.locks import Claims, ServerClaims, file_claims

_JOURNAL = "journal"  # claim for appending to a journal file
_WRITE = "write"  # claim for writing to SQLite
_OPEN = "open"  # claim for creating tables
_BEGINNING = b'{"op_code":'  # start of every line that Optuna writes
_PATIENCE = 60  # seconds that SQLite waits for a reader


@dataclass(frozen=True)
class Store:
    """An open storage, and the claims of all processes that share it.

    Attributes:
        where: the file or URL as messages show it, without a password.
        storage: the Optuna storage.
        claims: the claims that coordinate the processes.
    """

    where: str
    storage: BaseStorage
    claims: Claims

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn errors of writing in this block into one-line messages.

        Raises:
            RunFailed: the disk is full, the connection is lost, or the like.
        """
        try:
            if isinstance(self.storage, RDBStorage) and self.storage.engine.name == "sqlite":
                with self.claims.holding(_WRITE):  # SQLite refuses two readers that become writers at once
                    yield
            else:
                yield
        except OSError as error:
            raise RunFailed(f"cannot write to the study {self.where}: {error.strerror}; {_AGAIN}") from None
        except StorageInternalError as error:
            raise RunFailed(f"cannot write to the study {self.where}: {_cause(error)}; {_AGAIN}") from None


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Turn errors of reading a study in this block into an InputError: its content was not written by fsp."""
    with untrusted(f"the study {where}", "use an intact copy, or name another study"):
        yield


_AGAIN = "what is finished is kept, the same command goes on from there"


def is_url(where: str | Path) -> bool:
    """Return whether a study is named by a database URL rather than a journal file."""
    return "://" in str(where)


def exists(where: str | Path) -> bool:
    """Return whether there is a file to open; True for a database server."""
    text = str(where)
    return Path(text.removeprefix("sqlite:///")).is_file() if text.startswith("sqlite:") or not is_url(text) else True


def open_store(where: str | Path | None) -> Store:
    """Open a storage.

    Args:
        where: a journal file, created if missing; `sqlite:///FILE`; `postgresql://USER@HOST/DATABASE`; None for memory.

    Raises:
        InputError: the file is not a journal, the URL names something else, or the storage cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if where is None:
        return Store("in memory", InMemoryStorage(), Claims())
    if is_url(where):
        return _open_database(str(where))
    path = Path(where)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(path)
        claims = _claims_beside(path)
        lock = JournalLock(path, claims)
        if not path.exists():
            path.touch()
        with reading(str(path)):
            return Store(str(path), JournalStorage(JournalFileBackend(str(path), lock_obj=lock)), claims)
    except OSError as error:
        raise InputError(f"cannot open the study {path}: {error.strerror}") from None


def _open_database(url: str) -> Store:
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InputError(f"{url} is no database URL; give sqlite:///FILE or postgresql://USER@HOST/DATABASE") from None
    shown = parsed.render_as_string(hide_password=True)
    kind = parsed.get_backend_name()
    if kind not in ("sqlite", "postgresql") or not parsed.database or parsed.database == ":memory:":
        raise InputError(f"no study at {shown}; give a journal file, sqlite:///FILE or postgresql://USER@HOST/DATABASE")
    try:
        if kind == "sqlite":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            claims: Claims = _claims_beside(Path(parsed.database))
            options: dict[str, Any] = {"connect_args": {"timeout": _PATIENCE}}
        else:
            claims = ServerClaims(create_engine(parsed))
            options = {"pool_pre_ping": True}
        with claims.holding(_OPEN):
            return Store(shown, RDBStorage(url, engine_kwargs=options), claims)
    except ModuleNotFoundError as error:
        raise InputError(f"{shown} needs the package {error.name}; install fsp[postgresql]") from None
    except OSError as error:
        raise InputError(f"cannot open the study {shown}: {error.strerror}") from None
    except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:
        raise InputError(f"cannot open the study {shown}: {_cause(error)}") from None


def _cause(error: BaseException) -> str:
    """Return the first line of the database's own message."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _claims_beside(path: Path) -> Claims:
    return file_claims(path.with_name(f".{path.name}.claims"))


class JournalLock(JournalFileOpenLock):
    """The lock under which Optuna appends to a journal file; acquiring it also repairs the end of the file.

    Optuna's own locks are files that a killed process leaves behind; other processes remove them after 30 seconds.
    """

    def __init__(self, path: Path, claims: Claims):
        super().__init__(str(path))
        self._path, self._claims = path, claims

    def acquire(self) -> bool:
        """Wait for the lock, then cut off a last line that a killed process left unfinished."""
        self._claims.wait(_JOURNAL)
        try:
            _drop_torn_line(self._path)
        except BaseException:
            self.release()
            raise
        return True

    def release(self) -> None:
        """Release the lock."""
        self._claims.release(_JOURNAL)


def _drop_torn_line(path: Path) -> None:
    """Cut off an incomplete last line, as Optuna would append to it. The caller holds the lock."""
    with path.open("rb+") as file:
        size = file.seek(0, 2)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)


def _refuse_foreign(path: Path) -> None:
    """Raise InputError if a file does not start like an Optuna journal, as Optuna would append to any file."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        first = file.readline(65_536)
    if not first.endswith(b"\n"):  # a journal with an incomplete first line, or another file with long lines
        ours = first.startswith(_BEGINNING) or _BEGINNING.startswith(first)
    else:
        try:
            record = json.loads(first)
        except (ValueError, RecursionError):
            record = None
        ours = isinstance(record, dict) and isinstance(record.get("op_code"), int)
    if not ours:
        raise InputError(f"{path} is no study of fsp; name another file")
