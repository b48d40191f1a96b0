"""Predictions against measurements: the surrogate error and the latency."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fsp.report.sources import columns_of, read_evaluations
from fsp.report.style import BLUE, GREY, MARKERS, drawing, named, plain_ticks
from fsp.trust.agreement import BANDS, rows_of, size_bands, spearman

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def surrogate_truth(
    source: pd.DataFrame | str | Path,
    surrogate: str = "s=16",
    truth: str = "truth",
    *,
    size: str = "encoder_parameters",
    axes: "Axes | None" = None,
) -> "Axes":
    """Draw a surrogate error against the true error, with one colour per fifth of the sizes, and return the axes.

    The legend shows the sizes of each band and Spearman's correlation inside it.

    Args:
        source: a table, or the folder of `fsp error card` (its `card.csv`).
        surrogate: the column of the surrogate.
        truth: the column of the error after long training.
        size: the column of the sizes.
        axes: the axes to draw on; a new figure of 3.3 inches by default.

    Raises:
        InputError: the file or a column does not exist.
    """
    from matplotlib import colormaps

    table = source if isinstance(source, pd.DataFrame) else read_evaluations(Path(source) / "card.csv")
    table = columns_of(table, [surrogate, truth, size])
    shades = colormaps["viridis"](np.linspace(0, 0.9, BANDS))
    with drawing(axes, 3.4, legend=f"fifths of {named(size)}, and ρ inside") as axes:
        for band, rows in enumerate(rows_of(size_bands(table[size]))):
            if not len(rows):
                continue
            part = table.iloc[rows]
            rho, low, high = spearman(part[surrogate], part[truth]), part[size].min(), part[size].max()
            inside = "" if np.isnan(rho) else f", ρ {rho:.2f}"
            label = f"{_short(low)} to {_short(high)}{inside}"
            axes.scatter(
                part[surrogate], part[truth], s=14, color=shades[band], marker=MARKERS[band], label=label, lw=0
            )
        axes.set_xlabel(f"surrogate ({surrogate})")
        axes.set_ylabel("error after long training" if truth == "truth" else named(truth))
        axes.set_title(
            f"Spearman's ρ {spearman(table[surrogate], table[truth]):.2f} over all sizes", loc="left", fontsize=7
        )
        axes.grid(alpha=0.25, lw=0.5)
    return axes


def latency_predicted(
    source: pd.DataFrame | str | Path,
    predicted: str = "predicted_ms",
    measured: str = "measured_ms",
    *,
    axes: "Axes | None" = None,
) -> "Axes":
    """Draw predicted against measured latency of networks outside the predictor's fit, and return the axes.

    Args:
        source: a table, or the file of a calibration (`fsp latency calibrate`), whose held-out candidates are drawn.
        predicted: the column of predicted milliseconds.
        measured: the column of measured milliseconds.
        axes: the axes to draw on; a new figure of 3.3 inches by default.

    Raises:
        InputError: the file or a column does not exist.

    Example:
        >>> table = pd.DataFrame({"predicted_ms": [10.0, 21.0], "measured_ms": [10.0, 20.0]})
        >>> latency_predicted(table).get_title("left")
        '2 candidates, 2.5% off on average'
    """
    table = source if isinstance(source, pd.DataFrame) else _held_out(Path(source))
    table = columns_of(table, [predicted, measured])
    x, y = table[measured].to_numpy(dtype=float), table[predicted].to_numpy(dtype=float)
    ends = np.array([0.85 * min(x.min(), y.min()), 1.18 * max(x.max(), y.max())])
    with drawing(axes, 3.2, columns=3) as axes:
        axes.fill_between(ends, 0.9 * ends, 1.1 * ends, color=GREY, alpha=0.2, lw=0, label="within 10%")
        axes.plot(ends, ends, color=GREY, lw=0.8, label="equal")
        axes.scatter(x, y, s=14, color=BLUE, lw=0, alpha=0.8, zorder=3, label="candidates")
        axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
        axes.set(xlabel="measured latency (ms)", ylabel="predicted latency (ms)")
        for axis in (axes.xaxis, axes.yaxis):
            plain_ticks(axis)
        axes.set_title(f"{len(x)} candidates, {np.abs(y / x - 1).mean():.1%} off on average", loc="left", fontsize=7)
        axes.grid(alpha=0.25, lw=0.5)
    return axes


def _held_out(path: Path) -> pd.DataFrame:
    from fsp.objectives.latency import load_calibration

    found = load_calibration(path)
    return pd.DataFrame({"predicted_ms": found(found.held_out.points), "measured_ms": found.held_out.milliseconds})


def _short(size: float) -> str:
    """Return a number of parameters in few characters, e.g. 0.4M."""
    return f"{size / 1e6:.2g}M" if size >= 5e4 else f"{size:,.0f}"
