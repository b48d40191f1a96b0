"""Figures of a run, with matplotlib."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fsp.files import replacing
from fsp.search.pareto import pareto_front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, distinguishable with colour-blindness
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#8a8a8a"
_LABELS = {
    "encoder_parameters": "encoder parameters (share of T)",
    "parameters": "parameters (share of T)",
    "operations": "operations (share of T)",
}


def pareto(result: dict[str, Any], table: pd.DataFrame, objective: str, axes: "Axes | None" = None) -> "Axes":
    """Draw the search's error against one objective of the evaluated candidates and return the axes.

    Args:
        result: the content of `result.json`.
        table: the content of `evaluations.csv`.
        objective: `encoder_parameters`, `parameters` or `operations`.
        axes: where to draw; a new figure by default.
    """
    import matplotlib.pyplot as plt

    if axes is None:
        _, axes = plt.subplots(figsize=(4.5, 3.5), layout="constrained")
    full = float(next(m for m in result["models"] if m["name"] == "T")[objective])
    shares = table.dropna(subset=["error"]).assign(share=lambda t: t[objective] / full)
    front = pareto_front(shares, ["share", "error"])
    names = list(result["selected"])

    def point(shape: dict[str, int]) -> pd.Series:
        return shares[(shares[names] == pd.Series(shape)).all(axis=1)].iloc[0]

    axes.plot(front["share"], front["error"], color=_BLUE, lw=1.2, drawstyle="steps-post", label="Pareto front")
    axes.scatter(shares["share"], shares["error"], s=22, color=_GREY, zorder=2, label="evaluated")
    axes.scatter(front["share"], front["error"], s=26, color=_BLUE, zorder=3)
    chosen = point(result["selected"])
    axes.scatter(chosen["share"], chosen["error"], s=130, marker="*", color=_ORANGE, zorder=5, label="choice")
    for name, marker in (("total", "v"), ("encoder", "^")):
        w = point(result["w_choice"][name]["architecture"])
        axes.scatter(
            w["share"],
            w["error"],
            s=48,
            marker=marker,
            facecolors="none",
            edgecolors=_GREEN,
            linewidths=1.5,
            zorder=4,
            label=f"largest W (p = {name})",
        )
    limit = result["search"]["limits"].get(objective)
    if limit:
        axes.axvline(limit / full, color=_GREY, lw=1, ls=":", label="limit")
    axes.set_xlabel(_LABELS.get(objective, objective))
    axes.set_ylabel(
        "error of the search" + (" (1 − R²)" if result.get("matching", "states") == "states" else " (KL, nats)")
    )
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    return axes


def _front_figure(result: dict[str, Any], table: pd.DataFrame) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    pareto(result, table, "encoder_parameters", left)
    pareto(result, table, "operations", right)
    right.set_ylabel("")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    return figure


def save_front(result: dict[str, Any], table: pd.DataFrame, path: Path) -> None:
    """Write error against encoder parameters and operations, side by side, as a PNG file."""
    with replacing(path) as temporary:
        _front_figure(result, table).savefig(temporary, dpi=150, format="png")


def front_svg(result: dict[str, Any], table: pd.DataFrame, *, dark: bool) -> bytes:
    """Return the same figure as SVG on a transparent ground, for a light or a dark page."""
    import matplotlib as mpl

    ink = "#e6e6e6" if dark else "#222222"
    style: dict[Any, str] = {
        "text.color": ink,
        "axes.labelcolor": ink,
        "axes.edgecolor": ink,
        "xtick.color": ink,
        "ytick.color": ink,
    }
    buffer = io.BytesIO()
    with mpl.rc_context({**style, "svg.hashsalt": "fsp", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = _front_figure(result, table)
        for axes in figure.axes:
            axes.set_facecolor("none")
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()
