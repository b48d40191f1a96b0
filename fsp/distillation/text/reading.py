"""Reading text from files in pieces: plain text, or a column of rows."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import StringIO, TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import TextIO

from fsp.base.errors import InputError
from fsp.distillation.text.rows import Row, has_rows, not_utf8, read_rows

COLUMN = "text"
_LINE = 4000  # characters; longer lines are split into several pieces
_ADVICE = "name the column of text with --column, call it 'text', or leave the file out"
LOOKED_AT = 100  # rows from which the column of text is determined


@dataclass(frozen=True)
class Piece:
    """A line of text with its line end, or a part of a long line.

    Attributes:
        text: the piece.
        document: number of its document within the file, from 1.
        read: approximate number of bytes of the file read so far.
    """

    text: str
    document: int
    read: int


def files_in(folder: Path) -> list[Path]:
    """Return all files below a folder, in order, except hidden and empty ones."""
    below = (path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    return sorted(p for p in below if not any(q.startswith(".") for q in p.relative_to(folder).parts))


def pieces(path: Path, column: str | None = None) -> Iterator[Piece]:
    """Yield the text of a file: a file with rows has one document per row (see `rows`), any other is one document.

    Args:
        path: the file.
        column: the column of text; None for `text`, else the only column of strings.

    Raises:
        InputError: the file cannot be read, is not UTF-8 text, or has no such column.
    """
    if not has_rows(path):
        yield from _plain(path)
        return
    chosen = column or text_column(islice(read_rows(path), LOOKED_AT), str(path))
    if chosen:
        yield from pieces_of_rows(read_rows(path, chosen), chosen, str(path))


def pieces_of_rows(rows: Iterable[Row], column: str, name: str) -> Iterator[Piece]:
    """Yield the text of rows, one document per row; null counts as no text.

    Args:
        rows: the rows.
        column: the column of text.
        name: name of their source, for messages.

    Raises:
        InputError: a row has no such column, or its value is not text.
    """
    for number, row in enumerate(rows, 1):
        if column not in row.values:
            known = ", ".join(row.values) or "none"
            raise InputError(f"{name}, {row.place} has no column {column!r} (it has: {known}); {_ADVICE}")
        text = row.values[column]
        if text is not None and not isinstance(text, str):
            raise InputError(f"{name}, {row.place} has {text!r:.40} under {column!r} instead of text; {_ADVICE}")
        for line in lines(StringIO(text, newline=None)):
            yield Piece(line, number, row.read)


def lines(file: TextIO) -> Iterator[str]:
    """Yield the lines of a text with their line ends, long lines in pieces of 4,000 characters."""
    while line := file.readline(_LINE):
        yield line


def text_column(rows: Iterable[Row], name: str) -> str | None:
    """Return the column of text: `text`, else the only column with strings that are not numbers.

    Args:
        rows: some of the rows.
        name: name of their source, for messages.

    Returns:
        The column's name; None if there are no rows.

    Raises:
        InputError: no column is called `text`, and the number of columns with strings is not one.
    """
    found: dict[str, bool] = {}
    for row in rows:
        for column, value in row.values.items():
            found[column] = found.get(column, False) or (isinstance(value, str) and not is_number(value))
    if COLUMN in found or not found:
        return COLUMN if found else None
    strings = [column for column, holds in found.items() if holds]
    if len(strings) == 1:
        return strings[0]
    which = f"several columns of strings ({', '.join(strings)})" if strings else f"none of strings ({', '.join(found)})"
    raise InputError(f"{name} has no column 'text', but {which}; {_ADVICE}")


def is_number(value: str) -> bool:
    """Return whether a cell is a number or empty."""
    try:
        float(value or "0")
    except ValueError:
        return False
    return True


def _plain(path: Path) -> Iterator[Piece]:
    try:
        with path.open("rb") as raw, TextIOWrapper(raw, "utf-8-sig") as file:
            for line in lines(file):
                if "\0" in line:
                    raise InputError(f"corpus file {path} is a binary file (it has a NUL byte); leave it out")
                yield Piece(line, 1, raw.tell())
    except UnicodeDecodeError:
        raise not_utf8(path) from None
    except OSError as error:
        raise InputError(f"cannot read the corpus file {path}: {error.strerror}") from None
