"""Print the README's tables from results.csv.

python experiments/distillation/table.py
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

MEASURES = {"accuracy": "masked words right (%)", "agreement": "as T (%)", "movies": "movies (%)"}
MEASURES |= {"sentences": "reviews (%)"}
ARMS = {("none", "none"): "before training", ("KD", "tokens"): "KD", ("none", "tokens"): "none, same tokens"}
ARMS |= {("none", "flops"): "none, same FLOPs"}
BEGINNINGS = {"cut": "cut out of T", "random": "random"}


def half_width(values: np.ndarray) -> float:
    """Return half of the 95% t interval of a mean."""
    return float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))


def main() -> None:
    table = pd.read_csv(Path(__file__).parent / "results.csv", keep_default_na=False)
    teacher = table[table["init"] == "T"].iloc[0]
    print(f"| student begins | trained | 10^12 FLOP | perplexity | {' | '.join(MEASURES.values())} |")
    print("|" + "---|" * (4 + len(MEASURES)))
    cells = " | ".join(f"{100 * float(teacher[name]):.1f}" for name in MEASURES)
    print(f"| T itself | | | {float(teacher['perplexity']):.1f} | {cells} |")
    for init, begins in BEGINNINGS.items():
        for (taught, budget), said in ARMS.items():
            rows = table[(table["init"] == init) & (table["taught"] == taught) & (table["budget"] == budget)]
            if rows.empty:
                continue
            perplexity, cost = rows["perplexity"].astype(float), rows["pflop"].astype(float)
            cells = " | ".join(
                f"{100 * rows[name].mean():.1f} ({100 * rows[name].min():.1f} to {100 * rows[name].max():.1f})"
                for name in MEASURES
            )
            print(f"| {begins} | {said} | {1000 * cost.mean():.1f} | {perplexity.mean():.1f} | {cells} |")
    print(f"\n| KD better by (points, 95% of {table['seed'].nunique()} seeds) | {' | '.join(MEASURES.values())} |")
    print("|" + "---|" * (1 + len(MEASURES)))
    for init, begins in BEGINNINGS.items():
        pivot = table[table["init"] == init].set_index(["taught", "budget", "seed"]).sort_index()
        for other in (("none", "tokens"), ("none", "flops")):
            cells = []
            for name in MEASURES:
                both = pd.concat([pivot.loc["KD", "tokens"][name], pivot.loc[other][name]], axis=1, join="inner")
                difference = 100 * (both.iloc[:, 0] - both.iloc[:, 1]).to_numpy(dtype=float)
                cells.append(f"{difference.mean():+.2f} ± {half_width(difference):.2f}")
            print(f"| {begins}, than {ARMS[other]} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
