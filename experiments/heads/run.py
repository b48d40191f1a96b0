"""What merging and splitting heads are worth against a plain reshape: errors of MiniLM shapes by number of heads.

    python experiments/heads/run.py        # about 10 minutes on one core; resumes where it was

Writes errors.csv beside this file: one row per shape, variant and number of steps.
"""

import csv
from pathlib import Path

import torch

from fsp import Architecture, prepare
from fsp.distillation.cutting import Cutter, Maps
from fsp.families.anatomy import Branch

HERE = Path(__file__).parent
SHAPES = [
    *("4,8,256,768", "4,4,256,768", "4,12,384,768", "4,6,384,768", "4,8,384,768"),
    *("4,6,192,768", "4,12,192,768", "4,3,192,768"),
]


class Reshaper(Cutter):
    """Cuts the best of T's heads out and lets runs of their values be the new heads, whatever they attend to."""

    def _reshaped(self, k: int, branch: Branch, shape: Architecture) -> Maps:
        size = self._full["H"] // self._full["A"]
        kept = self._order["A", k][: -(-shape["H"] // size)].sort().values
        rows = (kept[:, None] * size + torch.arange(size)).flatten()[: shape["H"]]
        readers = {module: self._network.get_submodule(self._name(k, module)) for module in branch.reads}
        made: Maps = {module: (reader.weight[rows], reader.bias[rows]) for module, reader in readers.items()}
        made[branch.writes] = self._network.get_submodule(self._name(k, branch.writes)).weight[:, rows], None
        return made


def main() -> None:
    path = HERE / "errors.csv"
    done = {(r["shape"], r["variant"], r["steps"]) for r in csv.DictReader(path.open())} if path.exists() else set()
    torch.set_num_threads(1)
    sizes = {"length": 64, "tokens": 65_536, "held_out_tokens": 8_192}
    _, surrogate = prepare("minilm", cache=HERE / "cache", task="states", threads=1, device="cpu", **sizes)
    teacher, calibration = surrogate.teacher, surrogate.material.calibration
    reshaper = Reshaper(teacher.network, teacher.family, calibration)
    cutters = {"merged or split": surrogate.cutter, "reshaped": reshaper}
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if not done:
            writer.writerow(["shape", "variant", "steps", "error"])
        for steps in (0, 16):
            error = surrogate.with_steps(steps)
            for text in SHAPES:
                shape = Architecture(dict(zip("DAHI", map(int, text.split(",")), strict=True)))
                for variant, error.cutter in cutters.items():
                    if (text, variant, str(steps)) not in done:
                        value = error(shape)
                        writer.writerow([text, variant, steps, f"{value:.4f}"])
                        file.flush()
                        print(text, variant, steps, f"{value:.4f}", flush=True)


if __name__ == "__main__":
    main()
