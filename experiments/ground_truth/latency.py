"""Measured latency of every shape of the ground truth.

python experiments/ground_truth/latency.py     # on an idle machine; writes latency.csv, about four minutes

One sequence of 128 tokens, torch eager, float32, all processors, random weights. Shapes are timed in groups, T in every
group and round; `milliseconds` is T's median time multiplied by the median of the ratios to T. Everything is measured
twice, and `apart` is how far the two are apart, relative to their mean.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from run import HEADS, SETTINGS

from fsp import load_space
from fsp.base.defaults import BATCH, LENGTH
from fsp.base.files import write_text
from fsp.base.fingerprint import fingerprint
from fsp.deploy.latency.calibrating import reference_time, relative_times
from fsp.search import plan

HERE = Path(__file__).parent
ROUNDS = 24


def main() -> None:
    space = load_space(SETTINGS["space"])
    shapes = plan(space, interval=1).table[list(space.names)].to_numpy()
    points = np.concatenate([shapes, [list(map(int, text.split(","))) for text in HEADS]])
    teacher = space.point(space.maximum)[0]
    workload = {"batch": BATCH, "length": LENGTH}
    first, second = (relative_times(space, points, teacher, **workload, rounds=ROUNDS) for _ in range(2))
    unit = reference_time(space, teacher, **workload, rounds=2 * ROUNDS)
    mean = (first + second) / 2
    apart = np.abs(first - second) / mean
    table = pd.DataFrame({**space.columns(points), "milliseconds": (unit * mean).round(3), "apart": apart.round(4)})
    write_text(HERE / "latency.csv", table.to_csv(index=False))
    print(f"{len(points)} shapes, {torch.get_num_threads()} threads, T {unit:.2f} ms, {fingerprint()}")


if __name__ == "__main__":
    main()
