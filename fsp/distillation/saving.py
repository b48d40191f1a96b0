"""Distilling a chosen architecture further, and keeping it or saving it as an ordinary model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from fsp.base.errors import Diverged, InputError, RunFailed
from fsp.base.files import read_json, whole_folder, write_json
from fsp.base.progress import Progress
from fsp.distillation.error import Distillation
from fsp.distillation.models.loading import quiet
from fsp.distillation.student import Student
from fsp.distillation.tasks.task import Task
from fsp.distillation.teacher import Teacher
from fsp.families.architecture import Architecture

_WEIGHTS, _SHAPE = "student.safetensors", "student.json"


def distill(
    architecture: Architecture,
    error: Distillation,
    *,
    tokens: int,
    seed: int = 0,
    label: str | None = None,
    display: Progress | None = None,
) -> tuple[Student, list[float]]:
    """Return a student of a given shape, distilled on a budget, and the loss of every step.

    Args:
        architecture: a shape that can be cut out of T.
        error: the surrogate error of the search; it holds T, the material and the settings.
        tokens: training tokens, or samples; rounded down to whole steps, at least one.
        seed: seed of the order of the training examples.
        label: text of the progress bar.
        display: shows progress.

    Raises:
        InputError: the shape cannot be cut out of T.
        RunFailed: the training diverged.
    """
    steps = error.steps_for(tokens)
    student = error.student(architecture)
    with (display or Progress()).bar(label or f"distilling {architecture}", steps) as advance:
        try:
            losses = error.train(student, steps=steps, seed=seed, after_step=lambda step, loss: advance(1))
        except Diverged as problem:
            raise RunFailed(f"distilling {architecture} failed: {problem}; try a smaller learning rate") from None
    return student.eval(), losses


def save_student(student: Student, task: Task, folder: Path, facts: Mapping[str, Any]) -> None:
    """Write a student atomically as a directory of the same kind as T's. An existing folder is replaced.

    Args:
        student: the student to save.
        task: what T is for; it determines the layout.
        folder: the directory.
        facts: facts about the model, written to `fsp.json` and into the model card.
    """
    with whole_folder(folder) as temporary, quiet():
        task.save(student, temporary, facts)


def keep_student(student: Student, folder: Path) -> None:
    """Write a student atomically for `load_student`. An existing folder is replaced."""
    with whole_folder(folder) as temporary:
        weights = {name: value.detach().cpu().clone().contiguous() for name, value in student.state_dict().items()}
        save_file(weights, temporary / _WEIGHTS)
        readout = student.readout
        sizes = None if readout is None else [readout.in_features, readout.out_features]
        write_json(temporary / _SHAPE, {"architecture": dict(student.architecture), "readout": sizes})


def load_student(folder: Path, teacher: Teacher) -> Student:
    """Load a student of T that `keep_student` wrote. Raises InputError if the folder does not hold one."""
    if not (folder / _WEIGHTS).is_file():
        raise InputError(f"{folder} holds no student; it has no {_WEIGHTS}")
    told = read_json(folder / _SHAPE)
    shape, anatomy = Architecture(told["architecture"]), teacher.family.anatomy
    assert anatomy is not None
    layers = anatomy.sources(teacher.architecture["D"], shape["D"])
    network = teacher.family.resized(teacher.network, shape, layers)
    student = Student(network, teacher.family, told["readout"] and nn.Linear(*told["readout"]))
    student.load_state_dict(load_file(folder / _WEIGHTS))
    tie: Any = getattr(network, "tie_weights", None)  # only networks of transformers have it
    if tie is not None:
        tie()
    return student.eval().to(teacher.device.torch)
