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

_JOURNAL = "journal"  # the claim on appending to a journal file
_WRITE = "write"  # the claim on writing to SQLite
_OPEN = "open"  # the claim on creating tables
_BEGINNING = b'{"op_code":'  # of every line that Optuna writes
_PATIENCE = 60  # seconds that SQLite waits for a reader


@dataclass(frozen=True)
class Store:
    """An open storage, and the claims of all who share it. `where`: for messages, without a password."""

    where: str
    storage: BaseStorage
    claims: Claims

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write in this block; what goes wrong there is told in one line.

        Raises:
            RunFailed: the disk is full, the connection is lost, or the like.
        """
        try:
            if isinstance(self.storage, RDBStorage) and self.storage.engine.name == "sqlite":
                with self.claims.holding(_WRITE):  # SQLite refuses two readers that turn writers at once
                    yield
            else:
                yield
        except OSError as error:
            raise RunFailed(f"cannot write to the study {self.where}: {error.strerror}; {_AGAIN}") from None
        except StorageInternalError as error:
            raise RunFailed(f"cannot write to the study {self.where}: {_cause(error)}; {_AGAIN}") from None


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Read a study in this block. Raises InputError where it holds what no fsp has written."""
    with untrusted(f"the study {where}", "take a copy that is untrusted, or name another"):
        yield


_AGAIN = "what is finished is kept, the same command goes on from there"


def is_url(where: str | Path) -> bool:
    """Tell whether a study is named by a database URL and not by a journal file."""
    return "://" in str(where)


def exists(where: str | Path) -> bool:
    """Tell whether there is a file to open; of a database server, True."""
    text = str(where)
    return Path(text.removeprefix("sqlite:///")).is_file() if text.startswith("sqlite:") or not is_url(text) else True


def open_store(where: str | Path | None) -> Store:
    """Open a storage.

    Args:
        where: a journal file, created where there is none; `sqlite:///FILE`; `postgresql://USER@HOST/DATABASE`; None
            for memory.

    Raises:
        InputError: the file is no journal, the URL names something else, or it cannot be opened.
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
    """Return the first line of what the database itself said."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _claims_beside(path: Path) -> Claims:
    return file_claims(path.with_name(f".{path.name}.claims"))


class JournalLock(JournalFileOpenLock):
    """The lock under which Optuna appends to a journal file; whoever gets it finds the file whole.

    Optuna's own locks are files that a killed process leaves behind, which the others break after 30 seconds.
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
        """Give the lock back."""
        self._claims.release(_JOURNAL)


def _drop_torn_line(path: Path) -> None:
    """Cut off a last line without its end: Optuna would append to it. Only under the lock."""
    with path.open("rb+") as file:
        size = file.seek(0, 2)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)


def _refuse_foreign(path: Path) -> None:
    """Refuse a file that does not begin as an Optuna journal: Optuna would append to anything."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        first = file.readline(65_536)
    if not first.endswith(b"\n"):  # torn in its very first line, or a foreign file with long lines
        ours = first.startswith(_BEGINNING) or _BEGINNING.startswith(first)
    else:
        try:
            record = json.loads(first)
        except (ValueError, RecursionError):
            record = None
        ours = isinstance(record, dict) and isinstance(record.get("op_code"), int)
    if not ours:
        raise InputError(f"{path} is no study of fsp; name another file")
