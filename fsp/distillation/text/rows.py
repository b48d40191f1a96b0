"""Rows of CSV, TSV, JSON, JSON Lines and parquet files, one by one, without guesses that could lose or shift a row."""

import codecs
import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any

from fsp.base.errors import InputError

_LONGEST_CELL = 1 << 27  # characters; an unclosed quotation mark is reported after as many
_FIRST = 20  # lines of a CSV file from which its separator is determined
_BATCH = 256  # rows of a parquet file that are in memory at a time
_HALVES = re.compile("[\ud800-\udfff]")  # surrogates, which JSON can escape but UTF-8 cannot encode


@dataclass(frozen=True)
class Row:
    """A row of a file.

    Attributes:
        place: its position in the file, as `line 3` (its first line, counted from 1) or `row 3`.
        values: values by column. Cells of CSV and TSV are always strings.
        read: approximate number of bytes of the file read so far.
    """

    place: str
    values: dict[str, Any]
    read: int


def has_rows(path: Path) -> bool:
    """Return whether `read_rows` reads files with this extension."""
    return path.suffix.lower() in _READERS


def read_rows(path: Path, only: str | None = None) -> Iterator[Row]:
    """Yield the rows of a .csv, .tsv, .json, .jsonl, .ndjson or .parquet file.

    Text is UTF-8, with or without a byte-order mark. CSV is separated by commas, semicolons or tabs, whichever gives
    the first rows as many cells as the header. Quotation marks in TSV belong to the text if every line has as many
    fields as the header only when they are read as text. JSON Lines end at line feeds only. A .json file is an array
    of objects, or JSON Lines. Surrogates in JSON become U+FFFD. Blank lines are left out.

    Args:
        path: the file.
        only: the only column that is needed; others may be left out.

    Raises:
        InputError: the file is of another kind or cannot be read; it is not UTF-8 or not of its format; a row has more
            or fewer fields than the header; quotation marks do not pair; a column occurs twice; or pyarrow is missing.
    """
    if not has_rows(path):
        raise InputError(f"{path} is no .csv, .tsv, .json, .jsonl or .parquet file; convert it")
    try:
        yield from _READERS[path.suffix.lower()](path, only)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or str(error)[:150]}") from None
    except UnicodeDecodeError:
        raise not_utf8(path) from None


def not_utf8(path: Path) -> InputError:
    """Return the error for a file that is not in UTF-8."""
    decoder, before = codecs.getincrementaldecoder("utf-8")(), 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                before += error.start - pending
                break
            before += len(chunk)
        else:
            before -= len(decoder.getstate()[0])
    return InputError(f"{path} is not UTF-8 text (byte {before}); convert it or leave it out")


def _csv(path: Path, only: str | None) -> Iterator[Row]:
    yield from _separated(path, _separator(path), csv.QUOTE_MINIMAL)


def _separator(path: Path) -> str:
    """Return the separator of a CSV file: the one that gives its first rows as many cells as its header, two or more.

    Raises:
        InputError: two separators do.
    """
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:  # invalid UTF-8 is refused later
        lines = list(islice(file, _FIRST))
    fitting = [mark for mark in ",;\t" if _width(lines, mark) > 1]
    if len(fitting) > 1:
        raise InputError(
            f"{path} can be read with {fitting[0]!r} and with {fitting[1]!r} between its cells; put quotation marks "
            "around cells that hold either"
        )
    return fitting[0] if fitting else next((mark for mark in ",;\t" if lines and mark in lines[0]), ",")


def _width(lines: Sequence[str], separator: str) -> int:
    """Return how many cells each of these rows has; 0 if they differ."""
    widths = set()
    try:
        for fields in _parser(lines, separator, csv.QUOTE_MINIMAL):
            widths.add(len(fields))
    except csv.Error:  # a cell that continues below, or unpaired quotation marks, which are refused later
        pass
    found = widths - {0}  # blank lines
    return found.pop() if len(found) == 1 else 0


def _tsv(path: Path, only: str | None) -> Iterator[Row]:
    yield from _separated(path, "\t", _tsv_quoting(path))


def _tsv_quoting(path: Path) -> Any:
    """Return csv's rule for quotation marks in a TSV: they are text if only then every line has all its fields."""
    quoted = unquoted = True
    with path.open(encoding="utf-8-sig", newline="") as file:
        fields = file.readline().count("\t")
        for line in file:
            if line.strip("\r\n"):
                unquoted = unquoted and line.count("\t") == fields
                quoted = quoted and _is_whole(line, fields)
    return csv.QUOTE_NONE if unquoted and not quoted else csv.QUOTE_MINIMAL


def _is_whole(line: str, separators: int) -> bool:
    """Return whether a line of TSV has the given number of separators outside quotation marks."""
    if '"' not in line:
        return line.count("\t") == separators
    try:
        (fields,) = _parser([line], "\t", csv.QUOTE_MINIMAL)
    except csv.Error:
        return False
    return len(fields) == separators + 1


def _parser(lines: Iterable[str], separator: str, quoting: Any) -> Any:
    csv.field_size_limit(_LONGEST_CELL)
    return csv.reader(lines, delimiter=separator, quoting=quoting, strict=True)


def _separated(path: Path, separator: str, quoting: Any) -> Iterator[Row]:
    with path.open("rb") as raw, TextIOWrapper(raw, "utf-8-sig", newline="") as file:
        parser = _parser(_without_nul(file, path), separator, quoting)
        header: list[str] = []
        line, first = 1, True
        try:
            for fields in parser:
                if fields and not header:
                    header = _header(fields, path)
                elif fields:
                    if first and len(fields) == len(header) + 1 and fields[0] in ("0", "1"):
                        header = ["", *header]  # R's write.table gives the rows names but their column no header
                    first = False
                    if len(fields) != len(header):
                        raise InputError(
                            f"{path}, line {line} has {len(fields)} fields, and the header has {len(header)} "
                            f"({', '.join(header)}); mend one of them"
                        )
                    yield Row(f"line {line}", dict(zip(header, fields, strict=True)), raw.tell())
                line = parser.line_num + 1
        except csv.Error:
            raise InputError(
                f"{path}, line {line}: the quotation marks of this row do not pair; double those within a quoted cell"
            ) from None
    if not header:
        raise InputError(f"{path} is empty")


def _header(fields: Sequence[str], path: Path) -> list[str]:
    names = [field.strip() for field in fields]
    _refuse_twice(names, f"{path}: its header")
    return names


def _refuse_twice(names: Iterable[str], where: str) -> None:
    for name, times in Counter(names).items():
        if times > 1 and name:
            raise InputError(f"{where} names {name!r} {times} times; rename or remove all but one")


def _without_nul(lines: Iterable[str], path: Path) -> Iterator[str]:
    for line in lines:
        if "\0" in line:
            raise InputError(f"{path} is a binary file (it has a NUL byte); leave it out")
        yield line


def _json_lines(path: Path, only: str | None) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if text.strip():
                place = f"line {number}"
                yield Row(place, _object(_json(text, path, place), path, place), file.tell())


def _json_file(path: Path, only: str | None) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        if not (start := file.read(1 << 10).lstrip()) or not start.startswith("["):
            yield from _json_lines(path, only)
            return
        file.seek(0)
        values, size = _json(file.read(), path, "its array"), path.stat().st_size
    for number, value in enumerate(values, 1):
        place = f"row {number}"
        yield Row(place, _object(value, path, place), size * number // len(values))


def _json(text: str, path: Path, place: str) -> Any:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(value := dict(found)) < len(found):
            _refuse_twice((name for name, _ in found), f"{path}, {place}")
        return value

    try:
        return json.loads(text, object_pairs_hook=pairs)
    except InputError:
        raise
    except (ValueError, RecursionError):
        raise InputError(f"{path}, {place} is not valid JSON; mend or remove it") from None


def _object(value: Any, path: Path, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{path}, {place} is not a JSON object with a value per column; mend or remove it")
    return {name: _HALVES.sub("\ufffd", cell) if isinstance(cell, str) else cell for name, cell in value.items()}


def _parquet(path: Path, only: str | None) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise InputError(f"{path} is a parquet file, and pyarrow is not installed; run: pip install pyarrow") from None
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            _refuse_twice(names, f"{path}: its schema")
            wanted = [only] if only in names else names
            size, total, number = path.stat().st_size, file.metadata.num_rows, 0
            for batch in file.iter_batches(batch_size=_BATCH, columns=wanted):
                for cells in zip(*batch.columns, strict=True):
                    number += 1
                    values = {name: cell.as_py() for name, cell in zip(batch.schema.names, cells, strict=True)}
                    yield Row(f"row {number}", values, size * number // total)
    except FileNotFoundError:
        raise
    except (ArrowException, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot read {path} as parquet: {' '.join(str(error).split())[:150]}") from None


_READERS = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".json": _json_file,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".parquet": _parquet,
}
