"""The style of figures: a palette for colour-blind readers, and axes that fit a column of a paper."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 3.3  # inches, a column of a two-column paper

# Okabe and Ito's palette (2008), distinguishable with every common kind of colour-blindness
BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
GREY = "#8a8a8a"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW)
MARKERS = "osD^vP"  # so that series can be distinguished without colours
MAP = "cividis"  # its lightness rises evenly, so it is readable in grey

SMALL: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.linewidth": 0.6,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}

NAMES = {
    "encoder_parameters": "encoder parameters",
    "embedding_parameters": "embedding parameters",
    "parameters": "parameters",
    "operations": "operations",
    "latency": "latency",
    "error": "error",
    "seconds": "seconds of training",
    "cpu_seconds": "core seconds of training",
    "flops": "FLOPs of training",
    "w_total": "W, p = all parameters",
    "w_encoder": "W, p = encoder parameters",
}


def named(column: str) -> str:
    """Return the label of a column on an axis."""
    return NAMES.get(column, column.replace("_", " "))


@contextmanager
def drawing(
    axes: "Axes | None", height: float = 2.6, *, columns: int = 2, legend: str | None = None
) -> Iterator["Axes"]:
    """Yield the axes to draw on: those given, or new ones at column width, with a legend below if anything is labelled.

    Args:
        axes: the given axes, which get no legend; None for a new figure.
        height: height of a new figure, in inches.
        columns: number of columns of its legend.
        legend: title of its legend.
    """
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    if axes is not None:
        yield axes
        return
    with mpl.rc_context(SMALL):
        figure, axes = plt.subplots(figsize=(WIDTH, height), layout="constrained")
        yield axes
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside lower center", ncols=columns, title=legend, handletextpad=0.4, columnspacing=1.2)


def plain_ticks(axis: Any) -> None:
    """Write the ticks of a logarithmic axis as plain numbers, few enough to be readable."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_minor_formatter(NullFormatter())
