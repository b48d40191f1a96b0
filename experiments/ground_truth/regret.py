"""What the searches lose under limits, against long training: the maximal shapes, and every K-th from each offset.

python experiments/ground_truth/regret.py     # seconds; prints Markdown, writes regret.json; reads the CSV files beside
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from table import HERE, MAXIMUM, NAMES, SPACE, curve, native, rows

from fsp.base import write_json
from fsp.search.certificates import Noise, Order
from fsp.search.certificates.bounds import evidence
from fsp.search.finalists import undecided
from fsp.search.interval import every_kth, interval_for, order
from fsp.search.limits import within
from fsp.search.maximal import with_audit
from fsp.search.question import DEFAULT_SHARE

LIMITED = ("encoder_parameters", "operations")
FIXED = (1.0, 0.8, 0.6, 0.4)  # shares of the default limits
DRAWN = 20  # further limits, each of the two a share of its default drawn from 30% to 100%
SHORT = "s=16"  # the search's error
LATER = (125, 250)  # steps of long trainings at which finalists are compared; `fsp run` trains them 128
FINALISTS = 3
CAP = 12  # evaluations of a search that may not take all maximal shapes

Rows = NDArray[np.intp]


def known() -> pd.DataFrame:
    """Return the shapes with a long training: its error, the search's, and those in the course of the training."""
    card = native(rows("card")).rename(columns={"truth": "long"})
    return card[[*LIMITED, SHORT, "long"]].join(curve("cut")[list(LATER)]).reset_index()


def drawn() -> list[tuple[float, float]]:
    """Return the shares of the default limits, for encoder parameters and for operations."""
    generator = np.random.default_rng(0)
    return [(share, share) for share in FIXED] + [tuple(generator.uniform(0.3, 1, 2)) for _ in range(DRAWN)]


def by_maximal(table: pd.DataFrame, evaluations: int) -> Rows:
    points, neutral = table[NAMES].to_numpy(), np.isin(NAMES, SPACE.neutral)
    sizes = (table[name].to_numpy() for name in LIMITED)
    return np.concatenate(with_audit(points, neutral, *sizes, evaluations, seed=0)[:2])


def by_interval(table: pd.DataFrame, offset: int) -> Rows:
    """Take every K-th, from the largest but `offset` on, with the default K."""
    ranked = order(*(table[name] for name in LIMITED), table[NAMES].to_numpy(), seed=0)
    interval = interval_for(len(ranked), 16)
    return every_kth(ranked[: len(ranked) - offset % interval], interval)


def by_interval_before(table: pd.DataFrame) -> Rows:
    """Take the K-th and every K-th from there, K = ceil(n / 16): the default until the maximal shapes were."""
    ranked = order(*(table[name] for name in LIMITED), table[NAMES].to_numpy(), seed=0)
    interval = -(-len(ranked) // 16)
    return ranked[interval - 1 :: interval]


def lost(table: pd.DataFrame, evaluated: Rows) -> dict[str, float]:
    """Return the regret of a search: of its best in truth, of its choice, and of its choice among finalists."""
    truth, short = table["long"].to_numpy(), table[SHORT].to_numpy()[evaluated]

    def regret(row: int) -> float:
        return float(truth[row] / truth.min() - 1)

    near = evaluated[undecided(1 / short, [[error] for error in short], FINALISTS)]
    found = {"searched": float(truth[evaluated].min() / truth.min() - 1), "chosen": regret(evaluated[short.argmin()])}
    for steps in LATER:
        again = table[steps].to_numpy()[near]
        found[f"finalists_{steps}"] = regret(near[0] if np.isnan(again).all() else near[np.nanargmin(again)])
    return found


def judged(table: pd.DataFrame, search: Callable[[pd.DataFrame], Iterable[Rows]]) -> dict[str, object]:
    """Return what a search loses at each limit; where it is several (the offsets), their mean and their largest."""
    found: list[dict[str, float]] = []
    for shares in drawn():
        limits = {
            name: s * float(DEFAULT_SHARE[:-1]) / 100 * MAXIMUM[name] for name, s in zip(LIMITED, shares, strict=True)
        }
        inside = table[within(table, limits)].reset_index(drop=True)
        several = [{**lost(inside, rows_), "evaluations": len(rows_)} for rows_ in search(inside)]
        mean = pd.DataFrame(several).mean().to_dict()
        found.append({"feasible": len(inside), **mean, "worst": max(one["searched"] for one in several)})
    every = pd.DataFrame(found)
    return {
        "fixed": every.iloc[: len(FIXED)].round(5).to_dict("records"),
        "drawn": {
            "mean": every.iloc[len(FIXED) :].mean().round(5).to_dict(),
            "largest": every.iloc[len(FIXED) :].max().round(5).to_dict(),
        },
    }


def tested(table: pd.DataFrame) -> dict[str, float]:
    """Return how many comparable pairs of long trainings there are, and how many refute M(0)."""
    comparable = Order.of({name: table[name] for name in NAMES}, equal=SPACE.neutral, neutral={}, tau=0.0)
    ones = np.ones(len(table))
    return evidence(comparable, range(len(table)), np.log(table["long"]), ones, Noise(0.0), alpha=0.05).describe()


SEARCHES: dict[str, Callable[[pd.DataFrame], Iterable[Rows]]] = {
    "maximal": lambda table: [by_maximal(table, 32)],
    f"maximal, at most {CAP}": lambda table: [by_maximal(table, CAP)],
    "interval, from the largest": lambda table: [by_interval(table, 0)],
    "interval, mean of its offsets": lambda table: [
        by_interval(table, offset) for offset in range(interval_for(len(table), 16))
    ],
    "interval, as before": lambda table: [by_interval_before(table)],
}


def computed() -> dict[str, Any]:
    table = known()
    searches = {name: judged(table, search) for name, search in SEARCHES.items()}
    return {"shapes": len(table), "M": tested(table), "searches": searches}


def main() -> None:
    result = computed()
    write_json(HERE / "regret.json", result)
    columns = ["searched", "chosen", *(f"finalists_{steps}" for steps in LATER)]
    print(
        "| search | limits | evaluations | best evaluated | chosen by e | "
        + " | ".join(f"of three finalists, {steps} steps" for steps in LATER)
        + " |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, found in result["searches"].items():
        for share, one in zip(FIXED, found["fixed"], strict=True):
            cells = " | ".join(f"{one[column]:.1%}" for column in columns)
            print(
                f"| {name} | {share:.0%} of the default | {one['evaluations']:.0f} of {one['feasible']:.0f} | {cells} |"
            )
        mean, largest = found["drawn"]["mean"], found["drawn"]["largest"]
        cells = " | ".join(f"{mean[column]:.1%}, at most {largest[column]:.1%}" for column in columns)
        print(f"| {name} | {DRAWN} drawn | {mean['evaluations']:.1f} | {cells} |")
    print(f"\nM(0): {result['M']['against']} of {result['M']['pairs']:,} comparable pairs are against it.")


if __name__ == "__main__":
    main()
