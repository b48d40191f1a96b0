"""Writing files so that a reader never sees a partly written one."""

import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsp.base.errors import InputError

TEMPORARY = ".fsp-unfinished-"  # prefix of the names of files and folders that are not yet complete


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder. The caller must be its only user."""
    for path in folder.glob(TEMPORARY + "*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on error it is removed.

    The file gets the mode that the umask gives, whichever library writes it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}{path.suffix}"
    temporary.touch(exist_ok=False)
    mode = stat.S_IMODE(temporary.stat().st_mode)
    try:
        yield temporary
        temporary.chmod(mode)  # some libraries replace this file with a private one of their own
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder; remove it afterwards if it still exists."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / f"{TEMPORARY}{secrets.token_hex(8)}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`; on success it replaces `folder`, on error it is removed."""
    with _temporary_folder(folder.parent) as temporary:
        yield temporary
        _give_usual_modes(temporary)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)


@contextmanager
def filling(folder: Path, last: str) -> Iterator[Path]:
    """Yield a temporary folder; on success its files move into `folder`, each in one step, on error it is removed.

    Args:
        folder: created if missing; its other files stay.
        last: ending of the name of the file that moves last; its presence shows that all files are there.
    """
    with _temporary_folder(folder if folder.is_dir() else folder.parent) as temporary:
        yield temporary
        _give_usual_modes(temporary)
        folder.mkdir(exist_ok=True)
        for path in sorted(temporary.iterdir(), key=lambda path: path.name.endswith(last)):
            path.replace(folder / path.name)


def _give_usual_modes(folder: Path) -> None:
    """Give everything in a new folder the modes that the umask gives, because some libraries write private files."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    for path in folder.rglob("*"):
        path.chmod(mode if path.is_dir() else mode & 0o666)


def check_writable(path: Path) -> None:
    """Raise InputError if a file could not be written, without writing it; to be called before long work."""
    existing = next(folder for folder in path.absolute().parents if folder.exists())
    if path.is_dir() or not existing.is_dir() or not os.access(existing, os.W_OK):
        raise InputError(f"cannot write {path}; name a file in a folder that can be written to")


def check_room(folder: Path, size: int, what: str, advice: str) -> None:
    """Raise InputError if a folder's disk has no room for `size` bytes; to be called before long work.

    Args:
        folder: where they will be written; it need not exist yet.
        size: in bytes.
        what: what takes the room, a plural noun for the message.
        advice: what to do if there is no room.
    """
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if size > free:
        raise InputError(f"{what} take {size / 1e9:.2f} GB, and {folder} has {free / 1e9:.2f} GB free; {advice}")


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON in one step; NaN is refused rather than written as invalid JSON."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, *, what: str = "", advice: str = "remove it and run again") -> Any:
    """Return the value in a JSON file. Raises InputError, with the advice, if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {what}{path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path} is not valid JSON; {advice}") from None


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Short stable digest (16 hexadecimal digits) of a JSON-like value, independent of the order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
