"""What healing a cut, its ridge and the learning-rate rule are worth: errors of eight MiniLM shapes.

    python experiments/healing/run.py             # about 20 minutes on one core; resumes where it was
    python experiments/healing/run.py --repeat    # one minute: the variants without steps, again

Writes errors.csv beside this file, or repeat.csv: one row per shape and variant.
"""

import argparse
import csv
from pathlib import Path

import torch

from fsp import Architecture, Distillation, prepare
from fsp.distillation import healing
from fsp.distillation.error import learning_rate_for
from fsp.distillation.fitting import fit

HERE = Path(__file__).parent
SHAPES = [
    *("3,4,128,256", "2,12,384,512", "5,6,192,768", "3,8,256,768", "6,8,256,256"),
    *("4,12,384,768", "6,12,384,768", "6,12,384,1536"),
]
# variant: heal, ridge, steps, learning rate (None: the rule)
VARIANTS = {
    "plain, s=0": (False, 0.1, 0, None),
    "healed, s=0": (True, 0.1, 0, None),
    "healed with ridge .01, s=0": (True, 0.01, 0, None),
    "healed with ridge 1, s=0": (True, 1.0, 0, None),
    "plain, s=32 at 5e-4": (False, 0.1, 32, 5e-4),
    "plain, s=32 at 2e-3": (False, 0.1, 32, 2e-3),
    "healed, s=32 at 5e-4": (True, 0.1, 32, 5e-4),
    "healed, s=32 at 2e-3": (True, 0.1, 32, 2e-3),
    "healed, s=32 at 2e-3 e^2": (True, 0.1, 32, None),
    "healed, s=16 at 2e-3 e^2": (True, 0.1, 16, None),
}
REPEATED = ("plain, s=0", "healed, s=0")


def error(surrogate: Distillation, shape: Architecture, variant: str) -> float:
    heal, ridge, steps, rate = VARIANTS[variant]
    healing._RIDGE = ridge
    task, material = surrogate.task, surrogate.material
    student = task.fresh(surrogate.cutter.cut(shape, heal=heal))
    task.fit(student, material)
    if steps:
        fit(
            student.eval().requires_grad_(True),
            task.loss,
            material.train.shuffled(16, seed=0),
            steps=steps,
            learning_rate=rate or learning_rate_for(2e-3, surrogate.start_of(student)),
        )
        task.refit(student, material)
    return surrogate.measure(student, material.validation)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", action="store_true", help="write repeat.csv")
    repeat = parser.parse_args().repeat
    path = HERE / ("repeat.csv" if repeat else "errors.csv")
    done = {(row["shape"], row["variant"]) for row in csv.DictReader(path.open())} if path.exists() else set()
    torch.set_num_threads(1)
    sizes = {"length": 64, "tokens": 65_536, "held_out_tokens": 8_192}
    _, surrogate = prepare("minilm", cache=HERE / "cache", task="states", threads=1, device="cpu", **sizes)
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if not done:
            writer.writerow(["shape", "variant", "error"])
        for text in SHAPES:
            shape = Architecture(dict(zip("DAHI", map(int, text.split(",")), strict=True)))
            for variant in REPEATED if repeat else VARIANTS:
                if (text, variant) not in done:
                    value = error(surrogate, shape, variant)
                    writer.writerow([text, variant, f"{value:.4f}"])
                    file.flush()
                    print(text, variant, f"{value:.4f}", flush=True)


if __name__ == "__main__":
    main()
