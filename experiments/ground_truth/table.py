"""What the ground truth says: of the surrogate, of the truths among each other, of heads, and of costs.

python experiments/ground_truth/table.py     # prints Markdown; reads the CSV files beside it
"""

from pathlib import Path

import numpy as np
import pandas as pd
from run import HEADS, SETTINGS

from fsp import load_space
from fsp.objectives import objectives_at, objectives_of
from fsp.objectives.anchored import anchor_rows, anchored, sizes_of
from fsp.trust import rank
from fsp.trust.ranking import FINALISTS
from fsp.trust.truth import mean_truth, read_truth

HERE = Path(__file__).parent
SPACE = load_space(SETTINGS["space"])
NAMES = list("DAHI")
MAXIMUM = objectives_at(SPACE, SPACE.maximum)


def rows(name: str) -> pd.DataFrame:
    """The rows of a file, by shape where it has the columns of one; no rows where there is no file."""
    path = HERE / f"{name}.csv"
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=[*NAMES, "seed", "error"])


def native(table: pd.DataFrame) -> pd.DataFrame:
    """The rows whose heads have T's size, by shape."""
    return table[table["H"] == 32 * table["A"]].set_index(NAMES)


def curve(kind: str) -> pd.DataFrame:
    """The error on the validation text by shape and step, of seed 0."""
    table = rows("curves")
    table = table[(table["kind"] == kind) & (table["seed"] == 0)]
    return native(table.pivot_table(index=NAMES, columns="step", values="error").reset_index())


def truths() -> dict[str, pd.Series]:
    """By name: smaller is better; of kind `cut` where nothing else is said, of seed 0 but for the first."""
    cut = native(rows("cut"))
    first = cut[cut["seed"] == 0]
    return {
        "error after long training": np.exp(np.log(cut["error"]).groupby(NAMES).mean()),
        "the same, from random weights": native(rows("random"))["error"],
        "KL, T with a head": native(rows("kl"))["error"],
        "1 - Spearman of similarities": 1 - first["spearman"],
        "wrong on movie snippets": 1 - first["movies"],
        "wrong on review sentences": 1 - first["reviews"],
    }


def with_sizes(table: pd.DataFrame) -> pd.DataFrame:
    """Add p and i."""
    sizes = objectives_of(SPACE, table.index.to_frame().to_numpy())
    return table.assign(size=sizes["encoder_parameters"].to_numpy(), speed=sizes["operations"].to_numpy())


def judged(truth: pd.Series, surrogates: pd.DataFrame) -> list[str]:
    """A line for each surrogate: how it ranks the shapes of a truth."""
    both = with_sizes(surrogates.join(truth.rename("truth"), how="inner").dropna())
    if len(both) < 15:
        return []
    columns = {name: both[name] for name in surrogates} | {"encoder parameters": -both["size"]}
    corner = (MAXIMUM["encoder_parameters"], MAXIMUM["operations"])
    found = rank(columns, both["truth"], both["size"], speed=both["speed"], maximum=corner)
    return [
        f"{name} | {len(both)} | {one.spearman:.2f} | {one.spearman_in_bands:.2f} "
        f"({one.spearman_in_bands_interval[0]:.2f} to {one.spearman_in_bands_interval[1]:.2f}) | "
        f"{' '.join(f'{value:.2f}' for value in one.in_bands)} | {max(one.regrets):.1%} | "
        f"{max(one.finalists_regrets):.1%}"
        for name, one in found.items()
    ]


def surrogates() -> list[str]:
    """The surrogate, untrained and after s steps, against each truth."""
    card = native(rows("card"))
    short = [name for name in ("s=0", "s=16") if name in card]
    lines = [
        "| truth | surrogate | shapes | Spearman | in size bands (95%) | each band | largest regret | of 5 finalists |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, truth in truths().items():
        told = card[short]
        if name.startswith("KL"):  # the surrogate of that T is another one
            told = curve("kl").reindex(columns=[0, 16]).set_axis(["s=0", "s=16 of a long training"], axis=1)
        lines += [f"| {name} | {line} |" for line in judged(truth, told)]
    return lines


def costs() -> list[str]:
    """The regret of choosing in several ways; the cost of long trainings is a share of training every shape."""
    cut, card = native(rows("cut")), native(rows("card"))
    truth = np.exp(np.log(cut["error"]).groupby(NAMES).mean())
    price = cut["cpu_seconds"].groupby(NAMES).mean()
    both = with_sizes(card[["s=0", "s=16"]].join(curve("cut")[[250]]).join(truth).join(price).dropna())
    truly, middle, every = (both[name].to_numpy() for name in ("error", 250, "cpu_seconds"))
    ways = [("bare error, s=0", both["s=0"].to_numpy(), 1, truly, 0, 0.0)]
    ways += [("five finalists of s=0, 250 steps", both["s=0"].to_numpy(), FINALISTS, middle, 0.25, 0.0)]
    ways += [("five finalists of s=0", both["s=0"].to_numpy(), FINALISTS, truly, 1.0, 0.0)]
    for short, count in (("s=0", 8), ("s=0", 12), ("s=0", 16), ("s=16", 8), ("s=16", 12)):
        anchors, told = by_anchors(both, short, count)
        spent = every[anchors].sum()
        ways += [(f"{count} anchors, {short}", told, 1, truly, 0, spent)]
        ways += [(f"{count} anchors and three finalists, {short}", told, 3, truly, 1.0, spent)]
    lines = [
        "| way of choosing | long trainings cost | largest regret of five caps | regret of W |",
        "|---|---|---|---|",
    ]
    for name, short, finalists, again, length, spent in ways:
        regrets, most = [], 0.0
        for cap in np.quantile(both["size"], np.arange(1, 6) / 5):
            inside = np.flatnonzero(both["size"] <= cap)
            finals = inside[np.argsort(short[inside], kind="stable")[:finalists]]
            best = finals[np.argmin(again[finals])]
            regrets.append(truly[best] / truly[inside].min() - 1)
            most = max(most, spent + length * every[finals].sum())
        gain = (1 - both["size"] / MAXIMUM["encoder_parameters"]) * (1 - both["speed"] / MAXIMUM["operations"])
        finals = np.argsort(-(gain / short).to_numpy(), kind="stable")[:finalists]
        best = finals[np.argmax((gain / again).to_numpy()[finals])]
        lost = 1 - (gain / truly).iloc[best] / (gain / truly).max()
        lines.append(f"| {name} | {most / every.sum():.1%} | {max(regrets):.1%} | {lost:.1%} |")
    return lines


def by_anchors(table: pd.DataFrame, short: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of anchors, and the truth of every row as they tell it."""
    sizes, top = sizes_of(SPACE, table.index.to_frame())
    anchors = anchor_rows(table[short], sizes, top, table["speed"], count)
    known = np.isin(np.arange(len(table)), anchors)
    return np.array(anchors), anchored(table[short], table["error"].where(known), sizes, top)["error"].to_numpy()


def heads() -> list[str]:
    """Shapes with heads of another size beside the same with T's: long training from a cut, and from random weights."""
    kinds = {"cut": rows("cut"), "random": rows("random")}
    errors = {
        name: {tuple(r[NAMES]): r["error"] for _, r in table[table["seed"] == 0].iterrows()}
        for name, table in kinds.items()
    }
    lines = ["| D,A,H,I | sibling | cut | sibling | random | sibling |", "|---|---|---|---|---|---|"]
    for changed, same in HEADS.items():
        cells = []
        for name in kinds:
            for text in (changed, same):
                value = errors[name].get(tuple(map(int, text.split(","))))
                cells.append("-" if value is None else f"{value:.4f}")
        lines.append(f"| {changed} | {same} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    print(f"Trainings: { {kind: len(rows(kind)) for kind in ('cut', 'random', 'kl')} }")
    _, noise = mean_truth(SPACE, read_truth(HERE / "cut.csv", SPACE)[0])
    print("Noise of one training:", "unknown" if noise is None else f"{noise:.2%} of the error")
    for part in (surrogates, costs, heads):
        print("\n" + "\n".join(part()))


if __name__ == "__main__":
    main()
