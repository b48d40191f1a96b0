"""Options that several commands share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from fsp.base.machine import keep_memory, keep_time
from fsp.base.option import SEED, STEPS, THREADS
from fsp.cli.fields import option

Space = Annotated[str, typer.Argument(help="Name of a search space, or a .toml or .py file.", show_default=False)]
Teacher = Annotated[
    str | None,
    typer.Option(help="Trained maximum point: a Hugging Face directory or hub name.", show_default="the space's"),
]
CorpusOption = Annotated[
    list[str] | None,
    typer.Option(
        "--corpus",
        help="File or folder of UTF-8 text, or of rows: CSV, TSV, JSON, JSON Lines, parquet; may be repeated.",
        show_default="Python's documentation",
    ),
]
Column = Annotated[
    str | None,
    typer.Option(help="Column of the text where the corpus has rows.", show_default="text, or the only one of strings"),
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
Method = Annotated[
    str | None,
    typer.Option(
        help="maximal: the shapes that no other within the limits exceeds in every size; interval: every K-th by size, "
        "the paper's; certified: until the gap is proven (fsp extract alone); or fitted, random, tpe, gp, nsga2, "
        "params, params-ascending, exhaustive, as in fsp replay search.",
        show_default="maximal; interval for W, with --interval, or where the space says so",
    ),
]
Interval = Annotated[
    int | None,
    typer.Option(
        help="For interval: evaluate every K-th candidate, the largest included.",
        show_default="such that about 16 are evaluated",
    ),
]
Evaluations = Annotated[
    int | None,
    typer.Option(
        help="Evaluate at most so many candidates; not for interval and certified.",
        show_default="32 for maximal, else 16",
    ),
]
Steps = Annotated[int, option(STEPS)]
Tokens = Annotated[int, typer.Option(help="Token budget of the final distillation.")]
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
        help="Stop after so many seconds as SIGTERM does: what is finished is kept, the same command goes on.",
        show_default="none",
    ),
]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        callback=_kept(keep_memory),
        help="Memory that each process may have, as 4GB; a candidate that needs more is recorded as failed.",
        show_default="all",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Finalists = Annotated[
    int, typer.Option(help="Train at most so many near-equals of the best longer, then choose among them; 1: none.")
]
Anchors = Annotated[
    int,
    typer.Option(
        help="Train so many candidates of all shapes longer and tell the longer error of the others by a law; 0: none."
    ),
]
Longer = Annotated[int, typer.Option(help="How many times the steps finalists and anchors get.")]


@dataclass(frozen=True)
class Source:
    """T and text."""

    teacher: Teacher = None
    corpus: CorpusOption = None
    column: Column = None


@dataclass(frozen=True)
class Bounds:
    """What a long command may take; kept by callbacks, so that no command reads it."""

    max_time: MaxTime = None
    max_memory: MaxMemory = None
