"""A run's folder: which run it holds, and which processes may work in it."""

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fsp.base.errors import InputError
from fsp.base.files import TEMPORARY, read_json, remove_unfinished, write_json

SCHEMA = 1
RUN = "run.json"
EVALUATIONS = "evaluations.journal"
CACHE = "cache"  # folder of T's outputs
_LOCK = ".lock"


@contextmanager
def working_in(folder: Path, begun: Collection[str] = (RUN,)) -> Iterator[None]:
    """Lock a folder for one run and remove what killed processes left; a folder that stays empty is removed again.

    Args:
        folder: created if missing.
        begun: the files or folders that a run of this kind creates first.

    Raises:
        InputError: another process holds the folder, it cannot be written to, or its content is not a run of fsp.
    """
    contents = _contents(folder, begun)
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise InputError(f"another process is working in {folder}; wait for it or choose a new folder") from None
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from None
    try:
        remove_unfinished(folder)
        yield
    finally:
        lock.release()
        if [path.name for path in folder.iterdir()] == [_LOCK] and not contents:
            (folder / _LOCK).unlink()
            folder.rmdir()


@contextmanager
def preparing(folder: Path) -> Iterator[None]:
    """Take back what a run has written if this block rejects its input before any evaluation."""
    try:
        yield
    except InputError:
        if not (folder / EVALUATIONS).exists():
            (folder / RUN).unlink(missing_ok=True)
            shutil.rmtree(folder / CACHE, ignore_errors=True)
        raise


def join(folder: Path, configuration: dict[str, Any]) -> None:
    """Start a run in a folder, or join one of the same configuration there; several processes may do so.

    Raises:
        InputError: the folder cannot be written to, or holds something else.
    """
    _contents(folder, (RUN,))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            own(folder, configuration)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder that several processes share while writing what only one of them may write."""
    with FileLock(folder / _LOCK):
        yield


def _contents(folder: Path, begun: Collection[str]) -> list[str]:
    """Return a folder's content besides locks and leftovers. Raises InputError if no run of fsp wrote it."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder for the results")
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    contents = [name for name in names if name != _LOCK and not name.startswith(TEMPORARY)]
    if contents and not set(begun) & set(contents):
        raise InputError(f"{folder} already holds other files ({contents[0]}); choose a new folder")
    return contents


def own(folder: Path, configuration: dict[str, Any]) -> None:
    """Record in a folder which run it holds. Raises InputError if another run was recorded there before."""
    path = folder / RUN
    if not path.exists():
        write_json(path, {"schema": SCHEMA, "config": configuration})
        return
    known = read_json(path)
    before = known.get("config") if isinstance(known, dict) else None
    if not isinstance(before, dict):
        raise InputError(f"{path} is not fsp's; choose a new folder")
    differing = [key for key in configuration if before.get(key) != configuration[key]]
    if differing:
        hint = (
            ": made with another T or by an older fsp" if {"teacher", "student", "checkpoint"} & set(differing) else ""
        )
        raise InputError(
            f"{folder} holds another run (its {', '.join(differing)} differ{hint}); "
            "repeat that command or choose a new folder"
        )
