"""Evaluating a student on held-out text, against the text itself and against the teacher."""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fsp.distillation.pretraining.batches import HELD_OUT_EPOCH, Batches
from fsp.distillation.pretraining.teacher_outputs import LiveTeacher

if TYPE_CHECKING:
    from fsp.distillation.pretraining.engine import Engine

BLOCKS = 128  # blocks of held-out text, spread evenly over it
_AT_ONCE = 16


def evaluate(engine: "Engine", held_out: Batches, teacher: LiveTeacher | None) -> dict[str, float]:
    """Return the quality of a student's predictions at fixed masked positions of held-out text.

    `accuracy` and `perplexity` on the true tokens (if the student has a head), `agreement` with the teacher's likeliest
    tokens (if both have a head), and `hidden_cosine` to the teacher's last hidden states (if they can be compared).

    Args:
        engine: the engine that trains the student; every process must make this call.
        held_out: the blocks.
        teacher: the teacher to compare with; None to compare with the text only.
    """
    accelerator = engine.accelerator
    count = min(BLOCKS, len(held_out.stream))
    rows = np.linspace(0, len(held_out.stream) - 1, count).astype(np.int64)
    if count >= accelerator.num_processes:  # else every process measures all blocks, which does not change the ratios
        rows = rows[accelerator.process_index :: accelerator.num_processes]
    sums: dict[str, Tensor] = {}
    engine.model.eval()
    with torch.no_grad():
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            batch = held_out.of(part, np.full(len(part), HELD_OUT_EPOCH)).to(accelerator.device)
            with accelerator.autocast():
                taught = teacher(batch) if teacher else None
            for name, value in engine.model(batch, taught, None).items():
                sums[name] = sums.get(name, 0) + value
    totals = accelerator.reduce(torch.stack(list(sums.values())), "sum").tolist()
    mean = {name: total / totals[list(sums).index("positions")] for name, total in zip(sums, totals, strict=True)}
    found = {"accuracy": mean.get("correct"), "agreement": mean.get("agreeing"), "hidden_cosine": mean.get("cosine")}
    if "mlm" in mean:
        found["perplexity"] = math.exp(min(mean["mlm"], 700.0))
    return {name: value for name, value in found.items() if value is not None}
