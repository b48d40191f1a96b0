"""Distilling a chosen architecture further, and saving it as an ordinary Hugging Face model."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fsp.data import SENTENCE_TOKENS
from fsp.errors import Diverged, InputError, RunFailed
from fsp.files import temporary_folder, usual_modes
from fsp.guard import guarded
from fsp.objectives.error import Distillation
from fsp.progress import Silent
from fsp.space import Architecture
from fsp.training.student import Student
from fsp.training.teacher import Teacher

_MODULES = "sentence_transformers.models"


def distill(
    architecture: Architecture,
    error: Distillation,
    *,
    tokens: int,
    seed: int = 0,
    label: str | None = None,
    display: Silent | None = None,
) -> tuple[Student, list[float]]:
    """Return a student of that shape, distilled on a token budget, and the loss (1 - R²) of every step.

    Args:
        architecture: a shape that can be cut out of T.
        error: the surrogate that also searched; it holds T, the material and the settings.
        tokens: the budget; rounded down to whole steps, at least one.
        seed: of the order of the training blocks.
        label: what the progress bar says.
        display: where progress goes.

    Raises:
        InputError: the shape cannot be cut out of T.
        RunFailed: the training diverged.
    """
    steps = error.steps_for(tokens)
    student = error.student(architecture)
    with (display or Silent()).bar(label or f"distilling {architecture}", steps) as advance:
        try:
            losses = error.train(student, steps=steps, seed=seed, after_step=lambda step, loss: advance(1))
        except Diverged as problem:
            raise RunFailed(f"distilling {architecture} failed: {problem}; try a smaller learning rate") from None
    return student, losses


def save_student(student: Student, teacher: Teacher, folder: Path, facts: Mapping[str, Any]) -> None:
    """Write a student as a Hugging Face directory in sentence-transformers' layout, in one step.

    `AutoModel` and `AutoTokenizer` load it; sentence-transformers applies mean pooling, the readout and the
    normalisation, so that its embeddings stand in for T's. A folder that exists is replaced.

    Args:
        student: what to save.
        teacher: T, for its tokenizer and name.
        folder: the directory.
        facts: what is known of the model, written to `fsp.json` and into the model card.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_folder(folder.parent)
    try:
        student.encoder.save_pretrained(temporary)
        teacher.tokenizer.save_pretrained(temporary)
        _write_sentence_layout(student, temporary)
        (temporary / "fsp.json").write_text(json.dumps(dict(facts), indent=2) + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(_card(teacher, facts), encoding="utf-8")
        usual_modes(temporary)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_student(folder: Path) -> Student:
    """Load a student that `save_student` wrote. Raises InputError where the folder holds none."""
    from transformers import AutoModel

    try:
        readout = load_file(folder / "2_Dense" / "model.safetensors")
        with safe_open(folder / "model.safetensors", "pt") as weights:
            has_pooler = "pooler.dense.weight" in weights.keys()  # noqa: SIM118 (it is no dict)
        encoder = AutoModel.from_pretrained(
            folder, dtype=torch.float32, add_pooling_layer=has_pooler, **guarded(folder)
        )
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no distilled model: {' '.join(str(error).split())[:120]}") from None
    student = Student(encoder, readout["linear.weight"].shape[0])
    student.readout.load_state_dict({name.removeprefix("linear."): value for name, value in readout.items()})
    return student.eval()


def _write_sentence_layout(student: Student, folder: Path) -> None:
    hidden, width = student.readout.in_features, student.readout.out_features
    files = {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": f"{_MODULES}.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{_MODULES}.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Dense", "type": f"{_MODULES}.Dense"},
            {"idx": 3, "name": "3", "path": "3_Normalize", "type": f"{_MODULES}.Normalize"},
        ],
        "sentence_bert_config.json": {"max_seq_length": SENTENCE_TOKENS, "do_lower_case": False},
        "1_Pooling/config.json": {"word_embedding_dimension": hidden, "pooling_mode_mean_tokens": True},
        "2_Dense/config.json": {
            "in_features": hidden,
            "out_features": width,
            "bias": True,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    }
    for name in ("1_Pooling", "2_Dense", "3_Normalize"):
        (folder / name).mkdir()
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    weights = {f"linear.{name}": value.detach().contiguous() for name, value in student.readout.state_dict().items()}
    save_file(weights, folder / "2_Dense" / "model.safetensors")


def _card(teacher: Teacher, facts: Mapping[str, Any]) -> str:
    rows = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in facts.items())
    return f"""---
library_name: sentence-transformers
tags: [sentence-transformers, knowledge-distillation, fsp]
---
# A subarchitecture of {teacher.name}

Cut out of {teacher.name} and distilled by fsp to match its token states. `AutoModel` gives the
encoder's own states; the readout in `2_Dense` maps them to the teacher's.

| | |
|---|---|
{rows}
"""
