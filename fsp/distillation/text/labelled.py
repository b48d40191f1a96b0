"""Texts with labels: two columns of a file with rows."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from fsp.base.errors import InputError
from fsp.distillation.labels import plain_label
from fsp.distillation.text.reading import LOOKED_AT, pieces_of_rows, text_column
from fsp.distillation.text.rows import Row, read_rows

LABEL_COLUMNS = ("label", "labels")


def read_labelled(
    path: Path, column: str | None = None, label_column: str | None = None
) -> tuple[list[str], list[str] | None]:
    """Return the texts of a file with rows and their labels; None if it has no labels.

    Args:
        path: the file.
        column: the column of text; None for `text`, else the only other column of strings.
        label_column: the column of labels; None for `label` or `labels` if the file has one.

    Raises:
        InputError: the file cannot be read, has no such column, or a row has no text or no label.
    """
    rows = list(read_rows(path))
    known = list(dict.fromkeys(name for row in rows for name in row.values))
    if not rows:
        return [], None
    labels = _label_column(path, known, column, label_column)
    others = [replace(row, values={k: v for k, v in row.values.items() if k != labels}) for row in rows[:LOOKED_AT]]
    text = column or text_column(others, str(path))
    assert text is not None
    return _texts(path, rows, text), None if labels is None else _labels(path, rows, labels)


def _label_column(path: Path, known: Sequence[str], column: str | None, given: str | None) -> str | None:
    if given is not None:
        if given == column:
            raise InputError(f"{given!r} is named as the column of text and of labels; name two columns")
        if given not in known:
            raise InputError(f"{path} has no column {given!r} (it has: {', '.join(known)}); name one with --labels")
        return given
    found = [name for name in LABEL_COLUMNS if name in known and name != column]
    if len(found) > 1:
        raise InputError(f"{path} has the columns {' and '.join(found)}; name the column of labels with --labels")
    return found[0] if found else None


def _texts(path: Path, rows: Sequence[Row], column: str) -> list[str]:
    documents = groupby(pieces_of_rows(rows, column, str(path)), attrgetter("document"))
    found = {number: "".join(piece.text for piece in parts) for number, parts in documents}
    for number, row in enumerate(rows, 1):
        if not found.get(number, "").strip():
            raise InputError(f"{path}, {row.place} has no text under {column!r}; fill or remove the row")
    return list(found.values())


def _labels(path: Path, rows: Sequence[Row], column: str) -> list[str]:
    found = []
    for row in rows:
        label = plain_label(row.values.get(column))
        if label is None:
            value = row.values.get(column)
            shown = "no label" if value in (None, "") else f"{value!r:.40} instead of a label"
            raise InputError(f"{path}, {row.place} has {shown} under {column!r}; give it a name or a whole number")
        found.append(label)
    return found
