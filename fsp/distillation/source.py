"""Where a command takes T and its data from; imports no heavy library."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """Where T and the data come from.

    Attributes:
        teacher: a directory or a hub name; None for the space's teacher.
        data: files and folders of text, rows, images or arrays; empty for the documentation of Python's standard
            library.
        column: the column of text if there are rows; None for `text`, else the only column of strings.
        labels: the column of labels; None for `label`, if there is one.
    """

    teacher: str | None = None
    data: Sequence[str | Path] = ()
    column: str | None = None
    labels: str | None = None
