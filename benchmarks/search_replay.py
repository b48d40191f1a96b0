"""Compare all search methods on measured tables: W, and the least error under ten size caps.

Usage: python benchmarks/search_replay.py TABLE.csv [TABLE.csv ...] [--seeds 100] [--gp-seeds 10] [--out FILE]

The tables are those of LiteTransformerSearch (microsoft/archai, branch neurips-lts), which are not part of this
project. Each search has 30 evaluations. The caps are the deciles of the size column; where fewer than 30 rows meet a
cap, every method finds the best. For each baseline the mean of (its regret - regret of `fitted`) over the same seeds
comes with a 95% bootstrap interval, after the last evaluation and averaged over the curve (anytime). GP takes 80 ms
a proposal and so gets fewer seeds. Writes a compact JSON and prints a table.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsp.search import METHODS
from fsp.search.methods import UNLIMITED
from fsp.trust import Table, read_table, replay_search
from fsp.trust.replay import ReplaySettings

EVALUATIONS = 30
CURVE_AT = (5, 10, 15, 20, 25, 30)
RESAMPLES = 2000
COLUMNS: dict[str, Any] = {
    "parameters": ["n_layer", "d_model", "n_head_mean", "d_inner_mean"],
    "neutral": ["n_head_mean"],
    "size": "params_total",
    "speed": "params_nonembedding",
    "error": "valid_ppl",
}


def problems(table: Table) -> dict[str, tuple[str, float | None]]:
    caps = np.quantile(table.size, np.arange(1, 11) / 10, method="higher")
    return {"w": ("w", None), **{f"error, size <= {cap:.0f}": ("error", float(cap)) for cap in caps}}


def curves(table: Table, objective: str, cap: float | None, method: str, seeds: int) -> NDArray[np.float64]:
    """Return regrets, `seeds x EVALUATIONS`; a search that ran out of rows keeps its last."""
    replay = replay_search(table, ReplaySettings(method, EVALUATIONS, objective=objective, max_size=cap, seeds=seeds))
    short = EVALUATIONS - replay.regret.shape[1]
    return np.pad(replay.regret, ((0, 0), (0, short)), mode="edge")


def interval(differences: NDArray[np.float64]) -> list[float]:
    """Return the mean and its 95% bootstrap interval, in percent."""
    picks = np.random.default_rng(0).integers(len(differences), size=(RESAMPLES, len(differences)))
    low, high = np.quantile(differences[picks].mean(axis=1), (0.025, 0.975))
    return [round(100 * float(x), 4) for x in (differences.mean(), low, high)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--gp-seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "search_replay.json")
    given = parser.parse_args()
    methods = [name for name in METHODS if name not in UNLIMITED]
    result: dict[str, Any] = {
        "evaluations": EVALUATIONS,
        "seeds": given.seeds,
        "gp_seeds": given.gp_seeds,
        "unit": "percent regret; [mean, low, high] where a list of three",
        "curve_at": CURVE_AT,
        "tables": {},
    }
    for path in given.tables:
        table = read_table(path, **COLUMNS)
        entry: dict[str, Any] = {"rows": len(table), "problems": {}}
        for title, (objective, cap) in problems(table).items():
            regret = {
                m: curves(table, objective, cap, m, given.gp_seeds if m == "gp" else given.seeds) for m in methods
            }
            entry["problems"][title] = {
                name: {
                    "mean": round(100 * float(r[:, -1].mean()), 4),
                    "max": round(100 * float(r[:, -1].max()), 4),
                    "curve": [round(100 * float(r[:, k - 1].mean()), 3) for k in CURVE_AT],
                    **(
                        {}
                        if name == "fitted"
                        else {
                            "minus_fitted": interval((r - regret["fitted"][: len(r)])[:, -1]),
                            "minus_fitted_anytime": interval((r - regret["fitted"][: len(r)]).mean(axis=1)),
                        }
                    ),
                }
                for name, r in regret.items()
            }
            print(f"{path.stem}, {title}: " + ", ".join(f"{n} {r[:, -1].mean():.2%}" for n, r in regret.items()))
        entry["worst_mean"] = {m: max(p[m]["mean"] for p in entry["problems"].values()) for m in methods}
        entry["fitted_above"] = [
            f"{title}: {m}"
            for title, p in entry["problems"].items()
            for m in methods
            if p["fitted"]["mean"] > p[m]["mean"]
        ]
        entry["fitted_anytime_above"] = [
            f"{title}: {m}"
            for title, p in entry["problems"].items()
            for m in methods
            if m != "fitted" and p[m]["minus_fitted_anytime"][2] < 0
        ]
        result["tables"][path.stem] = entry
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(_compact(result) + "\n", encoding="utf-8")
    for name, entry in result["tables"].items():
        print(f"\n{name}: worst mean regret over {len(entry['problems'])} problems, %")
        for method, worst in entry["worst_mean"].items():
            print(f"  {method:<17}{worst:8.3f}")
        print(f"  fitted above a baseline at the end: {entry['fitted_above'] or 'nowhere'}")
        print(f"  fitted's curve clearly above a baseline's: {entry['fitted_anytime_above'] or 'nowhere'}")


def _compact(result: dict[str, Any]) -> str:
    """Return JSON with one line for each problem and method."""
    tables = result["tables"]
    short = {**result, "tables": {name: {**entry, "problems": f"@{name}"} for name, entry in tables.items()}}
    text = json.dumps(short, indent=1)
    for name, entry in tables.items():
        problems = ",\n".join(
            f'"{title}": {{\n' + ",\n".join(f' "{m}": {json.dumps(r)}' for m, r in records.items()) + "}"
            for title, records in entry["problems"].items()
        )
        text = text.replace(f'"@{name}"', f"{{\n{problems}}}")
    return text


if __name__ == "__main__":
    main()
