"""What a readout fitted on sentences gains over the token readout, by the number of sentences that it is fitted on.

    python experiments/readout/run.py        # about 7 minutes on one core

Distils the recorded choice of space minilm on 131,072 tokens to match token states, and writes figures.csv beside this
file: one row for each number of training sentences, 0 for the token readout, and each map that the ridge shrinks
towards (the token readout, or nothing). All figures are of 512 held-out sentences; `pooled_error` is 1 - R² of T's
pooled states.
"""

import copy
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fsp import Architecture, distill, load_space
from fsp.base import Progress
from fsp.distillation import packaged_teacher
from fsp.distillation.inputs import load_inputs, surrogate
from fsp.distillation.models.sentence_layout import layout_of
from fsp.distillation.settings import SurrogateSettings
from fsp.distillation.similarity import SentenceFigures
from fsp.distillation.source import Source
from fsp.distillation.tasks.embedding import fit_ridge
from fsp.distillation.text.segmentation import sentences

HERE = Path(__file__).parent
STATES = HERE / "cache" / "states.npz"
SHAPE = Architecture({"D": 5, "A": 8, "H": 256, "I": 384})
SETTINGS = SurrogateSettings(tokens=131_072, threads=1)
COUNTS = (0, 2, 3, 5, 8, 15, 30, 60, 120, 250, 500, 1000, 2500, 4096, 8000)


def write_states() -> None:
    """Write pooled states of T and of the student, of training and of held-out sentences, and the token readout."""
    inputs = load_inputs(load_space("minilm"), Source(), Progress(), task="states")
    error = surrogate(inputs, SETTINGS, HERE / "cache", Progress())
    student, _ = distill(SHAPE, error, tokens=SETTINGS.tokens)
    train, test = sentences(inputs.data.train), inputs.data.test_sentences[:512]
    train = [train[k] for k in np.random.default_rng(0).permutation(len(train))[: COUNTS[-1]]]
    arrays = {"W": student.readout.weight.detach().numpy(), "b": student.readout.bias.detach().numpy()}
    pooling = replace(inputs.teacher.layout, after=())
    for name, network in (("T", inputs.teacher.network), ("S", student.network)):
        arrays[f"{name}_train"], arrays[f"{name}_test"] = (pooling.encode(network, part) for part in (train, test))
    np.savez(STATES, **arrays)


def main() -> None:
    torch.set_num_threads(SETTINGS.processor_threads)
    layout = layout_of(packaged_teacher(load_space("minilm").teacher))
    assert layout is not None
    if not STATES.exists():
        write_states()
    states = np.load(STATES)
    tokens, nothing = nn.Linear(SHAPE["H"], 384), nn.Linear(SHAPE["H"], 384)
    with torch.no_grad():
        tokens.weight.copy_(torch.from_numpy(states["W"]))
        tokens.bias.copy_(torch.from_numpy(states["b"]))
        nothing.weight.zero_()
        nothing.bias.zero_()
    wanted = states["T_test"]
    reference = layout.finish(torch.from_numpy(wanted)).numpy()
    with (HERE / "figures.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["towards", "sentences", "spearman", "cosine", "pooled_error"])
        for towards, prior in (("token readout", tokens), ("nothing", nothing)):
            for count in COUNTS[prior is nothing :]:
                readout = copy.deepcopy(prior)
                if count:
                    fit_ridge(readout, states["S_train"][:count], states["T_train"][:count])
                with torch.inference_mode():
                    read = readout(torch.from_numpy(states["S_test"]))
                    found = SentenceFigures.of(reference, layout.finish(read).numpy())
                lost = ((wanted - read.numpy()) ** 2).sum() / ((wanted - wanted.mean(axis=0)) ** 2).sum()
                figures = (f"{value:.4f}" for value in (found.spearman, found.cosine, float(lost)))
                writer.writerow([towards, count, *figures])


if __name__ == "__main__":
    main()
