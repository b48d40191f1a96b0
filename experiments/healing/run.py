"""What healing a cut, its ridge and the learning-rate rule are worth: errors of eight MiniLM shapes.

    python experiments/healing/run.py        # about 20 minutes on one core; resumes where it was

Writes errors.csv beside this file: one row per shape and variant.
"""

import csv
from pathlib import Path

import torch

from fsp import Architecture, Distillation, load_space
from fsp.distillation import Corpus, DistillationSettings, Student, load_teacher, packaged_teacher, standard_library
from fsp.distillation.blocks import READOUT_TOKENS, Material
from fsp.distillation.error import learning_rate_for
from fsp.distillation.fitting import fit
from fsp.families.bert import healing

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


def error(surrogate: Distillation, material: Material, shape: Architecture, variant: str) -> float:
    heal, ridge, steps, rate = VARIANTS[variant]
    healing._RIDGE = ridge
    student = Student(surrogate.cutter.cut(shape, heal=heal), 384)
    calibration = material.train[: READOUT_TOKENS // 64]
    start = student.fit_readout(calibration)
    if steps:
        fit(
            student.eval().requires_grad_(True),
            lambda student, batch: surrogate.matching.loss(student(batch.tokens), batch),
            material.train.shuffled(16, seed=0),
            steps=steps,
            learning_rate=rate or learning_rate_for(2e-3, start),
        )
        student.fit_readout(calibration)
    return surrogate.measure(student, material.validation)


def main() -> None:
    path = HERE / "errors.csv"
    done = {(row["shape"], row["variant"]) for row in csv.DictReader(path.open())} if path.exists() else set()
    torch.set_num_threads(1)
    teacher = load_teacher(packaged_teacher(load_space("minilm").teacher))
    corpus = Corpus.of(standard_library())
    material = Material.prepare(teacher, corpus, HERE / "cache", length=64, train_tokens=65_536, held_out_tokens=8_192)
    surrogate = Distillation(teacher, material, DistillationSettings())
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if not done:
            writer.writerow(["shape", "variant", "error"])
        for text in SHAPES:
            shape = Architecture(dict(zip("DAHI", map(int, text.split(",")), strict=True)))
            for variant in VARIANTS:
                if (text, variant) not in done:
                    value = error(surrogate, material, shape, variant)
                    writer.writerow([text, variant, f"{value:.4f}"])
                    file.flush()
                    print(text, variant, f"{value:.4f}", flush=True)


if __name__ == "__main__":
    main()
