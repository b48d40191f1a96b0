"""Measured tables: rows of architectures with real-valued parameters, p, i and e, without a declared space."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError

_MISSING = frozenset({"", "na", "n/a", "null", "none"})  # "nan" is an invalid number, not a missing one

_SCORES = frozenset({"accuracy", "acc", "score", "f1", "auc", "bleu", "rouge", "r2", "map", "precision", "recall"})
_RISES = 0.5  # an error is doubted if its Spearman correlation with p is above this
_FEW_ROWS = 5


@dataclass(frozen=True)
class Table:
    """Distinct architectures and their measurements.

    Attributes:
        names: names of the parameters.
        parameters: their values, `n x d`.
        neutral: which of them are not sizes, `(d,)`.
        size: p, `(n,)`, positive.
        speed: i, `(n,)`, positive.
        error: e, `(n,)`, positive.
        lines: the first line of the file with each architecture, `(n,)`.
        rows_read: number of rows in the file.
        rows_missing: rows left out because a used column is empty.
        rows_merged: rows that repeat the parameters of another and were averaged into it.
    """

    names: tuple[str, ...]
    parameters: NDArray[np.float64]
    neutral: NDArray[np.bool_]
    size: NDArray[np.float64]
    speed: NDArray[np.float64]
    error: NDArray[np.float64]
    lines: NDArray[np.int64]
    rows_read: int
    rows_missing: int
    rows_merged: int

    def __len__(self) -> int:
        return len(self.parameters)


def read_table(
    path: str | Path,
    *,
    parameters: Sequence[str],
    neutral: Sequence[str] = (),
    size: str,
    speed: str | None = None,
    error: str,
) -> Table:
    r"""Return the measured table in a CSV file with a header.

    Rows in which a used column is empty (or NA, N/A, null, none) are left out. Rows equal in all parameters are one
    architecture measured several times: their p, i and e are averaged. The table holds the number of both.

    Args:
        path: a UTF-8 CSV file.
        parameters: names of the columns that define an architecture, numbers of any kind.
        neutral: parameters that are not sizes, e.g. attention heads; they need not be repeated in `parameters`.
        size: the column of p.
        speed: the column of i, smaller is faster; None for that of p, for a caller that needs no i.
        error: the column of e, smaller is better.

    Raises:
        InputError: the file or a column does not exist, a cell is not a finite number, p, i or e is not positive, or
            no row is complete.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        ...     _ = file.write("depth,p,i,e\n1,10,5,.5\n2,20,9,.3\n2,20,9,.1\n3,30,,.1\n")
        ...     file.flush()
        ...     table = read_table(file.name, parameters=["depth"], size="p", speed="i", error="e")
        >>> table.error.round(2).tolist(), table.rows_missing, table.rows_merged
        ([0.5, 0.2], 1, 1)
    """
    names = tuple(dict.fromkeys([*parameters, *neutral]))
    if not names:
        raise InputError("no parameters; name at least one column")
    if len(set(parameters)) < len(parameters) or len(set(neutral)) < len(neutral):
        raise InputError("a parameter is named twice; name each column once")
    speed = size if speed is None else speed
    used = [*names, size, speed, error]
    values, lines, rows_read = read_columns(path, used)
    for column, positive in zip((size, speed, error), values.T[-3:] > 0, strict=True):
        if not positive.all():
            row_number = int(np.flatnonzero(~positive)[0])
            value = values[row_number, used.index(column)]
            raise InputError(f"{path}, line {lines[row_number]}: {column} is {value:g}; p, i and e must be positive")
    _, first, group, count = np.unique(
        values[:, : len(names)], axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    sequence = np.argsort(first)
    sums = np.zeros((len(first), 3))
    np.add.at(sums, group.ravel(), values[:, -3:])
    p, i, e = (sums / count[:, None])[sequence].T
    return Table(
        names,
        values[first[sequence], : len(names)],
        np.array([name in neutral for name in names]),
        p,
        i,
        e,
        lines[first[sequence]],
        rows_read,
        rows_read - len(values),
        len(values) - len(first),
    )


def looks_like_a_score(column: str, table: Table) -> str | None:
    r"""Return why an error column seems to be a score, of which more is better; None if it does not.

    The reason is its name, or that it rises with p: larger networks have smaller errors in nearly every table.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        ...     _ = file.write("depth,p,top1\n1,10,.5\n2,20,.6\n3,30,.7\n4,40,.8\n5,50,.9\n")
        ...     file.flush()
        ...     table = read_table(file.name, parameters=["depth"], size="p", error="top1")
        >>> looks_like_a_score("top1", table)
        "column 'top1' rises with p (Spearman 1.00)"
    """
    words = re.split(r"[^a-z0-9]+", column.lower())
    if named := [word for word in words if word in _SCORES]:
        return f"column {column!r} is called {named[0]}"
    if len(table) < _FEW_ROWS or len(set(table.error)) < 2 or len(set(table.size)) < 2:
        return None
    from scipy.stats import spearmanr

    rises = float(spearmanr(table.size, table.error).statistic)
    return f"column {column!r} rises with p (Spearman {rises:.2f})" if rises > _RISES else None


def read_columns(path: str | Path, used: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    """Return the complete rows of some columns of a CSV file, their line numbers, and the number of rows in the file.

    Rows in which one of the columns is empty (or NA, N/A, null, none) are left out.

    Args:
        path: a UTF-8 CSV file with a header.
        used: m names of columns; the first result is `n x m`, the second `(n,)`.

    Raises:
        InputError: the file or a column does not exist, a cell is not a finite number, or no row is complete.
    """
    header, rows = _read(path)
    for column in used:
        if header.count(column) != 1:
            what = "has no column" if column not in header else "has more than one column"
            raise InputError(f"{path} {what} {column!r}; its columns are {', '.join(header)}")
    positions = [header.index(column) for column in used]
    complete: list[list[float]] = []
    lines: list[int] = []
    for line, row in rows:
        if len(row) != len(header):
            raise InputError(f"{path}, line {line}: {len(row)} cells where the header has {len(header)}")
        cells = [row[j].strip() for j in positions]
        if not any(cell.lower() in _MISSING for cell in cells):
            complete.append([_number(cell, column, path, line) for cell, column in zip(cells, used, strict=True)])
            lines.append(line)
    if not complete:
        raise InputError(f"{path} has no row with a number in each of {', '.join(dict.fromkeys(used))}")
    return np.array(complete), np.array(lines), len(rows)


def _read(path: str | Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and the rows that are not blank, each with its line number."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            return header, [(reader.line_num, row) for row in reader if row]
    except OSError as error:
        raise InputError(f"cannot read the table {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV file in UTF-8: {error}") from None


def _number(cell: str, column: str, path: str | Path, line: int) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise InputError(
            f"{path}, line {line}: {column} is {cell!r}, not a finite number; correct it or leave it empty"
        )
    return value
