"""The paper's extraction at reduced size, asked in every way: which shape it chooses, and where Bort's image ranks.

python experiments/paper/extraction.py      # prints Markdown from errors.csv (see evaluate.py); seconds
"""

from pathlib import Path

import pandas as pd

import fsp
from fsp import CertifiedSettings, w_coefficient
from fsp.base.rounding import at_most
from fsp.objectives import objectives_at_maximum, objectives_of
from fsp.search.interval import order

HERE = Path(__file__).parent
NAMES = ["D", "A", "H", "I"]
BORT = (1, 6, 384, 288)  # the image of ⟨4, 8, 1024, 768⟩
SIZES = {"parameters": "total", "encoder_parameters": "encoder"}
INTERVALS = (2, 5, 10, 20, 50)
GAP = 0.05


def shape(row: pd.Series) -> str:
    return "⟨" + ", ".join(str(int(row[name])) for name in NAMES) + "⟩"


def scored(space: fsp.SearchSpace, errors: pd.DataFrame) -> pd.DataFrame:
    """Return all candidates in the interval search's order, with W for both p."""
    table = objectives_of(space, space.candidates).merge(errors, on=NAMES)
    full = objectives_at_maximum(space)
    for size, name in SIZES.items():
        maximum = (full[size], full["operations"])
        table[f"w_{name}"] = w_coefficient(table[size], table["operations"], table["error"], maximum=maximum)
    rows = order(table["encoder_parameters"], table["operations"], table[NAMES].to_numpy(), seed=0)
    return table.iloc[rows].reset_index(drop=True)


def choices(table: pd.DataFrame, column: str, interval: int) -> pd.DataFrame:
    """Return what the interval search chooses for each offset at which it can begin, counted from the largest."""
    last = len(table) - 1
    starts = [(last - offset) % interval for offset in range(interval)]
    return pd.DataFrame([table.loc[table[column][start::interval].idxmax()] for start in starts])


def certified(space: fsp.SearchSpace, table: pd.DataFrame, size: str, column: str) -> str:
    known = table.set_index(NAMES)["error"]
    found = fsp.extract(
        space,
        error=lambda a: float(known[tuple(a[name] for name in NAMES)]),
        objective="w",
        size=size,
        method="certified",
        gap=GAP,
        certified=CertifiedSettings(sigma=0, seeds=1),
    )
    result = found.certificate["result"]
    proven = f"within {at_most(result['gap'], 1)}" if result["gap"] is not None else "nothing"
    rows = (table[NAMES] == pd.Series(found.selected)).all(axis=1)
    less = 1 - float(table[column][rows].iloc[0]) / table[column].max()
    return (
        f"{shape(pd.Series(found.selected))}; {len(found.table)} evaluated, proven {proven}, in truth {less:.1%} below"
    )


def main() -> None:
    errors = pd.read_csv(HERE / "errors.csv")
    space = fsp.load_space(HERE / "small.toml")
    print("| s | p | method | chooses | Bort's image | |\n|---|---|---|---|---|---|")
    for steps, part in errors.groupby("steps"):
        if len(part) < len(space.candidates):
            continue
        table = scored(space, part)
        bort = (table[NAMES] == pd.Series(dict(zip(NAMES, BORT, strict=True)))).all(axis=1)
        for size, name in SIZES.items():
            column = f"w_{name}"
            rank = table[column].rank(ascending=False)
            best = table.loc[table[column].idxmax()]
            alike = rank[(table["A"] == BORT[1])].rank()[bort].iloc[0]
            count = int((table["A"] == BORT[1]).sum())
            less = 1 - float(table[column][bort].iloc[0]) / best[column]
            said = f"rank {rank[bort].iloc[0]:.0f}, {alike:.0f} of the {count} with its heads"
            said += f"; W below the best by {less:.1%}"
            print(f"| {steps} | {name} | all {len(table)} | {shape(best)} | {said} | measured here |")
            for interval in INTERVALS:
                found = choices(table, column, interval)
                regret = 1 - found[column] / best[column]
                times = int((found[NAMES].to_numpy() == BORT).all(axis=1).sum())
                method = f"interval {interval}, its {interval} offsets"
                below = f"W below the best by {regret.mean():.1%} in the mean, at most {regret.max():.1%}"
                chosen = f"{shape(found.iloc[0])} from the largest; {below}"
                said = f"chosen {times} of {interval} times"
                print(f"| {steps} | {name} | {method} | {chosen} | {said} | measured here |")
            proven = certified(space, table, size, column)
            print(f"| {steps} | {name} | certified, gap {GAP:.0%} | {proven} | | measured here |")


if __name__ == "__main__":
    main()
