"""Print results.csv as Markdown tables: test accuracy, and the difference to grid search of the same seeds.

Means over the seeds that have all conditions, in percent, with 95% intervals, or the range where seeds are few.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

FEW = 6  # seeds; of fewer the smallest and the largest are told instead of an interval


def summary(values: pd.Series) -> str:
    n, percent = len(values), lambda share: f"{round(100 * share, 1) + 0.0:.1f}"  # + 0.0: no "-0.0"
    if n < FEW:
        return f"{percent(values.mean())} ({percent(values.min())} to {percent(values.max())})"
    return f"{percent(values.mean())} ± {percent(t.ppf(0.975, n - 1) * values.std() / np.sqrt(n))}"


def show(title: str, columns: dict[str, pd.Series], conditions: list[str]) -> None:
    print(f"\n| {title} | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|")
    for condition in conditions:
        print(f"| {condition} | {' | '.join(column.get(condition, '') for column in columns.values())} |")


def main() -> None:
    table = pd.read_csv(Path(__file__).parent / "results.csv")
    accuracy, difference, points = {}, {}, {}
    for (task, rows), part in table.groupby(["task", "rows"]):
        wide = part.pivot_table(index="seed", columns="condition", values="test").dropna()
        name = f"{task}, {rows} rows, {len(wide)} seeds"
        accuracy[name] = wide.apply(summary)
        difference[name] = wide.drop(columns="grid").sub(wide["grid"], axis=0).apply(summary)
        points[name] = part.groupby("condition")["as_source"].mean().dropna().map("{:.0%}".format)
    conditions = list(table["condition"].drop_duplicates())
    show("test accuracy (%)", accuracy, conditions)
    show("minus grid search", difference, [one for one in conditions if one != "grid"])
    show(
        "points labelled as their source", points, [one for one in conditions if any(one in p for p in points.values())]
    )


if __name__ == "__main__":
    main()
