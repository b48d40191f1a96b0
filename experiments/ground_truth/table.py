"""What the ground truth says so far: how far its kinds, probes and seeds agree.

python experiments/ground_truth/table.py     # prints Markdown; reads cut.csv, random.csv and kl.csv
"""

from pathlib import Path

import pandas as pd
from run import HEADS

from fsp.agreement import size_bands, spearman, spearman_in_bands
from fsp.space import load_space
from fsp.truth import mean_truth, read_truth

HERE = Path(__file__).parent
SPACE = load_space("minilm")


def rows(kind: str) -> pd.DataFrame:
    path = HERE / f"{kind}.csv"
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=[*"DAHI", "seed", "error"])


def native(table: pd.DataFrame) -> pd.DataFrame:
    """The rows whose heads have T's size."""
    return table[table["H"] == 32 * table["A"]]


def agreement(cut: pd.DataFrame) -> list[str]:
    """How other truths of seed 0 rank the shapes of the kind `cut`; smaller is better in all of them."""
    first = native(cut[cut["seed"] == 0]).set_index(list("DAHI"))
    others = {
        "error from random weights": native(rows("random")).set_index(list("DAHI"))["error"],
        "KL at masked positions": rows("kl").set_index(list("DAHI"))["error"],
        "1 - Spearman of sentence similarities": 1 - first["spearman"],
        "wrong on movie snippets": 1 - first["movies"],
        "wrong on review sentences": 1 - first["reviews"],
    }
    lines = ["| against the error of `cut` | shapes | Spearman | in size bands |", "|---|---|---|---|"]
    for name, values in others.items():
        both = first.join(values.rename("other"), how="inner").reset_index()
        size = mean_truth(SPACE, both[[*"DAHI", "error"]])[0]
        both = both.merge(size[[*"DAHI", "encoder_parameters"]], on=list("DAHI"))
        bands = size_bands(both["encoder_parameters"]) if len(both) else []
        if len(both) >= 15:
            inside = spearman_in_bands(both["other"], both["error"], bands)
            lines.append(f"| {name} | {len(both)} | {spearman(both['other'], both['error']):.3f} | {inside:.2f} |")
        else:
            lines.append(f"| {name} | {len(both)} | - | - |")
    return lines


def heads(cut: pd.DataFrame) -> list[str]:
    """Shapes with heads of another size beside the same with T's: long training from a cut, and from random weights."""
    kinds = {"cut": cut[cut["seed"] == 0], "random": rows("random")}
    errors = {name: {tuple(r[list("DAHI")]): r["error"] for _, r in table.iterrows()} for name, table in kinds.items()}
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
    cut = rows("cut")
    counts = {kind: len(rows(kind)) for kind in ("cut", "random", "kl")}
    print(f"Trainings so far: {counts}")
    _, noise = mean_truth(SPACE, read_truth(HERE / "cut.csv", SPACE))
    print("Noise of one training:", "unknown" if noise is None else f"{noise:.2%} of the error", end="\n\n")
    print("\n".join([*agreement(cut), "", *heads(cut)]))


if __name__ == "__main__":
    main()
