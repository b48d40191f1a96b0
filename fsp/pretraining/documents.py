"""Reading text of any size as a stream of short passages, without ever holding more than a few of them.

A source is a UTF-8 text file, a `.jsonl` or `.parquet` file with a text column, a folder of such files, or the
name of a data set on the Hugging Face hub.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Any

from fsp.data import standard_library
from fsp.errors import InputError

COLUMN = "text"
_PASSAGE = 1000  # characters: the unit that goes to training or is held out
_LINE = 4 * _PASSAGE  # longer lines are cut
_EXTRA = 'pip install "fsp[data]"'


@dataclass(frozen=True)
class Passage:
    """A piece of text, the number of its document within the source (from 1), and how many bytes were read so far."""

    text: str
    document: int
    read: int


@dataclass(frozen=True)
class Source:
    """Where passages come from. `bytes` is its size, 0 where unknown; `key` changes when its content does."""

    name: str
    bytes: int
    key: tuple[Any, ...]
    passages: Callable[[], Iterator[Passage]]


def find_sources(corpus: Sequence[str | Path], *, column: str = COLUMN) -> list[Source]:
    """Return the sources that a corpus consists of, in order; nothing is read yet.

    Args:
        corpus: files, folders (hidden files and empty ones are left out) and hub names like `owner/data`, or
            `owner/data:config`, of which the split `train` is taken. Nothing means the documentation inside
            Python's standard library.
        column: of jsonl, parquet and hub data.

    Raises:
        InputError: a path does not exist or is empty, or a folder has no files.
    """
    if not corpus:
        return [Source("the documentation of Python's standard library", 0, ("stdlib",), _library)]
    sources = []
    for given in corpus:
        path = Path(given)
        if path.is_dir():
            below = sorted(p for p in path.rglob("*") if p.is_file() and not _hidden(p.relative_to(path)))
            files = [p for p in below if p.stat().st_size]
            if not files:
                raise InputError(f"the corpus folder {path} has no text; name files or folders of UTF-8 text")
            sources += [_file(p, column) for p in files]
        elif path.is_file():
            if not path.stat().st_size:
                raise InputError(f"the corpus file {path} is empty; leave it out")
            sources.append(_file(path, column))
        elif _may_be_hub(str(given)):
            sources.append(Source(str(given), 0, ("hub", str(given), column), partial(_hub, str(given), column)))
        else:
            raise InputError(f"cannot read the corpus file {path}: no such file")
    return sources


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _may_be_hub(name: str) -> bool:
    return not name.startswith((".", "/", "~")) and name.count("/") <= 1 and Path(name).suffix == ""


def _file(path: Path, column: str) -> Source:
    readers = {".jsonl": _jsonl, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    status = path.stat()
    key = (str(path.resolve()), status.st_size, status.st_mtime_ns, column if reader else "")
    return Source(str(path), status.st_size, key, (lambda: reader(path, column)) if reader else (lambda: _plain(path)))


def _library() -> Iterator[Passage]:
    for number, text in enumerate(standard_library(), 1):
        yield from _cut(_split(text), number, lambda: 0)


def _plain(path: Path) -> Iterator[Passage]:
    """One document a file."""
    try:
        with path.open("rb") as raw, TextIOWrapper(raw, encoding="utf-8") as file:
            yield from _cut(_lines(file, path), 1, raw.tell)
    except UnicodeDecodeError:
        raise InputError(f"corpus file {path} is not UTF-8 text; convert it or leave it out") from None
    except OSError as error:
        raise InputError(f"cannot read the corpus file {path}: {error.strerror}") from None


def _split(text: str) -> Iterator[str]:
    """Lines of a text with their ends, long ones cut."""
    for line in text.splitlines(keepends=True):
        yield from (line[i : i + _LINE] for i in range(0, len(line), _LINE))


def _lines(file: Any, path: Path) -> Iterator[str]:
    while line := file.readline(_LINE):
        if "\0" in line:
            raise InputError(f"corpus file {path} is a binary file (it has a NUL byte); leave it out")
        yield line


def _jsonl(path: Path, column: str) -> Iterator[Passage]:
    """One document a line."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                    text = row[column]
                    if not isinstance(text, str):
                        raise TypeError
                except (ValueError, RecursionError):
                    raise InputError(f"{path}, line {number} is not valid JSON in UTF-8; mend or remove it") from None
                except (KeyError, TypeError, IndexError):
                    raise InputError(
                        f"{path}, line {number} has no text under {column!r}; name the column with --column"
                    ) from None
                yield from _cut(_split(text), number, file.tell)
    except OSError as error:
        raise InputError(f"cannot read the corpus file {path}: {error.strerror}") from None


def _parquet(path: Path, column: str) -> Iterator[Passage]:
    """One document a row."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise InputError(f"{path} is a parquet file, and pyarrow is not installed; run: {_EXTRA}") from None
    try:
        with parquet.ParquetFile(path) as file:
            if column not in file.schema_arrow.names:
                known = ", ".join(file.schema_arrow.names)
                raise InputError(f"{path} has no column {column!r} but {known}; name one with --column")
            size, done = path.stat().st_size, 0
            for batch in file.iter_batches(batch_size=256, columns=[column]):
                for value in batch.column(0):
                    done += 1
                    text = value.as_py()
                    if text is None:
                        continue
                    if not isinstance(text, str):
                        raise InputError(f"{path}: column {column!r} holds no text; name one with --column")
                    yield from _cut(_split(text), done, partial(int, size * done // file.metadata.num_rows))
    except (ArrowException, OSError) as error:
        raise InputError(f"cannot read the corpus file {path}: {' '.join(str(error).split())[:150]}") from None


def _hub(given: str, column: str) -> Iterator[Passage]:
    """One document a row of a hub data set's split `train`, streamed."""
    try:
        from datasets import load_dataset
    except ImportError:
        raise InputError(f"there is no file {given}, and to read it as a hub data set run: {_EXTRA}") from None
    name, _, configuration = given.partition(":")
    try:
        rows = iter(load_dataset(name, configuration or None, split="train", streaming=True))
        for number, row in enumerate(rows, 1):
            if not isinstance(row.get(column), str):
                raise InputError(f"data set {given} has no text under {column!r}; name the column with --column")
            yield from _cut(_split(row[column]), number, lambda: 0)
    except InputError:
        raise
    except Exception as error:  # the loaders raise many kinds; for the user each is one unusable data set
        raise InputError(f"cannot read data set {given}: {' '.join(str(error).split())[:150]}") from None


def _cut(lines: Iterator[str], document: int, position: Callable[[], int]) -> Iterator[Passage]:
    """Passages of at least 1,000 characters, cut at blank lines, else at the next line end; blank ones left out."""
    held: list[str] = []
    size = 0
    for line in chain(lines, [""]):
        held.append(line)
        size += len(line)
        if not line or size >= _LINE or (size >= _PASSAGE and line.isspace()):
            text, held, size = "".join(held), [], 0
            if text.strip():
                yield Passage(text, document, position())
