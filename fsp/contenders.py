"""What a run measures side by side: T, its students, and what its user would have otherwise, each in its runtime."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import le
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fsp.base.defaults import LENGTH
from fsp.base.errors import InputError, RunFailed
from fsp.base.progress import Progress
from fsp.base.timing import Latency, interleaved
from fsp.distillation.error import Distillation
from fsp.distillation.examples import Material
from fsp.distillation.saving import save_student
from fsp.distillation.student import Student
from fsp.distillation.tasks.task import Answers
from fsp.families.architecture import Architecture

EAGER, INT8 = "eager", "int8"
_REPEATS, _WARMUP = 60, 5
Students = dict[str, list[Student]]  # by name, one per seed


@dataclass(frozen=True)
class Contender:
    """A model as its user would run it.

    Attributes:
        name: T, choice, largest, layer drop or static.
        runtime: `eager`, or `int8` in ONNX Runtime.
        shape: its architecture; None for a model without layers.
        answers: its outputs, one for each seed that it was trained with.
        call: one forward pass on one sample.
        size: bytes of its weights.
        readout_parameters: weights of the readout that belongs to it.
    """

    name: str
    runtime: str
    shape: Architecture | None
    answers: tuple[Answers, ...]
    call: Callable[[], object]
    size: int
    readout_parameters: int = 0

    @property
    def key(self) -> str:
        """Its name and runtime."""
        return f"{self.name} {self.runtime}"


def contenders(
    error: Distillation, students: Students, folder: Path, display: Progress, sentences: Sequence[str] = ()
) -> list[Contender]:
    """Return T, students and, where the task has one, a model without layers; T and the choice in int8 as well.

    Args:
        error: the surrogate error, with T, task and text.
        students: the trained students by name, the choice among them.
        folder: where models are written that are run as they are saved.
        display: shows progress.
        sentences: text on which int8 is prepared.
    """
    task, teacher = error.task, error.teacher
    static = task.static(error.material)
    every = {**students, **({} if static is None else {"static": [static]})}
    calls = task.calls({name: each[0] for name, each in every.items()}, LENGTH)
    t = teacher.network
    found = [Contender("T", EAGER, teacher.architecture, (task.answers_of_t(),), calls["T"], _bytes(t))]
    found += [
        Contender(
            name,
            EAGER,
            None if name == "static" else each[0].architecture,
            tuple(task.answers(one) for one in each),
            calls[name],
            _bytes(each[0]),
            each[0].readout_parameters,
        )
        for name, each in every.items()
    ]
    if not sentences or task.name == "states":  # which no exported model returns as T's are read from them
        return found
    save_student(students["choice"][0], task, folder / "choice", {})
    sources = {"T": teacher.folder, "choice": folder / "choice"}
    with display.bar("quantising", len(sources)) as advance:
        for name, source in sources.items():
            readout = 0 if name == "T" else students[name][0].readout_parameters
            quantised = _quantised(error, name, source, folder / f"{name}-int8", sentences, readout, display)
            if quantised is not None:
                found.insert([one.name for one in found].index(name) + 1, quantised)
            advance(1)
    return found


def _quantised(
    error: Distillation,
    name: str,
    source: Path | None,
    folder: Path,
    sentences: Sequence[str],
    readout: int,
    display: Progress,
) -> Contender | None:
    """Return a saved model in int8; None if it cannot be had, with a line that says why."""
    from fsp.deploy.deployed import deployed

    if source is None:
        return None
    try:
        run = deployed(source, folder, sentences)
        answers = run.answers(error.task)
    except (InputError, RunFailed) as problem:
        display.say(f"{name} in int8 is not measured: {problem}")
        return None
    shape = run.architecture
    inputs = {key: value.cpu() for key, value in error.task.one(LENGTH).items()}
    return Contender(name, INT8, shape, (answers,), run.call(inputs), run.size, readout)


def _bytes(network: torch.nn.Module) -> int:
    return sum(weight.numel() * weight.element_size() for weight in network.parameters())


def measured(
    error: Distillation, found: Sequence[Contender], elsewhere: Mapping[str, Material], display: Progress
) -> list[dict[str, Any]]:
    """Return error, figures and latency of each contender, in domain and elsewhere, as JSON-like values."""
    task, parts = error.task, {"": error.material, **elsewhere}
    rows: dict[str, dict[str, Any]] = {one.key: {"elsewhere": {}} for one in found}
    with display.bar("measuring on held-out data", len(parts)) as advance:
        for part, material in parts.items():
            for key, told in _figures(task, found, material).items():
                rows[key] |= told if not part else {"elsewhere": {**rows[key]["elsewhere"], part: told}}
            advance(1)
    timed = _timed(error, found, display)
    for one in found:
        rows[one.key] |= {"name": one.name, "runtime": one.runtime, "bytes": one.size}
        rows[one.key] |= {"latency": asdict(timed[one.key]), "readout_parameters": one.readout_parameters}
    return list(rows.values())


def _figures(task: Any, found: Sequence[Contender], material: Material) -> dict[str, dict[str, Any]]:
    copies = {f"{one.key} {k}": answers for one in found for k, answers in enumerate(one.answers)}
    flat = task.measured(copies, material)
    told = {}
    for one in found:
        keys = [f"{one.key} {k}" for k in range(len(one.answers))]
        errors = [0.0 if one.key == f"T {EAGER}" else task.error_of(copies[key], material.test) for key in keys]
        figures = {kind: summary([flat[key][kind] for key in keys]) for kind in flat[keys[0]]}
        told[one.key] = {"error": summary(errors), "figures": figures}
    return told


def summary(values: list[float]) -> dict[str, Any]:
    """Return the mean over seeds, and with two seeds or more the half-width of its 95% confidence interval."""
    from scipy.stats import t

    n = len(values)
    half = float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else None
    return {"mean": float(np.mean(values)), "half_width_95": half, "values": values}


def _timed(error: Distillation, found: Sequence[Contender], display: Progress) -> dict[str, Latency]:
    """Time all contenders side by side, each in its runtime, on one sample; of text, of 128 tokens."""
    device = error.teacher.device
    calls = {one.key: device.finished(one.call) if one.runtime == EAGER else one.call for one in found}
    with (
        torch.inference_mode(),
        device.computing(),
        display.bar("measuring latency", _REPEATS + _WARMUP) as advance,
    ):
        return interleaved(calls, repeats=_REPEATS, warmup=_WARMUP, advance=advance)


def beaten(models: Sequence[Mapping[str, Any]], figures: Sequence[str]) -> Iterator[str | None]:
    """Yield for each model the key of one that is faster, smaller, and closer to T in every figure; None if none is.

    Args:
        models: rows with `name`, `runtime`, `bytes`, `latency`, `error`, `figures` and `elsewhere`.
        figures: names of the figures that are better when larger.
    """

    def values(row: Mapping[str, Any]) -> list[float]:
        parts = [row, *row["elsewhere"].values()]
        qualities = [part["figures"][kind]["mean"] for part in parts for kind in figures if kind in part["figures"]]
        errors = [part["error"]["mean"] for part in parts]
        return [row["latency"]["median_ms"], row["bytes"], *errors, *(-one for one in qualities)]

    numbers = [values(row) for row in models]
    for own in numbers:
        better = (k for k, other in enumerate(numbers) if other != own and all(map(le, other, own)))
        by = next(better, None)
        yield None if by is None else f"{models[by]['name']} {models[by]['runtime']}"
