"""The error `fitted` on measured tables and on simulated ones: ranking inside size bands, and honesty of its intervals.

Usage: python benchmarks/replay_error.py TABLE.csv [TABLE.csv ...] [--seeds 20] [--simulated-seeds 100] [--out FILE]

The tables are those of LiteTransformerSearch (microsoft/archai, branch neurips-lts), which are not part of this
project. Each is replayed as `fsp replay error` does it, from 15, 30 and 60 rows. The simulated families (200 shapes,
another set each seed) say whether a law chosen with an eye on those tables is right elsewhere: a power law with 3% and
10% noise, one above a floor, one with 5% diverged trainings, one with heavy-tailed noise; and one in training steps
too, five rows per shape and a noise that rows of a shape share, judged on shapes not fitted.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fsp.objectives import FittedError
from fsp.trust import Table, read_table, replay_error
from fsp.trust.replay import ErrorReplay

TRAIN = (15, 30, 60)
SHAPES = 200
NAMES = ("D", "A", "H", "I")
EXPONENTS = np.array([-0.3, 0.0, -0.4, -0.15])
COLUMNS: dict[str, Any] = {
    "parameters": ["n_layer", "d_model", "n_head_mean", "d_inner_mean"],
    "size": "params_nonembedding",
    "error": "valid_ppl",
}
Floats = NDArray[np.float64]
Noise = Callable[[Floats, np.random.Generator], Floats]

FAMILIES: dict[str, Noise] = {
    "noise 3%": lambda logs, g: logs + g.normal(0, 0.03, len(logs)),
    "noise 10%": lambda logs, g: logs + g.normal(0, 0.1, len(logs)),
    "floor, noise 3%": lambda logs, g: (
        np.log(0.5 * np.exp(logs) / np.exp(logs).mean() + 0.3) + g.normal(0, 0.03, len(logs))
    ),
    "5% diverged, noise 3%": lambda logs, g: (
        logs + g.normal(0, 0.03, len(logs)) + (g.random(len(logs)) < 0.05) * g.exponential(1.0, len(logs))
    ),
    "heavy tails": lambda logs, g: logs + 0.03 * g.standard_t(2, len(logs)),
}


def simulated(noise: Noise, seed: int) -> Table:
    """Return distinct shapes of a transformer-like family with the errors of a power law seen through noise."""
    g = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(range(1, 13), (2, 4, 8, 12), (64, 128, 256, 384, 512), (128, 256, 512, 1024, 2048)), -1)
    shapes = g.permutation(grid.reshape(-1, 4))[:SHAPES].astype(float)
    d, _, h, i = shapes.T
    size = d * (4 * h**2 + 2 * h * i)
    error = np.exp(noise(np.log(shapes) @ EXPONENTS, g))
    return Table(NAMES, shapes, np.zeros(4, bool), size, size, error, np.arange(SHAPES), SHAPES, 0, 0)


def coverage_with_steps(seed: int, train: int) -> float:
    """Return the share of rows of shapes not fitted that are inside the intervals; five step counts a shape."""
    table = simulated(FAMILIES["noise 3%"], seed)
    g = np.random.default_rng((seed, 1))
    steps = np.tile([50.0, 100, 200, 400, 800], SHAPES)
    shape = np.repeat(np.arange(SHAPES), 5)
    rows = pd.DataFrame(table.parameters[shape], columns=list(NAMES)).assign(
        s=steps, error=table.error[shape] * (1 + steps) ** -0.25 * np.exp(g.normal(0, 0.01, len(steps)))
    )
    fitted = shape < train  # the shapes are in random order
    law = FittedError.fit(rows[fitted], parameters=NAMES, steps="s")
    rest = rows[~fitted]
    predicted = law.predict(rest, steps=rest["s"])
    return float(rest["error"].between(predicted["low"], predicted["high"]).mean())


def summary(replays: list[ErrorReplay]) -> dict[str, float]:
    """Return the means over replays of what the issue asks for, and in how many `fitted` is ahead of p in the bands."""
    scores = pd.concat([replay.scores for replay in replays], ignore_index=True)
    ahead = (scores["spearman_in_bands"] > scores["baseline_params_spearman_in_bands"]).mean()
    means = {str(name): round(float(value), 4) for name, value in scores.mean().items()}
    return {**means, "coverage_90_sd": round(float(scores["coverage_90"].std(ddof=0)), 4), "ahead": float(ahead)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--simulated-seeds", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "replay_error.json")
    given = parser.parse_args()
    result: dict[str, Any] = {"seeds": given.seeds, "simulated_seeds": given.simulated_seeds, "tables": {}}
    for path in given.tables:
        table = read_table(path, **COLUMNS)
        result["tables"][path.stem] = {
            "rows": len(table),
            **{f"train {n}": summary([replay_error(table, train=n, seeds=given.seeds)]) for n in TRAIN},
        }
    result["simulated"] = {
        family: {
            f"train {n}": summary(
                [replay_error(simulated(noise, seed), train=n) for seed in range(given.simulated_seeds)]
            )
            for n in TRAIN
        }
        for family, noise in FAMILIES.items()
    }
    covered = np.array([coverage_with_steps(seed, 30) for seed in range(given.simulated_seeds)])
    result["steps"] = {"shapes": 30, "coverage_90": round(covered.mean(), 4), "coverage_90_sd": round(covered.std(), 4)}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name, entry in {**result["tables"], **result["simulated"]}.items():
        for n in TRAIN:
            found = entry[f"train {n}"]
            print(
                f"{name}, {n} rows: inside bands {found['spearman_in_bands']:.3f} "
                f"(p alone {found['baseline_params_spearman_in_bands']:.3f}), coverage {found['coverage_90']:.1%}"
            )
    print(f"steps, 30 shapes: coverage {result['steps']['coverage_90']:.1%}")


if __name__ == "__main__":
    main()
