"""Whether the intervals that fsp states hold what they say they hold: simulated laws, and the recorded ground truth.

Usage: python benchmarks/coverage.py [--draws 60] [--out benchmarks/coverage.md]

Every draw has a seed of its own. The certificates' intervals are simulated in benchmarks/certificates.py.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

import fsp
from fsp import Extraction, extract
from fsp.contenders import summary
from fsp.deploy.latency.rounds import median_of, ratio_of
from fsp.objectives import FittedError
from fsp.objectives.anchored import anchor_rows, anchored, sizes_of
from fsp.objectives.power_law import fit_power_law, least_groups
from fsp.search import plan
from fsp.trust import rank, spearman, spearman_in_bands
from fsp.trust.agreement import size_bands

Floats = NDArray[np.float64]
Generator = np.random.Generator
Share = float | None

SPACE = fsp.load_space("minilm")
NAMES = list(SPACE.names)
RECORDED = Path(__file__).parents[1] / "experiments" / "ground_truth" / "card.csv"
ROWS = 60  # shapes that anchors are drawn from, another part of the space each time


# What the error of a shape may be. `reaches` is the share of T's sizes that the shape has.


def _reaches_zero(reach: Floats, g: Generator) -> Floats:
    """A sum over sizes of what is lacking of each; 0 for T."""
    weights, powers = g.uniform(0.02, 0.2, reach.shape[1]), g.uniform(0.3, 1, reach.shape[1])
    return ((reach**-powers - 1) * weights).sum(axis=1) + 1e-6


def _share_lost(reach: Floats, g: Generator) -> Floats:
    """A share of the variance that a product of sizes does not hold; 0 for T."""
    return 1 - np.prod(reach ** g.uniform(0.05, 0.5, reach.shape[1]), axis=1) + 1e-6


def _power_law(reach: Floats, g: Generator) -> Floats:
    """The law that is fitted; .1 for T."""
    return 0.1 * np.prod(reach ** -g.uniform(0.05, 0.5, reach.shape[1]), axis=1)


LAWS: dict[str, Callable[[Floats, Generator], Floats]] = {
    "error of T is 0: sum": _reaches_zero,
    "error of T is 0: share": _share_lost,
    "power law": _power_law,
}
_TOP = np.array([SPACE.maximum[name] for name in NAMES], dtype=float)


def filled(law: str, seed: int) -> dict[str, Share]:
    """Return the shares of true errors in the intervals of `Extraction.filled`, and in those that it withholds."""
    g = np.random.default_rng(seed)
    points = SPACE.candidates
    errors = LAWS[law](points / _TOP, g) * np.exp(0.01 * g.standard_normal(len(points)))
    known = dict(zip(map(tuple, points.tolist()), errors.tolist(), strict=True))
    found = extract(SPACE, error=lambda shape: known[tuple(shape[name] for name in NAMES)], method="interval")
    return _filled_shares(found, known)


def recorded_filled(column: str, count: int, seed: int) -> dict[str, Share]:
    """Return the same where every k-th recorded shape is evaluated, and the others are judged."""
    card = pd.read_csv(RECORDED).sort_values("encoder_parameters", ignore_index=True)
    every = len(card) // count
    table = card.iloc[np.random.default_rng(seed).integers(every) :: every][:count]
    found = Extraction(
        space=SPACE,
        selected=SPACE.maximum,
        table=table[NAMES].assign(error=table[column]),
        method="interval",
        objective="limits",
        limits={},
        interval=every,
        feasible=len(card),
        maximum={},
    )
    return _filled_shares(found, {tuple(row[:-1]): row[-1] for row in card[[*NAMES, column]].itertuples(index=False)})


def _filled_shares(found: Extraction, known: dict[tuple[int, ...], float]) -> dict[str, Share]:
    table = found.filled()
    law = FittedError.fit(found.table, parameters=NAMES)
    true = pd.Series([known.get(tuple(shape)) for shape in table[NAMES].to_numpy().tolist()], dtype=float)
    inside = true.between(table["low"], table["high"])
    would = law.predict(table)
    extrapolated = true.between(would["low"], would["high"])
    asked = table["fitted"] & true.notna()
    told = asked & table["error"].notna()
    return {
        "told": _share(inside[told]),
        "withheld": _share(extrapolated[asked & ~told]),
        "share told": float(told.sum() / asked.sum()),
    }


# Pairs of short and long errors: what anchors tell one from the other.


def _smooth(logs: Floats, g: Generator, sd: float) -> Floats:
    """A smooth random function of the logarithms of sizes, of that sd."""
    apart = ((logs[:, None] - logs[None]) ** 2).sum(axis=-1)
    return np.linalg.cholesky(sd**2 * np.exp(-apart / 2) + 1e-10 * np.eye(len(logs))) @ g.standard_normal(len(logs))


def _pair(kind: str, reach: Floats, g: Generator) -> tuple[Floats, Floats]:
    """Return log e after short and after long training."""
    logs, noise = np.log(reach), g.standard_normal(len(reach))
    base = -logs @ g.uniform(0.05, 0.35, reach.shape[1])
    if kind == "the law itself":
        return base, 1.2 * base - 0.3 + (1 / reach - 1) @ g.uniform(0, 0.05, reach.shape[1]) + 0.02 * noise
    if kind == "a common factor, noise 5%":
        return base, base - 0.3 + 0.05 * noise
    if kind == "smooth":
        short = base + _smooth(logs, g, 0.05)
        return short, short - 0.3 + logs @ g.uniform(-0.1, 0.1, reach.shape[1]) + _smooth(logs, g, 0.03)
    if kind == "one layer, narrow":
        return base, base - 0.3 + 0.1 * (reach[:, 0] < 0.2) + 0.06 * (reach[:, 1] <= 0.5) + 0.01 * noise
    weights, powers = g.uniform(0.02, 0.2, reach.shape[1]), g.uniform(0.3, 1, reach.shape[1])
    lacking = (reach**-powers - 1) * weights
    short = np.log((lacking * g.uniform(0.7, 1.4, reach.shape[1])).sum(axis=1))
    return short + 0.3 + 0.01 * g.standard_normal(len(reach)), np.log(lacking.sum(axis=1)) + 0.01 * noise


PAIRS = ("the law itself", "a common factor, noise 5%", "smooth", "one layer, narrow", "error of T is 0: sum")


def anchors(kind: str, count: int, seed: int) -> dict[str, Share]:
    """Return the share of true long errors in the intervals of `anchored`, of all rows, and whether the best's is.

    `kind`: one of `PAIRS`, or a column of the recorded truths' card that is taken as the short error.
    """
    g = np.random.default_rng(seed)
    recorded = not kind.startswith(PAIRS)
    table = pd.read_csv(RECORDED) if recorded else _feasible()
    table = table.iloc[g.choice(len(table), ROWS, replace=False)]
    sizes, top = sizes_of(SPACE, table)
    if recorded:
        short, true = table[kind].to_numpy(), table["truth"].to_numpy()
    else:
        short, true = map(np.exp, _pair(kind, sizes / np.array(top), g))
    rows = anchor_rows(short, sizes, top, table["operations"], count)
    known = np.isin(np.arange(ROWS), rows)
    told = anchored(short, np.where(known, true, np.nan), sizes, top)
    inside = ((told["low"] <= true) & (true <= told["high"])).to_numpy()
    others = np.flatnonzero(~known)
    best = others[told["error"].to_numpy()[others].argmin()]
    width = np.log(told["high"] / told["low"]).to_numpy()[best] / 2
    return {"all": _share(inside[others]), "best": float(inside[best]), "half-width": float(width)}


def _feasible() -> pd.DataFrame:
    return plan(SPACE, interval=1).table


# The other intervals.


def fitted(exponents: int, shapes: int, seed: int) -> dict[str, Share]:
    """Return the share of new shapes inside the intervals of `FittedError`."""
    g = np.random.default_rng(seed)
    logs = g.uniform(0, 3, (shapes + 100, exponents))
    values = logs @ np.linspace(-0.3, -0.1, exponents) + 0.05 * g.standard_normal(len(logs))
    mean, half = fit_power_law(logs[:shapes], values[:shapes], np.arange(shapes)).predict(logs[shapes:])
    return {"all": _share(np.abs(values[shapes:] - mean) <= half)}


def ranking(rows: int, correlation: float, seed: int) -> dict[str, Share]:
    """Return whether the intervals of a report card's correlations hold those of very many shapes."""
    true = _true_correlations(correlation)
    size, surrogate, truth = _shapes(rows, correlation, np.random.default_rng((1, seed)))
    found = rank({"s": surrogate}, np.exp(truth), size, resamples=200, seed=seed)["s"]
    held = {}
    for name, value in true.items():
        low, high = getattr(found, f"{name}_interval")
        held[name] = None if np.isnan(low) else float(low <= value <= high)
    return held


def _shapes(rows: int, correlation: float, g: Generator) -> tuple[Floats, Floats, Floats]:
    """Return sizes from 1 to 2, and surrogate and truth that fall with it and agree otherwise as said."""
    size, one, two = g.uniform(1, 2, rows), g.standard_normal(rows), g.standard_normal(rows)
    other = correlation * one + np.sqrt(1 - correlation**2) * two
    return size, one - 3 * size, other - 3 * size


@cache
def _true_correlations(correlation: float) -> dict[str, float]:
    size, surrogate, truth = _shapes(100_000, correlation, np.random.default_rng(0))
    bands = size_bands(size)
    return {
        "spearman": spearman(surrogate, truth),
        "spearman_in_bands": spearman_in_bands(surrogate, truth, bands),
    }


def latency(rounds: int, kind: str, seed: int) -> dict[str, Share]:
    """Return whether the intervals of a median and of a ratio hold; both networks share each round's slowness."""
    g = np.random.default_rng(seed)
    noise = {
        "normal": lambda: 1 + 0.05 * g.standard_normal(rounds),
        "skewed": lambda: np.exp(0.2 * g.standard_normal(rounds)),
        "a tenth interrupted": lambda: 1 + 0.02 * g.standard_normal(rounds) + (g.random(rounds) < 0.1),
    }[kind]
    slowness = noise()
    first, second = (10 * slowness * np.exp(0.02 * g.standard_normal(rounds)) for _ in range(2))
    centre = {"normal": 10.0, "skewed": 10.0, "a tenth interrupted": 10 * (1 + 0.02 * 0.1397)}[kind]
    median, ratio = median_of(first), ratio_of(first, second)
    return {"median": float(median.low <= centre <= median.high), "ratio": float(ratio.low <= 1 <= ratio.high)}


def seeds(count: int, kind: str, seed: int) -> dict[str, Share]:
    """Return whether the interval of a mean over seeds in result.json holds the mean of all seeds."""
    g = np.random.default_rng(seed)
    values = {"normal": g.standard_normal, "skewed": lambda n: np.exp(0.5 * g.standard_normal(n))}[kind](count)
    centre = {"normal": 0.0, "skewed": float(np.exp(0.125))}[kind]
    return {"mean": float(abs(np.mean(values) - centre) <= summary(values.tolist())["half_width_95"])}


def accuracy(rows: int, share: float, seed: int) -> dict[str, Share]:
    """Return whether the interval of an accuracy on so many rows holds the accuracy on all."""
    right = int(np.random.default_rng(seed).binomial(rows, share))
    interval = binomtest(right, rows).proportion_ci(method="wilson")  # as fsp.finetuning.results
    return {"accuracy": float(interval.low <= share <= interval.high)}


def _share(inside: NDArray[np.bool_] | pd.Series) -> Share:
    return float(np.mean(inside)) if len(inside) else None


def mean_of(draw: Callable[[int], dict[str, Share]], draws: int) -> dict[str, float]:
    """Return the mean over draws of each share, over those where it is stated; NaN where it never is."""
    table = pd.DataFrame([draw(seed) for seed in range(draws)]).astype(float)
    return {str(name): float(value) for name, value in table.mean().items()}


def tables(draws: int) -> Iterator[tuple[str, str, list[str], list[list[str]]]]:
    """Yield what is simulated, what is stated of it, the columns, and the rows."""
    some = max(1, draws // 4)
    rows = []
    for law in LAWS:
        rows.append([law, "15 of 139", *_cells(mean_of(lambda seed, law=law: filled(law, seed), some))])
    for column in ("s=0", "truth"):
        for count in (12, 20):
            found = mean_of(lambda seed, c=column, n=count: recorded_filled(c, n, seed), some)
            rows.append([f"recorded, {column}", f"{count} of 121", *_cells(found)])
    columns = ["error", "evaluated", "told", "the law's, withheld", "share that is told"]
    yield "`Extraction.filled()`", "90%, between what was evaluated", columns, rows
    rows = []
    for kind in ("s=0", "s=16", *PAIRS):
        for count in (4, 6, 8, 12, 16):
            found = mean_of(lambda seed, k=kind, n=count: anchors(k, n, seed), draws)
            name = kind if kind in PAIRS else f"recorded, {kind}"
            rows.append(
                [name, str(count), *_cells({k: found[k] for k in ("all", "best")}), f"{found['half-width']:.3f}"]
            )
    columns = ["short and long error", "anchors", "all", "predicted best", "half-width (log e)"]
    yield "`predicted_low`, `predicted_high` (anchors)", "90%", columns, rows
    rows = []
    for exponents in (1, 2, 4, 5, 6):
        for count in (9, least_groups(exponents), 20):
            found = mean_of(lambda seed, k=exponents, n=count: fitted(k, n, seed), draws)
            rows.append([str(exponents), f"{count}{' (refused)' if count == 9 else ''}", *_cells(found)])
    yield "`FittedError`", "90%, new shapes drawn as those fitted", ["sizes", "shapes", "covered"], rows
    rows = []
    for count in (24, 40, 121):
        for correlation in (0.5, 0.8, 0.95):
            found = mean_of(lambda seed, n=count, c=correlation: ranking(n, c, seed), 2 * draws)
            rows.append([str(count), f"{correlation:g}", *_cells(found)])
    yield "The report card's correlations", "95%", ["shapes", "correlation", "Spearman", "in size bands"], rows
    rows = []
    for kind in ("normal", "skewed", "a tenth interrupted"):
        for count in (6, 12, 30):
            found = mean_of(lambda seed, n=count, k=kind: latency(n, k, seed), 10 * draws)
            rows.append([kind, str(count), *_cells(found)])
    yield "`fsp latency measure`", "95%, of independent rounds", ["noise", "rounds", "median", "ratio"], rows
    rows = []
    for kind in ("normal", "skewed"):
        for count in (2, 3, 5):
            rows.append([kind, str(count), *_cells(mean_of(lambda s, n=count, k=kind: seeds(n, k, s), 10 * draws))])
    yield "`half_width_95` in result.json", "95%, of normal noise", ["noise", "seeds", "covered"], rows
    rows = []
    for share in (0.6, 0.9, 0.98):
        for count in (50, 200, 1000):
            found = mean_of(lambda seed, n=count, p=share: accuracy(n, p, seed), 10 * draws)
            rows.append([f"{share:g}", str(count), *_cells(found)])
    yield "`interval_95` of an accuracy (`fsp finetune`)", "95%", ["accuracy", "rows", "covered"], rows


def _cells(found: dict[str, float]) -> list[str]:
    return ["-" if np.isnan(value) else f"{value:.3f}" for value in found.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    given = parser.parse_args()
    lines = [
        "# Coverage of what fsp states",
        "",
        f"Written by `python benchmarks/coverage.py --draws {given.draws}`, which says how each is simulated.",
        f"A share near the stated one is uncertain by up to {1.96 * np.sqrt(0.09 / given.draws):.2f} where a draw is",
        "yes or no; `withheld` is what the law would have covered where `filled()` says nothing.",
    ]
    for title, stated, columns, rows in tables(given.draws):
        lines += ["", f"## {title}", "", f"Stated: {stated}.", ""]
        lines += ["| " + " | ".join(cells) + " |" for cells in (columns, ["---"] * len(columns), *rows)]
        print("\n".join(lines[-len(rows) - 6 :]), flush=True)
    given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
