"""Reading text of any size as a stream of short passages, with only a few of them in memory.

A source is a file that `fsp.distillation.text.reading` can read, a folder of such files, or the name of a data set on
the Hugging Face hub.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import StringIO
from itertools import chain, groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import Any

from fsp.base.errors import InputError
from fsp.distillation.text.corpus import standard_library
from fsp.distillation.text.reading import LOOKED_AT, Piece, files_in, lines, pieces, pieces_of_rows, text_column
from fsp.distillation.text.rows import Row, has_rows
from fsp.distillation.text.segmentation import LONGEST, PASSAGE

_EXTRA = 'pip install "fsp[data]"'


@dataclass(frozen=True)
class Passage:
    """A piece of text.

    Attributes:
        text: the text.
        document: number of its document within the source, from 1.
        read: number of bytes of the source read so far.
    """

    text: str
    document: int
    read: int


@dataclass(frozen=True)
class Source:
    """A source of passages.

    Attributes:
        name: its name in messages.
        bytes: its size; 0 if unknown.
        key: a value that changes when the content does.
        passages: returns an iterator over its passages.
    """

    name: str
    bytes: int
    key: tuple[Any, ...]
    passages: Callable[[], Iterator[Passage]]


def find_sources(corpus: Sequence[str | Path], *, column: str | None = None) -> list[Source]:
    """Return the sources of a corpus, in order, without reading them.

    Args:
        corpus: files, folders (without hidden and empty files) and hub names such as `owner/data` or
            `owner/data:config`, whose split `train` is used. If empty, the documentation in Python's standard
            library is used.
        column: the column of text in files with rows; None for `text`, else the only column of strings.

    Raises:
        InputError: a path does not exist or is empty, or a folder has no files.
    """
    if not corpus:
        return [Source("the documentation of Python's standard library", 0, ("stdlib",), _library)]
    sources = []
    for given in corpus:
        path = Path(given)
        if path.is_dir():
            files = files_in(path)
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


def _may_be_hub(name: str) -> bool:
    return not name.startswith((".", "/", "~")) and name.count("/") <= 1 and Path(name).suffix == ""


def _file(path: Path, column: str | None) -> Source:
    status = path.stat()
    key = (str(path.resolve()), status.st_size, status.st_mtime_ns, column if has_rows(path) else None)
    return Source(str(path), status.st_size, key, lambda: _passages(pieces(path, column)))


def _library() -> Iterator[Passage]:
    for number, text in enumerate(standard_library(), 1):
        yield from _cut(Piece(line, number, 0) for line in lines(StringIO(text)))


def _hub(given: str, column: str | None) -> Iterator[Passage]:
    """Stream the split `train` of a hub data set, one document per row."""
    try:
        from datasets import load_dataset
    except ImportError:
        raise InputError(f"there is no file {given}, and to read it as a hub data set run: {_EXTRA}") from None
    name, _, configuration = given.partition(":")
    try:
        data = iter(load_dataset(name, configuration or None, split="train", streaming=True))
        rows = (Row(f"row {number}", dict(values), 0) for number, values in enumerate(data, 1))
        first = list(islice(rows, LOOKED_AT))
        chosen = column or text_column(first, f"data set {given}")
        if chosen:
            yield from _passages(pieces_of_rows(chain(first, rows), chosen, f"data set {given}"))
    except InputError:
        raise
    except Exception as error:  # the loaders raise errors of many kinds; each means that the data set cannot be used
        raise InputError(f"cannot read data set {given}: {' '.join(str(error).split())[:150]}") from None


def _passages(found: Iterator[Piece]) -> Iterator[Passage]:
    """Yield the passages of all documents."""
    for _, document in groupby(found, attrgetter("document")):
        yield from _cut(document)


def _cut(document: Iterator[Piece]) -> Iterator[Passage]:
    """Yield passages of at least 1,000 characters, cut at blank lines, else at line ends, without blank passages."""
    held: list[str] = []
    size = 0
    for piece in document:
        held.append(piece.text)
        size += len(piece.text)
        if size >= LONGEST or (size >= PASSAGE and piece.text.isspace()):
            if (text := "".join(held)).strip():
                yield Passage(text, piece.document, piece.read)
            held, size = [], 0
    if (text := "".join(held)).strip():
        yield Passage(text, piece.document, piece.read)
