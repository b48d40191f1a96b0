"""Pareto fronts of evaluated candidates, two objectives at a time."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fsp.base.files import replacing
from fsp.report.sources import Evaluated, Shape, Source, columns_of, outcome
from fsp.report.style import BLUE, GREEN, GREY, ORANGE, PURPLE, SMALL, WIDTH, drawing, named, plain_ticks
from fsp.search.pareto import pareto_front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAIRS = (("encoder_parameters", "error"), ("operations", "error"), ("encoder_parameters", "operations"))
_PAIRS_SIZE = (len(PAIRS) * WIDTH, 3)
_MANY = 2_000  # above this number of points, a vector picture holds them as pixels


def pareto(
    source: Source,
    x: str = "encoder_parameters",
    y: str = "error",
    *,
    selected: Shape | None = None,
    maximum: Mapping[str, float] | None = None,
    by: str = "error",
    axes: "Axes | None" = None,
) -> "Axes":
    """Draw two objectives of the evaluated candidates, their front, the choice and T, and return the axes.

    Objectives other than the error are shares of T's, on a logarithmic axis, if T's are known.

    Args:
        source: a table with a row per candidate, such as `Extraction.table`, or the folder of a finished run.
        x: a column to minimise, such as `encoder_parameters`, `parameters`, `operations`, `latency` or `error`.
        y: another such column.
        selected: the chosen architecture; by default that of the run.
        maximum: the known objectives of T, such as `Extraction.maximum`; by default those of the run.
        by: the column that ranks the three candidates next to the choice; larger is better if its name begins with
            `w_`, else smaller.
        axes: the axes to draw on; a new figure of 3.3 inches by default.

    Raises:
        InputError: a column does not exist, or the folder holds no finished run.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"D": [1, 2, 3], "operations": [10, 20, 40], "error": [0.5, 0.2, 0.3]})
        >>> pareto(table, "operations", selected={"D": 2}, maximum={"operations": 80}).get_xlabel()
        'operations (% of T)'
    """
    held = outcome(source, selected, maximum)
    table = columns_of(held.table, [x, y])
    with drawing(axes, 3.1) as axes:
        _draw(axes, held, table, x, y, by)
    return axes


def pareto_pairs(
    source: Source,
    *,
    selected: Shape | None = None,
    maximum: Mapping[str, float] | None = None,
    by: str = "error",
) -> "list[Axes]":
    """Draw the fronts of all three pairs of encoder parameters, operations and error side by side; return their axes.

    The arguments are those of `pareto`.
    """
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    with mpl.rc_context(SMALL):
        return _fill(plt.figure(figsize=_PAIRS_SIZE, layout="constrained"), outcome(source, selected, maximum), by)


def save_pairs(held: Evaluated, path: Path, *, dpi: int = 150) -> None:
    """Write the fronts of all three pairs as a PNG file."""
    with replacing(path) as temporary:
        _save_pairs(held, temporary, format="png", dpi=dpi)


def pairs_svg(held: Evaluated) -> bytes:
    """Return the fronts of all three pairs as SVG, with the same bytes every time."""
    buffer = io.BytesIO()
    _save_pairs(held, buffer, format="svg", metadata={"Date": None}, dpi=150)
    return buffer.getvalue()


def _save_pairs(held: Evaluated, target: "Path | io.BytesIO", **options: Any) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    fixed: dict[Any, Any] = {**SMALL, "svg.hashsalt": "fsp", "svg.fonttype": "none", "font.family": "sans-serif"}
    with mpl.rc_context(fixed):
        figure = Figure(figsize=_PAIRS_SIZE, layout="constrained")
        _fill(figure, held, "error")
        figure.savefig(target, **options)


def _fill(figure: "Figure", held: Evaluated, by: str) -> "list[Axes]":
    panels = list(figure.subplots(1, len(PAIRS)))
    for axes, (x, y) in zip(panels, PAIRS, strict=True):
        _draw(axes, held, columns_of(held.table, [x, y]), x, y, by)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(handles))
    return panels


def _draw(axes: "Axes", held: Evaluated, table: pd.DataFrame, x: str, y: str, by: str) -> None:
    units = {name: held.maximum[name] / 100 if name != "error" and name in held.maximum else 1 for name in (x, y)}
    front = pareto_front(table, [x, y])
    dominated = table.drop(index=front.index)

    def mark(rows: pd.DataFrame | pd.Series, label: str, **look: object) -> None:
        axes.scatter(rows[x] / units[x], rows[y] / units[y], label=label, **look)  # type: ignore[arg-type]

    mark(dominated, "dominated", s=10, color=GREY, alpha=0.6, lw=0, zorder=2, rasterized=len(dominated) > _MANY)
    axes.plot(
        front[x] / units[x], front[y] / units[y], color=BLUE, drawstyle="steps-post", marker="o", ms=3, zorder=3,
        label="Pareto front",
    )  # fmt: skip
    mark(held.runners_up(by), "next three", s=34, facecolors="none", edgecolors=PURPLE, linewidths=1.1, zorder=4)
    for label, marker, shape in (("W, all", "v", "total"), ("W, encoder", "^", "encoder")):
        if (row := held.row(held.largest_w.get(shape))) is not None:
            mark(row, f"largest {label}", s=42, marker=marker, facecolors="none", edgecolors=GREEN, zorder=4)
    if (row := held.row(held.selected)) is not None:
        mark(row, "choice", s=90, marker="*", color=ORANGE, zorder=5)
    if x in held.maximum and y in held.maximum:
        mark(pd.Series(held.maximum), "T", s=30, marker="s", color="black", zorder=4)
    for name, line in ((x, axes.axvline), (y, axes.axhline)):
        if limit := held.limits.get(name):
            line(limit / units[name], color=GREY, lw=0.8, ls=":", label="limit" if name == x else None)
    for name, axis, scale in ((x, axes.xaxis, axes.set_xscale), (y, axes.yaxis, axes.set_yscale)):
        if name != "error":
            scale("log")
            plain_ticks(axis)
    axes.set_xlabel(_label(x, units[x]))
    axes.set_ylabel(_label(y, units[y]))
    if y == "error":
        axes.set_ylim(bottom=-0.02 * float(table[y].max()) if held.maximum.get("error") == 0 else 0)
    axes.grid(alpha=0.25, lw=0.5)


def _label(name: str, unit: float) -> str:
    return f"{named(name)} (% of T)" if unit != 1 else named(name)
