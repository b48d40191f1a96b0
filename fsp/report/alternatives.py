"""Quality against measured speed: the choice beside what its user would have otherwise."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsp.base.errors import InputError
from fsp.base.files import replacing
from fsp.report.sources import load_result
from fsp.report.style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, SMALL, drawing, plain_ticks
from fsp.report.summary import columns_of, figures_of, name_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {"T": "black", "choice": ORANGE, "largest": BLUE, "layer drop": GREEN, "static": PURPLE, "even": SKY}
_MARKS = {"eager": "o", "int8": "D"}
_SIZE = (6.6, 3.2)  # inches


def alternatives(
    source: Mapping[str, Any] | str | Path, figure: str | None = None, *, axes: "Axes | None" = None
) -> "Axes":
    """Draw a figure of all models of a run against their latency, one line of text beside each, and return the axes.

    Filled marks are measured on text like that of the training, hollow ones on other kinds, joined by a line.

    Args:
        source: a run's result, or its folder.
        figure: name of the figure, `error` among them; None for the task's first one.
        axes: the axes to draw on; a new figure of 3.3 inches by default.

    Raises:
        InputError: there is no finished run, or it has no such figure.
    """
    result = load_result(Path(source)) if isinstance(source, str | Path) else source
    known = ["error", *figures_of(result["models"][0])]
    kind = figure or known[min(1, len(known) - 1)]
    if kind not in known:
        raise InputError(f"the run has no figure {kind}; it has {', '.join(known)}")
    with drawing(axes, 3.2) as axes:
        for model in result["models"]:
            parts = [{"error": model["error"], "figures": figures_of(model)}, *model.get("elsewhere", {}).values()]
            values = [(part["error"] if kind == "error" else part["figures"][kind])["mean"] for part in parts]
            colour, mark = _COLOURS.get(model["name"], GREY), _MARKS.get(model.get("runtime", "eager"), "o")
            at = [model["latency"]["median_ms"]] * len(values)
            axes.plot(at, values, color=colour, lw=0.6, alpha=0.5, zorder=2)
            axes.scatter(at[1:], values[1:], s=16, marker=mark, facecolors="none", edgecolors=colour, zorder=3)
            axes.scatter(at[:1], values[:1], s=26, marker=mark, color=colour, zorder=4)
            look: dict[str, Any] = {"textcoords": "offset points", "xytext": (4, 4), "fontsize": 7, "color": colour}
            axes.annotate(name_of(dict(model)), (at[0], values[0]), **look)
        axes.set_xscale("log")
        plain_ticks(axes.xaxis)
        axes.set_xlabel("latency (ms, one sample)")
        axes.set_ylabel(columns_of(dict(result)).get(kind, kind))
        axes.margins(x=0.15, y=0.12)
        axes.grid(alpha=0.25, lw=0.5)
    return axes


def save_alternatives(result: Mapping[str, Any], path: Path, *, dpi: int = 150) -> None:
    """Write the picture as a PNG file."""
    with replacing(path) as temporary:
        _save(result, temporary, format="png", dpi=dpi)


def alternatives_svg(result: Mapping[str, Any]) -> bytes:
    """Return the picture as SVG, with the same bytes every time."""
    buffer = io.BytesIO()
    _save(result, buffer, format="svg", metadata={"Date": None}, dpi=150)
    return buffer.getvalue()


def _save(result: Mapping[str, Any], target: "Path | io.BytesIO", **options: Any) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    fixed: dict[Any, Any] = {**SMALL, "svg.hashsalt": "fsp", "svg.fonttype": "none", "font.family": "sans-serif"}
    with mpl.rc_context(fixed):
        figure = Figure(figsize=_SIZE, layout="constrained")
        alternatives(result, axes=figure.subplots())
        figure.savefig(target, **options)
