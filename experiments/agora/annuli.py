"""Two annuli, a piece of one missing from the train set: a labeller that is right often enough fills the gap.

    python experiments/agora/annuli.py      # annuli.png beside this file; seconds

The learner takes the vote of the nearest points: it does not extrapolate into the gap. Its Θ are how many points vote
and the exponent of the distance. No network is trained: this shows the mechanism of Agora alone.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from fsp.finetuning import grid
from fsp.finetuning.algorithm import Fit, Outcome, Request, agora
from fsp.finetuning.pruning import lcs_keep

Points = NDArray[np.float64]
THETA = grid(learning_rate=[1.0, 2.0], batch=[5, 9, 15])  # exponent of the distance, points that vote
GAP = np.pi / 3  # half the angle of the missing piece
POINTS = 6  # of each mistake


def annuli(count: int, random: np.random.Generator) -> tuple[Points, NDArray[np.int64]]:
    """Points of an inner annulus (class 0) and an outer one (class 1)."""
    labels = random.integers(2, size=count)
    radius = 1 + labels + random.normal(0, 0.1, count)
    angle = random.uniform(-np.pi, np.pi, count)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]), labels


def in_gap(points: Points, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The missing piece: of the outer annulus, around angle 0."""
    return (np.abs(np.arctan2(points[:, 1], points[:, 0])) < GAP) & (labels == 1)


def true_label(points: Points) -> NDArray[np.int64]:
    """The class that is right for any point of the plane."""
    return (np.linalg.norm(points, axis=1) > 1.5).astype(int)


def solve(right: float, seed: int = 0) -> tuple[float, float, Outcome, Callable[[Points], NDArray[np.int64]]]:
    """Run Agora with a labeller of a given accuracy; return the accuracy in the gap before and after, on new points."""
    random = np.random.default_rng(seed)
    train, classes = annuli(200, random)
    keep = ~in_gap(train, classes)
    train, classes = train[keep], classes[keep]
    dev, dev_classes = annuli(300, random)
    test, test_classes = annuli(4000, random)

    def learner(request: Request) -> KNeighborsClassifier:
        x = np.vstack([train, *(point[None] for point, _ in request.added)])
        y = np.concatenate([classes, [label for _, label in request.added]]).astype(int)
        theta = request.theta
        return KNeighborsClassifier(theta.batch, p=theta.learning_rate).fit(x, y)

    def fits(requests):
        for request in requests:
            wrong = np.flatnonzero(learner(request).predict(dev) != dev_classes)
            yield Fit(1 - len(wrong) / len(dev), tuple(wrong.tolist()))

    def expand(mistakes, number):
        around = np.repeat(dev[list(mistakes)], POINTS, axis=0)
        points = around + random.normal(0, 0.15, around.shape)
        labels = np.where(random.random(len(points)) < right, true_label(points), 1 - true_label(points))
        return list(zip(points, labels, strict=True))

    outcome = agora(THETA, fits, expand, lcs_keep)
    number = next(one.number for one in outcome.rounds if outcome.best in one.tried)
    added = tuple(point for one in outcome.rounds if one.number < number for point in one.added)
    best = learner(Request(outcome.best.theta, added))
    first = learner(Request(max(outcome.rounds[0].tried, key=lambda one: one.fit.rank).theta))
    inside = in_gap(test, test_classes)
    before, after = (float((model.predict(test[inside]) == 1).mean()) for model in (first, best))
    return before, after, outcome, best.predict


def main() -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 4), sharex=True, sharey=True)
    side = np.linspace(-2.6, 2.6, 200)
    plane = np.column_stack([axis.ravel() for axis in np.meshgrid(side, side)])
    for axis, right in zip(axes, (0.5, 0.75, 0.95), strict=True):
        before, after, outcome, predict = solve(right)
        axis.contourf(
            side, side, predict(plane).reshape(200, 200), levels=[-0.5, 0.5, 1.5], colors=["#cfe3f7", "#f9dcc4"]
        )
        random = np.random.default_rng(0)
        points, labels = annuli(200, random)
        keep = ~in_gap(points, labels)
        axis.scatter(*points[keep].T, c=labels[keep], s=8, cmap="coolwarm")
        axis.set_title(f"labeller {right:.0%} right\nin the gap: {before:.0%} before, {after:.0%} after", fontsize=10)
        axis.set_aspect("equal")
        print(
            f"labeller {right:.2f}: accuracy in the gap {before:.3f} before, {after:.3f} after; "
            f"{len(outcome.rounds)} rounds"
        )
    figure.savefig(Path(__file__).parent / "annuli.png", dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    main()
