"""Distilling a chosen architecture further, and saving it as an ordinary Hugging Face model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from fsp.base.errors import Diverged, InputError, RunFailed
from fsp.base.files import whole_folder
from fsp.base.progress import Progress
from fsp.distillation.error import Distillation
from fsp.distillation.models.card import describe_model, table
from fsp.distillation.models.loading import open_model, quiet
from fsp.distillation.sentence_readout import SENTENCES, SentenceSample, readout_of
from fsp.distillation.student import Student
from fsp.distillation.teacher import Teacher
from fsp.families.architecture import Architecture

_READOUTS = "readouts.safetensors"


def distill(
    architecture: Architecture,
    error: Distillation,
    *,
    tokens: int,
    seed: int = 0,
    sample: SentenceSample | None = None,
    label: str | None = None,
    display: Progress | None = None,
) -> tuple[Student, list[float]]:
    """Return a student of a given shape, distilled on a token budget, and the loss (1 - R²) of every step.

    Args:
        architecture: a shape that can be cut out of T.
        error: the surrogate error of the search; it holds T, the material and the settings.
        tokens: the budget; rounded down to whole steps, at least one.
        seed: seed of the order of the training blocks.
        sample: the `sentence_sample` of the error, on which the readout of sentences is fitted; made if not given.
        label: text of the progress bar.
        display: shows progress.

    Raises:
        InputError: the shape cannot be cut out of T, or T's sentence-transformers layout cannot be carried over.
        RunFailed: the training diverged.
    """
    sample = sample or sentence_sample(error, display)
    steps = error.steps_for(tokens)
    student = error.student(architecture)
    with (display or Progress()).bar(label or f"distilling {architecture}", steps) as advance:
        try:
            losses = error.train(student, steps=steps, seed=seed, after_step=lambda step, loss: advance(1))
            sample.fit(student)
        except Diverged as problem:
            raise RunFailed(f"distilling {architecture} failed: {problem}; try a smaller learning rate") from None
    return student, losses


def sentence_sample(error: Distillation, display: Progress | None = None) -> SentenceSample:
    """Return sentences of the training text with T's pooled states, shared by all students of T.

    Raises:
        InputError: T's sentence-transformers layout cannot be carried over.
    """
    with (display or Progress()).bar("teacher's states of sentences", SENTENCES) as advance:
        return SentenceSample.of(error.teacher, error.material.texts, advance)


def save_student(student: Student, teacher: Teacher, folder: Path, facts: Mapping[str, Any]) -> None:
    """Write a student atomically as a Hugging Face directory in sentence-transformers' layout.

    `AutoModel` and `AutoTokenizer` load it; sentence-transformers pools as T does, applies the readout of sentences and
    T's own further modules, so that its embeddings can replace T's. An existing folder is replaced.

    Args:
        student: the student to save.
        teacher: T, for its layout and name.
        folder: the directory.
        facts: facts about the model, written to `fsp.json` and into the model card.

    Raises:
        InputError: T's sentence-transformers layout cannot be carried over.
    """
    layout = teacher.layout
    pooling = " and ".join(mode.replace("_", " ") for mode in layout.modes)
    prompt = f", after the prompt {layout.prompt!r}" if layout.prompt else ""
    steps = ["the readout (`2_Dense`)", *(f"{type(module).__name__} of the teacher" for module in layout.after)]
    with whole_folder(folder) as temporary, quiet():
        layout.model(student.encoder, readout_of(student, layout)).save(str(temporary), create_model_card=False)
        describe_model(
            temporary,
            facts,
            {"library_name": "sentence-transformers", "tags": "[sentence-transformers, knowledge-distillation, fsp]"},
            f"A subarchitecture of {teacher.name}",
            f"Cut out of {teacher.name} and distilled by fsp to match its token states. `SentenceTransformer` gives "
            f"embeddings of\nsentences that stand in for the teacher's: of the first {layout.longest} tokens{prompt}, "
            f"{pooling} pooling, then\n{', '.join(steps)}. `AutoModel` gives the encoder's own token states.",
            table(facts),
        )


def keep_student(student: Student, folder: Path) -> None:
    """Write a student with all its readouts atomically, for `load_student`. An existing folder is replaced."""
    readouts = {"token": student.readout, "sentence": student.sentence_readout}
    weights = {
        f"{kind}.{name}": value
        for kind, readout in readouts.items()
        if readout is not None
        for name, value in readout.state_dict().items()
    }
    with whole_folder(folder) as temporary, quiet():
        student.encoder.save_pretrained(temporary)
        save_file(weights, temporary / _READOUTS)


def load_student(folder: Path) -> Student:
    """Load a student that `keep_student` wrote. Raises InputError if the folder does not hold one."""
    from transformers import AutoModel

    if not (folder / _READOUTS).is_file():
        raise InputError(f"{folder} holds no student; it has no {_READOUTS}")
    encoder, _ = open_model(folder, what="student").network(AutoModel)
    weights = load_file(folder / _READOUTS)
    student = Student(encoder, len(weights["token.bias"]))
    if "sentence.bias" in weights:
        student.sentence_readout = nn.Linear(*reversed(weights["sentence.weight"].shape))
    for kind, readout in (("token", student.readout), ("sentence", student.sentence_readout)):
        if readout is not None:
            readout.load_state_dict({name: weights[f"{kind}.{name}"] for name in ("weight", "bias")})
    return student.eval()
