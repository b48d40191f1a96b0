"""The page's interactive part: linked Pareto plots and a sortable table of all candidates, by Bokeh.

Python describes the plots and the table, `templates/explorer.js` links them. BokehJS is taken from the installed
package; its first lines hold its licence (BSD, three clauses), so that a page may be redistributed. bokeh-gl is left
out, because it compiles strings, which the page's content security policy forbids; a canvas is fast enough for 50,000
candidates.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fsp.report.fronts import PAIRS
from fsp.report.sources import Evaluated
from fsp.report.style import BLUE, GREEN, GREY, ORANGE, PURPLE, named
from fsp.search.pareto import pareto_front

if TYPE_CHECKING:
    from bokeh.models import CDSView, ColumnDataSource, DataTable
    from bokeh.plotting import figure as Figure

_INTEGERS = ("parameters", "encoder_parameters", "operations", "peak_memory")
_TICKS = [m * 10.0**k for k in range(-3, 3) for m in (1, 2, 3, 5, 7)]  # percent; those that would overlap are left out
_TABLE_STYLE = """
:host { --bk-font: inherit } .slick-header-column, .slick-row, .slick-cell {
  color: var(--ink); background: var(--ground) }
.slick-header-column.ui-state-default { background: var(--ground) } .slick-cell { border-color: var(--line) !important }
.slick-row.odd .slick-cell { background: var(--ground) } .slick-cell.selected { background: var(--mark) !important }
"""


@dataclass(frozen=True)
class Explorer:
    """The parts of the page's plots and table.

    Attributes:
        script: BokehJS.
        document: the models as JSON.
        roots: ids of the models to place on the page, in order.
    """

    script: str
    document: dict[str, Any]
    roots: tuple[str, ...]


def explorer(held: Evaluated, table: pd.DataFrame) -> Explorer:
    """Return the plots and the table of a run's candidates.

    Args:
        held: the outcome.
        table: the rows and columns to show; plots leave out candidates without an error.
    """
    from bokeh.document import Document
    from bokeh.models import CDSView, ColumnDataSource, IndexFilter
    from bokeh.resources import Resources

    assert held.selected is not None
    shape = list(held.selected)
    data: dict[str, Any] = {str(name): _compact(table[name]) for name in table}
    for name in dict.fromkeys(name for pair in PAIRS for name in pair if name != "error"):
        data[f"{name} %"] = _compact(100 * table[name] / held.maximum[name])
    source = ColumnDataSource(data, name="candidates")
    view = CDSView(filter=IndexFilter(indices=list(range(len(table))), name="filter"))
    document = Document()
    for x, y in PAIRS:
        document.add_root(_plot(held, source, view, shape, x, y))
    document.add_root(_data_table(source, view, table))
    numbers: dict[str, str] = {}
    described = _renumbered(document.to_json(deferred=False), numbers)
    resources = Resources(mode="inline", components=["bokeh", "bokeh-widgets", "bokeh-tables"])
    return Explorer("\n".join(resources.js_raw), described, tuple(numbers[root.id] for root in document.roots))


def _plot(held: Evaluated, source: "ColumnDataSource", view: "CDSView", shape: list[str], x: str, y: str) -> "Figure":
    from bokeh.models import FixedTicker, HoverTool, NoOverlap, NumeralTickFormatter
    from bokeh.plotting import figure

    across, up = (name if name == "error" else f"{name} %" for name in (x, y))
    plot = figure(
        height=300,
        sizing_mode="stretch_width",
        x_axis_type="log",
        y_axis_type="linear" if y == "error" else "log",
        x_axis_label=f"{named(x)} (% of T)",
        y_axis_label="error" if y == "error" else f"{named(y)} (% of T)",
        tools="box_select,tap,wheel_zoom,reset",
        active_drag="box_select",
        toolbar_location="above",
        background_fill_color=None,
        border_fill_color=None,
        name=f"{x} {y}",
    )
    plot.toolbar.logo = None
    plot.axis.axis_label_text_font_style = "normal"
    for axis in plot.axis:
        if axis.axis_label != "error":
            axis.ticker = FixedTicker(ticks=_TICKS, minor_ticks=[])
            axis.formatter = NumeralTickFormatter(format="0.[00]")
            axis.major_label_policy = NoOverlap()
    shown = plot.scatter(
        across, up, source=source, view=view, size=6, color=GREY, alpha=0.6, line_color=None, nonselection_alpha=0.6,
        selection_color=ORANGE, selection_alpha=1, name="shown",
    )  # fmt: skip
    values = [("", " ".join(f"{name}=@{{{name}}}" for name in shape)), ("error", "@error{0.0000}")]
    values += [(f"{named(name)}, % of T", f"@{{{name} %}}{{0.0}}") for name in ("encoder_parameters", "operations")]
    plot.add_tools(HoverTool(renderers=[shown], tooltips=values, limit=3, visible=False))
    for tool in plot.tools:
        if hasattr(tool, "renderers") and not isinstance(tool, HoverTool):
            tool.renderers = [shown]
    front = pareto_front(held.table, [x, y])
    points = _shares(held, front, x, y)
    plot.step(points[0], points[1], mode="after", color=BLUE, line_width=2)
    _mark(plot, _shares(held, held.runners_up(), x, y), "circle", PURPLE, 12)
    for name, marker in (("total", "inverted_triangle"), ("encoder", "triangle")):
        if (row := held.row(held.largest_w.get(name))) is not None:
            _mark(plot, _shares(held, row.to_frame().T, x, y), marker, GREEN, 12)
    if (row := held.row(held.selected)) is not None:
        _mark(plot, _shares(held, row.to_frame().T, x, y), "star", ORANGE, 18, filled=True)
    _mark(plot, ([100.0], [held.maximum["error"] if y == "error" else 100.0]), "square", GREY, 9, filled=True, name="T")
    return plot


def _shares(held: Evaluated, rows: pd.DataFrame, x: str, y: str) -> tuple[list[float], list[float]]:
    """Return the coordinates of rows in a plot: the error itself, other objectives in percent of T's."""
    units = {name: 1.0 if name == "error" else held.maximum[name] / 100 for name in (x, y)}
    return tuple((rows[name].astype(float) / units[name]).tolist() for name in (x, y))  # type: ignore[return-value]


def _mark(
    plot: "Figure",
    points: tuple[list[float], list[float]],
    marker: str,
    colour: str,
    size: int,
    *,
    filled: bool = False,
    name: str | None = None,
) -> None:
    plot.scatter(
        *points,
        marker=marker,
        size=size,
        line_color=colour,
        line_width=2,
        fill_color=colour if filled else None,
        name=name,
    )


def _data_table(source: "ColumnDataSource", view: "CDSView", table: pd.DataFrame) -> "DataTable":
    from bokeh.models import DataTable, InlineStyleSheet, NumberFormatter, StringFormatter, TableColumn

    def column(name: str) -> TableColumn:
        if pd.api.types.is_integer_dtype(table[name]):
            formatter: Any = NumberFormatter(format="0,0", text_align="right")
        elif name in _INTEGERS or pd.api.types.is_float_dtype(table[name]):
            formatter = NumberFormatter(format="0,0.0000", nan_format="-", text_align="right")
        else:
            formatter = StringFormatter()
        title = "in encoder" if name == "encoder_parameters" else name.replace("_", " ")  # columns are narrow
        return TableColumn(field=name, title=title, formatter=formatter)

    return DataTable(
        source=source,
        view=view,
        columns=[column(str(name)) for name in table],
        index_position=None,
        reorderable=False,
        autosize_mode="force_fit",
        height=360,
        sizing_mode="stretch_width",
        stylesheets=[InlineStyleSheet(css=_TABLE_STYLE)],
        name="table",
    )


def _compact(column: pd.Series) -> Any:
    """Return a column in few bytes, because pages may hold tens of thousands of candidates."""
    if pd.api.types.is_integer_dtype(column):
        small = len(column) == 0 or np.abs(column).max() < 2**31
        return column.to_numpy(dtype=np.int32 if small else np.float64)
    if pd.api.types.is_float_dtype(column):
        return column.to_numpy(dtype=np.float32)
    return column.fillna("").astype(str).tolist()


def _renumbered(value: Any, numbers: dict[str, str]) -> Any:
    """Return a document with ids from 0: Bokeh counts on in a process, but a run must always give the same page."""
    if isinstance(value, dict):
        return {
            key: numbers.setdefault(inner, f"fsp{len(numbers)}")
            if key == "id" and isinstance(inner, str)
            else _renumbered(inner, numbers)
            for key, inner in value.items()
        }
    return [_renumbered(inner, numbers) for inner in value] if isinstance(value, list) else value
