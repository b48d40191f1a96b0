"""What the paper's literal error says after a short training from scratch: 9 MiniLM shapes, and the verdict.

    python experiments/mlm/run.py        # about 10 minutes on one core; resumes where it was

Writes errors.csv beside this file, one row per shape, and prints the verdict over all of them.
"""

import csv
import math
from pathlib import Path

import torch

from fsp import Architecture, load_space
from fsp.distillation import Corpus, MaskedLanguageModelling, packaged_teacher, standard_library
from fsp.distillation.from_scratch import MaskedLanguageModellingSettings, MaskedText, OptimiserSettings
from fsp.families import bert

HERE = Path(__file__).parent
SHAPES = [
    *("1,4,128,128", "2,4,128,512", "6,4,128,256", "3,6,192,384", "1,8,256,512", "4,6,192,768"),
    *("1,12,384,384", "3,8,256,768", "2,12,384,512"),
]
STEPS, BATCH = 160, 8
RATES = (1e-3, 3e-3)


def main() -> None:
    from transformers import AutoTokenizer

    torch.set_num_threads(1)
    space = load_space("minilm")
    tokenizer = AutoTokenizer.from_pretrained(packaged_teacher(space.teacher))
    text = MaskedText.prepare(tokenizer, Corpus.of(standard_library()))
    settings = MaskedLanguageModellingSettings(STEPS, tuple(OptimiserSettings(rate, BATCH) for rate in RATES))
    error = MaskedLanguageModelling(text, space.constants, settings)
    print(f"{len(text.train)} training blocks, {error.plateau}", flush=True)
    path = HERE / "errors.csv"
    rows = list(csv.DictReader(path.open())) if path.exists() else []
    done = {row["shape"]: float(row["error"]) for row in rows}
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if not done:
            losses_at = (f"loss_at_{rate:g}" for rate in RATES)
            writer.writerow(["shape", "encoder_parameters", *losses_at, "error"])
        for name in SHAPES:
            if name in done:
                continue
            shape = Architecture(dict(zip("DAHI", map(int, name.split(",")), strict=True)))
            losses = error.losses(shape)
            done[name] = min(loss for loss in losses if not math.isnan(loss))
            size = int(bert.parameters(shape, space.constants)["encoder_parameters"])
            row = [name, size, *(f"{loss:.4f}" for loss in losses), f"{done[name]:.4f}"]
            writer.writerow(row)
            file.flush()
            print(*row, flush=True)
    print(error.plateau.verdict([done[name] for name in SHAPES]).describe())


if __name__ == "__main__":
    main()
