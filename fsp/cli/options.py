"""Options that several commands share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from fsp.base.machine import keep_memory, keep_time
from fsp.base.option import SEED, THREADS
from fsp.cli.fields import option
from fsp.distillation.source import Source as SourceOfData

Space = Annotated[str, typer.Argument(help="Name of a search space, or a .toml or .py file.", show_default=False)]
Teacher = Annotated[
    str | None,
    typer.Option(help="Trained maximum point: a Hugging Face directory or hub name.", show_default="the space's"),
]
CorpusOption = Annotated[
    list[str] | None,
    typer.Option(
        "--corpus",
        "--data",
        help="File or folder of UTF-8 text, or of rows: CSV, TSV, JSON, JSON Lines, parquet; for a classifier also a "
        "folder of images, or arrays (.npz); may be repeated.",
        show_default="English of seven registers, from fsp text",
    ),
]
Column = Annotated[
    str | None,
    typer.Option(help="Column of the text where the data has rows.", show_default="text, or the only one of strings"),
]
Labels = Annotated[
    str | None,
    typer.Option(
        help="Column of the labels where a classifier's samples are rows.", show_default="label, if there is one"
    ),
]
Limit = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=VALUE",
        help="Hard limit on parameters, encoder_parameters, operations or peak_memory (bytes), a number or a share of "
        "T's; may be repeated.",
        show_default="encoder_parameters=25% operations=25%",
    ),
]
LimitOfLatency = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=VALUE",
        help="Hard limit on parameters, encoder_parameters, operations, peak_memory (bytes) or, with --speed "
        "calibrated, latency (ms), a number or a share of T's; may be repeated.",
        show_default="25% of encoder_parameters and of operations, or latency",
    ),
]
Speed = Annotated[
    str,
    typer.Option(help="operations; calibrated: latency as predicted after fsp latency calibrate; or its file."),
]
Seed = Annotated[int, option(SEED)]
Threads = Annotated[int | None, option(THREADS)]
ModelFolder = Annotated[Path, typer.Option("--out", help="Directory of the model.")]
OfSpace = Annotated[str, typer.Option("--space", help="The search space whose teacher is used by default.")]
Shape = Annotated[
    list[str] | None,
    typer.Argument(
        help="A shape, as D=3 A=8 H=256 I=768; `bort`; or a result of fsp run or extract.", show_default=False
    ),
]
Columns = Annotated[
    list[str], typer.Option(help="Columns that make an architecture, separated by commas; may be repeated.")
]


def names_in(given: Sequence[str]) -> list[str]:
    """Return the names in lists separated by commas, in order."""
    return [name.strip() for text in given for name in text.split(",") if name.strip()]


_Value = TypeVar("_Value")


def _kept(keep: Callable[[_Value], None]) -> Callable[[_Value | None], _Value | None]:
    def callback(value: _Value | None) -> _Value | None:
        if value is not None:
            keep(value)
        return value

    return callback


MaxTime = Annotated[
    float | None,
    typer.Option(
        callback=_kept(keep_time),
        help="Stop after so many seconds, as on SIGTERM: what is finished is kept, and the same command goes on.",
        show_default="none",
    ),
]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        callback=_kept(keep_memory),
        help="Memory that each process may use, e.g. 4GB; a candidate that needs more is recorded as failed.",
        show_default="all",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@dataclass(frozen=True)
class Source:
    """T and the data.

    Attributes:
        teacher: directory or hub name of T; None for the space's.
        corpus: files and folders of text, rows, images or arrays.
        column: column of the text in rows.
        labels: column of the labels in rows.
    """

    teacher: Teacher = None
    corpus: CorpusOption = None
    column: Column = None
    labels: Labels = None

    @property
    def texts(self) -> Sequence[str]:
        """Files and folders; empty for the default text."""
        return self.corpus or ()

    @property
    def given(self) -> SourceOfData:
        """The same without what the command line needs."""
        return SourceOfData(self.teacher, self.texts, self.column, self.labels)


@dataclass(frozen=True)
class Bounds:
    """Limits of a long command. Callbacks of the options enforce them, so no command reads the fields.

    Attributes:
        max_time: seconds until the process ends.
        max_memory: memory per process.
    """

    max_time: MaxTime = None
    max_memory: MaxMemory = None
