"""What errors would make W choose ⟨4, 8, 1024, 768⟩ among the 300 shapes, and whether such errors are likely.

W(ξ) = S(ξ)/e(ξ) with S = (1 − p/p_T)(1 − i/i_T). Bort wins if and only if e(ξ)/e(Bort) > S(ξ)/S(Bort) for every other
ξ: a smaller shape must be worse by at least that ratio, and a larger one may be better by no more than it.

python experiments/paper/inverse.py     # prints Markdown, writes inverse.csv
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import linprog

import fsp
from fsp.objectives import objectives_at_maximum, objectives_of
from fsp.objectives.bort import SHAPE

HERE = Path(__file__).parent
SMALLEST = (2, 4, 512, 256)
SIZES = {"parameters": "total", "encoder_parameters": "encoder"}
NAMES = ["D", "A", "H", "I"]
LAW = ["D", "H", "I"]
DRAWS = 500


def ratios() -> pd.DataFrame:
    """One row per shape other than Bort, with the ratio e(ξ)/e(Bort) that it must exceed, for both p."""
    space = fsp.load_space("bert_large")
    table, full = objectives_of(space, space.candidates), objectives_at_maximum(space)
    bort = (table[NAMES] == pd.Series(SHAPE)).all(axis=1)
    for size, name in SIZES.items():
        score = (1 - table[size] / full[size]) * (1 - table["operations"] / full["operations"])
        table[f"ratio_{name}"] = score / float(score[bort].iloc[0])
    for name in NAMES:
        table[f"log_{name}"] = np.log(table[name] / SHAPE[name])
    table["log_encoder"] = np.log(table["encoder_parameters"] / float(table.loc[bort, "encoder_parameters"].iloc[0]))
    return table[~bort].reset_index(drop=True)


def power_range(table: pd.DataFrame, column: str) -> tuple[float, float, pd.Series, pd.Series]:
    """The exponents a for which e ∝ (encoder parameters)^−a lets Bort win: from, to, and the shapes that set them."""
    need = np.log(table[column])
    slope = -need / table["log_encoder"]
    smaller, larger = table["log_encoder"] < 0, table["log_encoder"] > 0
    least, most = slope[smaller].idxmax(), slope[larger].idxmin()
    return float(slope[least]), float(slope[most]), table.loc[least], table.loc[most]


def exponents(table: pd.DataFrame, column: str) -> dict[str, tuple[float, float]]:
    """The range of each exponent of e ∝ D^−a H^−c I^−d, none negative, with which Bort wins; empty where none does.

    Among the shapes with Bort's heads: such a law says nothing of heads.
    """
    rivals = table[table["A"] == SHAPE["A"]]
    logs = rivals[[f"log_{name}" for name in LAW]].to_numpy()
    need = np.log(rivals[column]).to_numpy()
    ranges = {}
    for k, name in enumerate(LAW):
        ends = []
        for sign in (1, -1):
            cost = np.zeros(len(LAW))
            cost[k] = sign
            found = linprog(cost, A_ub=logs, b_ub=-need, bounds=[(0, 5)] * len(LAW))
            if not found.success:
                return {}
            ends.append(float(found.x[k]))
        ranges[name] = (ends[0], ends[1])
    return ranges


def shape(row: pd.Series) -> str:
    return "⟨" + ", ".join(str(int(row[name])) for name in NAMES) + "⟩"


def ground_truth() -> pd.DataFrame:
    """The shapes of `minilm` whose error after long training was measured, once each, with p and i."""
    space = fsp.load_space("minilm")
    truth = pd.read_csv(HERE.parent / "ground_truth" / "cut.csv").query("seed == 0 and H == 32 * A")
    return truth.merge(objectives_of(space, space.candidates), on=NAMES)


def law_of(truth: pd.DataFrame) -> dict[str, float]:
    """The exponents of D, H and I by least squares."""
    logs = np.column_stack([np.log(truth[LAW]), np.ones(len(truth))])
    law, *_ = np.linalg.lstsq(logs, np.log(truth["error"]), rcond=None)
    return dict(zip(LAW, (-law[:3]).tolist(), strict=True))


def wins_under(table: pd.DataFrame, column: str, law: dict[str, float]) -> tuple[pd.Series | None, int]:
    """The winner among the shapes with Bort's heads when e follows a law (None: Bort), and Bort's rank."""
    rivals = table[table["A"] == SHAPE["A"]]
    log_w = np.log(rivals[column]) + sum(law[name] * rivals[f"log_{name}"] for name in LAW)  # Bort's is 0
    best = log_w.idxmax()
    return (None if log_w[best] <= 0 else rivals.loc[best]), 1 + int((log_w > 0).sum())


def main() -> None:
    table = ratios()
    columns = [*NAMES, "encoder_parameters", "parameters", "operations", "ratio_total", "ratio_encoder"]
    table[columns].round(4).to_csv(HERE / "inverse.csv", index=False)
    smallest = table[(table[NAMES] == pd.Series(SMALLEST, NAMES)).all(axis=1)].iloc[0]
    truth = ground_truth()
    slope, _ = np.polyfit(np.log(truth["encoder_parameters"]), np.log(truth["error"]), 1)
    law = law_of(truth)
    print("| for W to choose Bort | p total | p encoder | |\n|---|---|---|---|")

    def line(what: str, values: list[str], mark: str = "computed") -> None:
        print(f"| {what} | {values[0]} | {values[1]} | {mark} |")

    kinds = [f"ratio_{name}" for name in SIZES.values()]
    line("⟨2, 4, 512, 256⟩ must have at least this many times Bort's error", [f"{smallest[k]:.3f}" for k in kinds])
    for what, end in (
        ("the most that any shape must have", "idxmax"),
        ("the least that a larger one may have", "idxmin"),
    ):
        rows = [table.loc[getattr(table[k], end)()] for k in kinds]
        line(what, [f"{row[k]:.3f}, {shape(row)}" for row, k in zip(rows, kinds, strict=True)])
    line("shapes that must be worse than Bort", [f"{(table[k] > 1).sum()} of {len(table)}" for k in kinds])
    same = (table["D"] == SHAPE["D"]) & (table["H"] == SHAPE["H"]) & (table["I"] == SHAPE["I"])
    fewer = table[same & (table["A"] < SHAPE["A"])].iloc[0]
    line(f"{shape(fewer)}, fewer heads, must be worse by", [f"{fewer[k] - 1:.3%}" for k in kinds])
    ranges = [power_range(table, k) for k in kinds]
    line("e ∝ (encoder parameters)^−a: a must be at least", [f"{r[0]:.3f}, for {shape(r[2])}" for r in ranges])
    line("and at most", [f"{r[1]:.3f}, for {shape(r[3])}" for r in ranges])
    line("so", ["possible" if r[0] < r[1] else "impossible" for r in ranges])
    line("a in the ground truth of `minilm`", [f"{-slope:.3f} ({len(truth)} shapes)"] * 2, "measured here")
    found = [exponents(table, k) for k in kinds]
    for name in LAW:
        ends = ["no such law" if not r else f"{r[name][0]:.3f} to {r[name][1]:.3f}" for r in found]
        line(f"e ∝ D^−a H^−c I^−d: the exponent of {name}", ends)
    line("D, H, I in the ground truth of `minilm`", [", ".join(f"{v:.3f}" for v in law.values())] * 2, "measured here")
    under = [wins_under(table, k, law) for k in kinds]
    of = 1 + int((table["A"] == SHAPE["A"]).sum())
    line(f"with those exponents W would choose, and Bort's rank of the {of} with 8 heads",
         [f"{'Bort' if best is None else shape(best)}, rank {rank}" for best, rank in under],
         "computed from the measured law")  # fmt: skip
    draws = [law_of(truth.sample(len(truth), replace=True, random_state=k)) for k in range(DRAWS)]
    ranks = [np.array([wins_under(table, k, drawn)[1] for drawn in draws]) for k in kinds]
    line(f"in {DRAWS} bootstrap samples of the shapes: Bort wins, is among the first five",
         [f"{(r == 1).mean():.0%}, {(r <= 5).mean():.0%}" for r in ranks],
         "computed from the measured law")  # fmt: skip


if __name__ == "__main__":
    main()
