"""Timing T and its students side by side."""

from collections.abc import Mapping

import torch

from fsp.base.defaults import LENGTH
from fsp.base.progress import Progress
from fsp.base.timing import Latency, interleaved
from fsp.distillation.student import Student
from fsp.distillation.tasks.task import Task


def latencies(
    task: Task, students: Mapping[str, Student], *, repeats: int = 60, display: Progress | None = None
) -> dict[str, Latency]:
    """Time T (under the name `T`) and students side by side, as the saved models are used, in eager mode.

    The input is one sample; of text, one of 128 tokens, or of T's longest input if that is shorter.
    """
    device, warmup = task.teacher.device, 5
    calls = {name: device.finished(call) for name, call in task.calls(students, LENGTH).items()}
    with (
        torch.inference_mode(),
        device.computing(),
        (display or Progress()).bar("measuring latency", repeats + warmup) as advance,
    ):
        return interleaved(calls, repeats=repeats, warmup=warmup, advance=advance)
