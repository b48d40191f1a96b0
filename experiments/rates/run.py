"""Which learning rate suits how many steps: errors of five MiniLM shapes at three lengths of training.

    python experiments/rates/run.py        # about 40 minutes on one core; goes on where it was stopped

Writes errors.csv beside this file: one row per shape, number of steps s and peak; the rate is peak·e², with e
the cut's error.
"""

import csv
from pathlib import Path

import torch

from fsp import Architecture, Distillation, prepare
from fsp.distillation import DistillationSettings

HERE = Path(__file__).parent
SHAPES = ("3,4,128,256", "5,6,192,768", "6,8,256,256", "2,12,384,512", "6,12,384,768")
STEPS = (16, 64, 256)
PEAKS = (1e-3, 2e-3, 4e-3, 8e-3, 16e-3)


def main() -> None:
    path = HERE / "errors.csv"
    rows = list(csv.DictReader(path.open())) if path.exists() else []
    done = {(row["shape"], int(row["steps"]), float(row["peak"])) for row in rows}
    torch.set_num_threads(1)
    sizes = {"length": 64, "tokens": 262_144, "held_out_tokens": 16_384}
    _, known = prepare("minilm", cache=HERE / "cache", task="states", threads=1, device="cpu", **sizes)
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if not rows:
            writer.writerow(["shape", "steps", "peak", "error"])
        for steps in STEPS:
            for peak in PEAKS:
                chosen = DistillationSettings(steps=steps, learning_rate=peak)
                error = Distillation(known.task, known.material, chosen)
                for text in SHAPES:
                    if (text, steps, peak) in done:
                        continue
                    shape = Architecture(dict(zip("DAHI", map(int, text.split(",")), strict=True)))
                    new = [text, steps, peak, f"{error(shape):.4f}"]
                    writer.writerow(new)
                    file.flush()
                    print(*new, flush=True)


if __name__ == "__main__":
    main()
