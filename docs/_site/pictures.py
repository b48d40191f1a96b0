"""Draws the pictures of the documentation from fsp's own counts and the recorded measurements.

python docs/_site/pictures.py     # writes docs/images, a minute
"""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

import fsp
from fsp.objectives import objectives_at_maximum, objectives_of, operations, sizes
from fsp.objectives.bort import SHAPE
from fsp.report import figures
from fsp.report.style import BLUE, GREEN, GREY, ORANGE, SMALL

ROOT = Path(__file__).parent.parent.parent
IMAGES = ROOT / "docs" / "images"
LAYERS = 4  # as drawn


def box(axes: Axes, x: float, y: float, width: float, text: str, colour: str) -> None:
    """Draw a part of the network."""
    look: dict[str, Any] = {"boxstyle": "round,pad=0,rounding_size=0.12", "fc": colour, "ec": "none", "alpha": 0.9}
    axes.add_patch(FancyBboxPatch((x - width / 2, y), width, 0.7, **look))
    axes.text(x, y + 0.35, text, ha="center", va="center", color="white", fontsize=7)


def abnc() -> None:
    """Draw A, the layers B and C with the architectural parameters, and the shares of parameters and operations."""
    space = fsp.load_space("bert_large")
    with mpl.rc_context({**SMALL, "svg.hashsalt": "fsp", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure, (left, right) = plt.subplots(1, 2, figsize=(6.6, 3.2), width_ratios=(3, 2), layout="constrained")
        left.set(xlim=(-3.4, 4.4), ylim=(-0.9, 6.2))
        left.axis("off")
        box(left, 0, 0, 3, "A   embeddings", ORANGE)
        for k in range(LAYERS):
            name = "B₁" if k == 0 else "Bₙ" if k == LAYERS - 1 else "⋮"
            box(left, 0, 1 + 0.95 * k, 2.6, name, BLUE)
        box(left, 0, 1.05 + 0.95 * LAYERS, 3, "C   head", GREEN)
        left.add_patch(FancyArrowPatch((0, -0.75), (0, -0.05), arrowstyle="->", mutation_scale=8, color=GREY))
        left.text(0.25, -0.6, "token ids x", fontsize=7, color=GREY)
        top = 1 + 0.95 * LAYERS
        left.annotate("", (-1.75, 1), (-1.75, top - 0.25), arrowprops={"arrowstyle": "<->", "color": GREY, "lw": 0.8})
        left.text(-1.9, (top + 0.75) / 2, "depth D = n", ha="right", va="center")
        left.annotate("", (-1.3, 0.85), (1.3, 0.85), arrowprops={"arrowstyle": "<->", "color": GREY, "lw": 0.8})
        left.text(1.7, 0.83, "hidden size H", va="center")
        for line, y in (("in each B:", 3.3), ("A attention heads", 2.85), ("inner size I", 2.4)):
            left.text(1.7, y, line, va="center")
        for row, (name, share) in enumerate(outside(space).items()):
            right.barh(row, 100 * share, color=ORANGE)
            right.barh(row, 100 * (1 - share), left=100 * share, color=BLUE)
            right.text(50 + 50 * share, row, f"B {1 - share:.0%}", ha="center", va="center", color="white", fontsize=7)
            right.text(0, row + 0.42, name, va="bottom", fontsize=7)
        right.set(xlim=(0, 100), yticks=[], xlabel="%", ylim=(-0.5, 2.8))
        for side in ("top", "right", "left"):
            right.spines[side].set_visible(False)
        figure.savefig(IMAGES / "abnc.svg", metadata={"Date": None})


def outside(space: fsp.SearchSpace) -> dict[str, float]:
    """Return the share of A, what remains where there are no layers, in some networks; C is not counted by fsp."""
    full = space.point(space.maximum)
    half = full.copy()
    half[:, 0] //= 2
    whole, less = (int(operations(space, points)[0]) for points in (full, half))
    shapes = {"Bort ⟨4, 8, 1024, 768⟩": space.point(SHAPE), "BERT-large ⟨24, 16, 1024, 4096⟩": full}
    shares = {}
    for name, point in shapes.items():
        counted = {key: int(value[0]) for key, value in sizes(space, point).items()}
        shares[f"parameters of {name}"] = counted["embedding_parameters"] / counted["parameters"]
    return {**shares, "operations of BERT-large": (2 * less - whole) / whole}


def gallery() -> None:
    """Draw the figures that the page about them shows, of the run and the ground truth in the repository."""
    run = ROOT / "experiments" / "minilm"
    space = fsp.load_space("minilm")
    truth = pd.read_csv(ROOT / "experiments" / "ground_truth" / "cut.csv").query("seed == 0 and H == 32 * A")
    truth = truth.merge(objectives_of(space, space.candidates), on=list(space.names))
    curves = pd.read_csv(ROOT / "experiments" / "ground_truth" / "curves.csv").query("kind == 'cut' and seed == 0")
    ends = curves[curves["step"] == curves["step"].max()].sort_values("error")
    some = ends.iloc[[0, len(ends) // 3, 2 * len(ends) // 3, -1]][list(space.names)]
    drawn = {
        "pareto": figures.pareto(run, "operations"),
        "landscape": figures.landscape(truth, maximum=objectives_at_maximum(space)),
        "cost": figures.error_cost(truth, "cpu_seconds"),
        "curves": figures.training(curves.merge(some), by=list(space.names)),
    }
    for name, axes in drawn.items():
        axes.figure.savefig(IMAGES / f"{name}.png", dpi=160)


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    abnc()
    gallery()
