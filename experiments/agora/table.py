"""Print results.csv as Markdown tables: test accuracy and paired differences to Agora's, with 95% intervals.

At chance are the seeds at most two points above always guessing one label, which is right on half of the test rows.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

CHANCE = 0.52
table = pd.read_csv(Path(__file__).parent / "results.csv")


def interval(values: pd.Series) -> str:
    n = len(values)
    half = f" ± {100 * t.ppf(0.975, n - 1) * values.std() / np.sqrt(n):.1f}" if n > 1 else ""
    return f"{100 * values.mean():.1f}{half}"


for (task, rows), part in table.groupby(["task", "rows"], sort=False):
    wide = part.pivot_table(index="seed", columns="condition", values="test").dropna()
    print(
        f"\n{task}, {rows} training rows, {len(wide)} seeds\n\n"
        "| condition | fits | test accuracy (%) | median | at chance | Agora minus it |\n|---|---|---|---|---|---|"
    )
    for condition in part["condition"].drop_duplicates():
        fits = part[part["condition"] == condition]["fits"].mean()
        difference = "" if condition == "agora" else interval(wide["agora"] - wide[condition])
        test = wide[condition]
        median, chance = 100 * test.median(), (test <= CHANCE).sum() or ""
        print(f"| {condition} | {fits:.1f} | {interval(test)} | {median:.1f} | {chance} | {difference} |")
