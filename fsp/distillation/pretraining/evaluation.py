"""How good a student is on held-out text: against the text itself and against the teacher."""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fsp.distillation.pretraining.batches import HELD_OUT_EPOCH, Batches
from fsp.distillation.pretraining.teacher_outputs import LiveTeacher

if TYPE_CHECKING:
    from fsp.distillation.pretraining.engine import Engine

BLOCKS = 128  # of held-out text, spread evenly over it
_AT_ONCE = 16


def evaluate(engine: "Engine", held_out: Batches, teacher: LiveTeacher | None) -> dict[str, float]:
    """Return what a student's predictions at fixed masked positions of held-out text are worth.

    `accuracy` and `perplexity` of the true tokens (with a head), `agreement` with the teacher's likeliest tokens
    (with two heads), `hidden_cosine` to the teacher's last hidden states (where they can be compared).

    Args:
        engine: whose student is measured; every process must call this.
        held_out: the blocks.
        teacher: what to compare with; None for the text alone.
    """
    accelerator = engine.accelerator
    count = min(BLOCKS, len(held_out.stream))
    rows = np.linspace(0, len(held_out.stream) - 1, count).astype(np.int64)
    if count >= accelerator.num_processes:  # else every process measures all of them, which changes no ratio
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
