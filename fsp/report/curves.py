"""Errors against the cost of training: candidates against their cost, and single trainings over steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fsp.base.errors import InputError
from fsp.report.sources import Source, columns_of, outcome
from fsp.report.style import BLUE, GREY, MAP, ORANGE, PALETTE, drawing, named, plain_ticks
from fsp.search.pareto import pareto_front

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LABELLED = len(PALETTE)  # up to this number of trainings, each is labelled


def error_cost(
    source: Source,
    cost: str = "seconds",
    *,
    error: str = "error",
    axes: "Axes | None" = None,
) -> "Axes":
    """Draw the error of each candidate against the cost of its training, and return the axes.

    If there is a column `steps`, each number of steps has its own colour.

    Args:
        source: a table with a row per candidate, such as `Extraction.table`, or the folder of a finished run.
        cost: the column of the cost.
        error: the column of the error.
        axes: the axes to draw on; a new figure of 3.3 inches by default.

    Raises:
        InputError: a column does not exist, or the folder holds no finished run.
    """
    table = source if isinstance(source, pd.DataFrame) else outcome(source, None, None).table
    table = columns_of(table, [cost, error])
    front = pareto_front(table, [cost, error])
    groups = [("candidates", table)] if "steps" not in table else [
        (f"{steps} steps", part) for steps, part in table.groupby("steps")
    ]  # fmt: skip
    with drawing(axes, 2.7) as axes:
        for (label, part), colour in zip(groups, [GREY] if len(groups) == 1 else _shades(len(groups)), strict=True):
            axes.scatter(part[cost], part[error], s=12, color=colour, lw=0, zorder=2, label=label)
        axes.plot(front[cost], front[error], color=ORANGE, drawstyle="steps-post", label="least error at the cost")
        axes.set_xscale("log")
        plain_ticks(axes.xaxis)
        axes.set(xlabel=named(cost), ylabel=named(error))
        axes.grid(alpha=0.25, lw=0.5)
    return axes


def training(
    source: pd.DataFrame | str | Path,
    value: str = "error",
    *,
    step: str = "step",
    by: Sequence[str] = (),
    axes: "Axes | None" = None,
) -> "Axes":
    """Draw trainings over their steps, one line per training, and return the axes.

    Up to six lines are labelled; if there are more, colours follow the order of their last values.

    Args:
        source: a table with a row per step, or the folder of a pretraining (`fsp pretrain`, its `log.jsonl`).
        value: the column to draw; for a folder, give `loss`.
        step: the column of steps.
        by: the columns that distinguish the trainings, such as the parameters and the seed.
        axes: the axes to draw on; a new figure of 3.3 inches by default.

    Raises:
        InputError: the file or a column does not exist.

    Example:
        >>> table = pd.DataFrame({"step": [0, 1, 0, 1], "D": [1, 1, 2, 2], "error": [0.9, 0.8, 0.9, 0.6]})
        >>> len(training(table, by=["D"]).lines)
        2
    """
    table = source if isinstance(source, pd.DataFrame) else _logged(Path(source))
    table = columns_of(table, [step, value, *by]).sort_values(step)
    lines = [(_name(by, key), part) for key, part in table.groupby(list(by))] if by else [("", table)]
    lines.sort(key=lambda line: -float(line[1][value].iloc[-1]))
    few = len(lines) <= _LABELLED
    colours = PALETTE if few else _shades(len(lines))
    with drawing(axes, 2.9 if few and by else 2.5) as axes:
        for (name, part), colour in zip(lines, colours, strict=False):
            axes.plot(
                part[step], part[value], color=colour, lw=1.2 if few else 0.6, label=name if few and name else None
            )
        axes.set(xlabel=named(step), ylabel=named(value))
        axes.grid(alpha=0.25, lw=0.5)
        if not few:
            ends = [float(part[value].iloc[-1]) for _, part in lines]
            axes.set_title(f"{len(lines)} trainings, ending between {min(ends):.3g} and {max(ends):.3g}", loc="left")
    return axes


def _logged(folder: Path) -> pd.DataFrame:
    from fsp.distillation.pretraining.watching import read_log

    records = [record for record in read_log(folder / "log.jsonl") if record.get("loss") is not None]
    if not records:
        raise InputError(f"{folder / 'log.jsonl'} holds no steps; give the folder of fsp pretrain")
    return pd.DataFrame(records)


def _name(by: Sequence[str], key: tuple[object, ...]) -> str:
    return " ".join(f"{name}={value}" for name, value in zip(by, key, strict=True))


def _shades(count: int) -> "np.ndarray":
    from matplotlib import colormaps

    return colormaps[MAP](np.linspace(0.95, 0, count)) if count > 1 else np.array([BLUE])
