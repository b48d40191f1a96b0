"""What the readout of sentences gains over the token readout, by the number of sentences that it is fitted on.

    python experiments/readout/run.py        # about 6 minutes on one core

Distils the recorded choice of space minilm on 131,072 tokens and writes figures.csv beside this file: one row a number
of training sentences, 0 for the token readout; the figures of `SentenceFigures` over 512 held-out sentences.
"""

import csv
from pathlib import Path

import numpy as np
import torch

from fsp.distillation import distill, sentence_sample
from fsp.inputs import Settings, load_inputs, surrogate
from fsp.measurement import SentenceFigures
from fsp.progress import Silent
from fsp.space import Architecture, load_space
from fsp.training.sentence_readout import ridge

HERE = Path(__file__).parent
SHAPE = Architecture({"D": 5, "A": 8, "H": 256, "I": 384})
SETTINGS = Settings(tokens=131_072, threads=1)
COUNTS = (0, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


def main() -> None:
    inputs = load_inputs(load_space("minilm"), None, (), Silent())
    error = surrogate(inputs, SETTINGS, HERE / "cache", Silent())
    sample, layout = sentence_sample(error), inputs.teacher.layout
    student, _ = distill(SHAPE, error, tokens=SETTINGS.tokens, sample=sample)
    print("error", error.measure(student, error.material.test), flush=True)
    held_out = inputs.corpus.test_sentences[:512]
    wanted = layout.pooled(inputs.teacher.model, held_out)
    own_held_out, own = (layout.pooled(student.encoder, part) for part in (held_out, sample.sentences))
    order = np.random.default_rng(1).permutation(len(own))
    with (HERE / "figures.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sentences", "spearman", "cosine", "pooled_error"])
        for count in COUNTS:
            rows = order[:count]
            readout = ridge(student.readout, own[rows], sample.pooled[rows]) if count else student.readout
            with torch.inference_mode():
                found = SentenceFigures.of(layout, wanted, readout(torch.from_numpy(own_held_out)).numpy())
            row = [count, *(f"{value:.4f}" for value in (found.spearman, found.cosine, found.pooled_error))]
            writer.writerow(row)
            print(*row, flush=True)


if __name__ == "__main__":
    main()
