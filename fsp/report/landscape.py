"""W over two parameters of the search space."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fsp.base.errors import InputError
from fsp.report.sources import Source, columns_of, outcome
from fsp.report.style import MAP, ORANGE, drawing, named
from fsp.search.coefficient import w_coefficient

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZES = {"w_total": "parameters", "w_encoder": "encoder_parameters"}
_WRITTEN = 80  # up to this number of cells, each shows its number


def landscape(
    source: Source,
    x: str = "H",
    y: str = "D",
    *,
    w: str = "w_encoder",
    speed: str = "operations",
    maximum: Mapping[str, float] | None = None,
    axes: "Axes | None" = None,
) -> "Axes":
    """Draw the largest W over all candidates that share the values of two parameters, and return the axes.

    A cell is empty if none of its candidates has an error, for example where `Extraction.filled` gives NaN. It is
    hatched if the error of its best candidate comes from a fitted law (column `fitted`), not from an evaluation. The
    largest W of all is framed.

    Args:
        source: a table with a row per candidate, such as `Extraction.table` or `Extraction.filled()`, or the folder of
            a finished run.
        x: a parameter.
        y: another parameter.
        w: `w_encoder` or `w_total`: the column of W, computed if the table has none.
        speed: the column of i, to compute W.
        maximum: p and i of T, to compute W.
        axes: the axes to draw on; a new figure of 3.3 inches by default.

    Raises:
        InputError: a column does not exist, or there is neither W nor the maximum to compute it.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"D": [1, 2], "H": [8, 8], "error": [0.5, 0.4], "w_total": [1.8, 1.5]})
        >>> landscape(table, w="w_total").get_ylabel()
        'D'
    """
    held = outcome(source, None, maximum)
    if w not in _SIZES:
        raise InputError(f"no W {w!r}; there are {' and '.join(_SIZES)}")
    table = columns_of(held.table, [x, y])
    table = table.assign(value=table[w] if w in table else _computed(table, _SIZES[w], speed, held.maximum))
    best = table.loc[table.groupby([y, x])["value"].idxmax()]
    grid = best.pivot_table(index=y, columns=x, values="value").sort_index().sort_index(axis=1)
    with drawing(axes, 2.5) as axes:
        mesh = axes.pcolormesh(np.ma.masked_invalid(grid.to_numpy()), cmap=MAP, edgecolors="white", linewidth=0.5)
        axes.figure.colorbar(mesh, ax=axes, label=named(w))
        if grid.size <= _WRITTEN:
            _write(axes, grid)
        if "fitted" in best:
            for _, row in best[best["fitted"].astype(bool)].iterrows():
                _frame(axes, grid, row[x], row[y], fill=False, hatch="////", edgecolor=(1, 1, 1, 0.5), lw=0)
        top = best.iloc[int(best["value"].to_numpy().argmax())]
        _frame(axes, grid, top[x], top[y], fill=False, edgecolor=ORANGE, lw=2)
        axes.set_xticks(np.arange(grid.shape[1]) + 0.5, [f"{value:g}" for value in grid.columns])
        axes.set_yticks(np.arange(grid.shape[0]) + 0.5, [f"{value:g}" for value in grid.index])
        axes.tick_params(length=0)
        axes.set(xlabel=named(x), ylabel=named(y))
    return axes


def _computed(table: pd.DataFrame, size: str, speed: str, maximum: Mapping[str, float]) -> pd.Series:
    table = columns_of(table, [size, speed])
    if size not in maximum or speed not in maximum:
        raise InputError(f"the table has no W; give maximum, {size} and {speed} of T, to compute it")
    values = w_coefficient(table[size], table[speed], table["error"], maximum=(maximum[size], maximum[speed]))
    return pd.Series(values, index=table.index)


def _write(axes: "Axes", grid: pd.DataFrame) -> None:
    """Write each cell's number, dark on light cells and light on dark ones."""
    cells = grid.to_numpy(dtype=np.float64)
    low, high = np.nanmin(cells), np.nanmax(cells)
    for (i, j), value in np.ndenumerate(cells):
        if np.isfinite(value):
            dark = high > low and (value - low) / (high - low) < 0.55
            axes.text(
                j + 0.5, i + 0.5, f"{value:.2f}", ha="center", va="center", fontsize=6, color="w" if dark else "k"
            )


def _frame(axes: "Axes", grid: pd.DataFrame, x: float, y: float, **look: object) -> None:
    from matplotlib.patches import Rectangle

    corner = (grid.columns.get_loc(x), grid.index.get_loc(y))
    axes.add_patch(Rectangle(corner, 1, 1, **look))  # type: ignore[arg-type]
