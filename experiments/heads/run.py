"""What merging and splitting heads are worth against a plain reshape: errors of MiniLM shapes by number of heads.

    python experiments/heads/run.py        # about 10 minutes on one core; resumes where it was

Writes errors.csv beside this file: one row per shape, variant and number of steps.
"""

import csv
from pathlib import Path

import torch

from fsp import Architecture, Distillation, load_space
from fsp.distillation import Corpus, DistillationSettings, load_teacher, packaged_teacher, standard_library
from fsp.distillation.blocks import Material
from fsp.families.bert.cutter import Cutter
from fsp.families.bert.heads import Projections, whole_heads
from fsp.families.family import Shape

HERE = Path(__file__).parent
SHAPES = [
    *("4,8,256,768", "4,4,256,768", "4,12,384,768", "4,6,384,768", "4,8,384,768"),
    *("4,6,192,768", "4,12,192,768", "4,3,192,768"),
]


class Reshaper(Cutter):
    """Cuts the best of T's heads out and lets runs of their values be the new heads, whatever they attend to."""

    def _heads(self, k: int, shape: Shape) -> Projections:
        size = self._head_size
        kept = self._head_order[k][: -(-shape["H"] // size)].sort().values
        rows = (kept[:, None] * size + torch.arange(size)).flatten()[: shape["H"]]
        return whole_heads(self._model.encoder.layer[k], rows)


def main() -> None:
    path = HERE / "errors.csv"
    done = {(r["shape"], r["variant"], r["steps"]) for r in csv.DictReader(path.open())} if path.exists() else set()
    torch.set_num_threads(1)
    teacher = load_teacher(packaged_teacher(load_space("minilm").teacher))
    corpus = Corpus.of(standard_library())
    material = Material.prepare(teacher, corpus, HERE / "cache", length=64, train_tokens=65_536, held_out_tokens=8_192)
    surrogate = Distillation(teacher, material, DistillationSettings(steps=0))
    reshaper = Reshaper(teacher.model, torch.from_numpy(surrogate._calibration.tokens).long())
    cutters = {"merged or split": surrogate.cutter, "reshaped": reshaper}
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if not done:
            writer.writerow(["shape", "variant", "steps", "error"])
        for steps in (0, 16):
            surrogate._chosen = DistillationSettings(steps=steps)
            for text in SHAPES:
                shape = Architecture(dict(zip("DAHI", map(int, text.split(",")), strict=True)))
                for variant, surrogate.cutter in cutters.items():
                    if (text, variant, str(steps)) not in done:
                        value = surrogate(shape)
                        writer.writerow([text, variant, steps, f"{value:.4f}"])
                        file.flush()
                        print(text, variant, steps, f"{value:.4f}", flush=True)


if __name__ == "__main__":
    main()
