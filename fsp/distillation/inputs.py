"""The inputs of every long command: a trained T, data, and the surrogate error made from them."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from fsp.base.device import Device
from fsp.base.errors import InputError
from fsp.base.progress import Progress
from fsp.distillation.error import Distillation, DistillationSettings
from fsp.distillation.from_scratch import MaskedLanguageModelling, MaskedLanguageModellingSettings, MaskedText
from fsp.distillation.images import ENDINGS
from fsp.distillation.samples import Samples, read_samples
from fsp.distillation.settings import SurrogateSettings
from fsp.distillation.source import Source
from fsp.distillation.tasks.choice import task_of
from fsp.distillation.tasks.task import Data, Making, Task
from fsp.distillation.tasks.text import corpus_in
from fsp.distillation.teacher import Teacher, load_teacher, packaged_teacher
from fsp.distillation.text.corpus import Corpus, read_corpus
from fsp.distillation.text.english import elsewhere, english
from fsp.distillation.text.reading import files_in
from fsp.distillation.text.rows import has_rows
from fsp.distillation.trained import check_trained
from fsp.families.family import load_family
from fsp.spaces.loading import load_space
from fsp.spaces.space import SearchSpace


@dataclass(frozen=True)
class Inputs:
    """A trained T and data.

    Attributes:
        teacher: T.
        data: text, or samples of a classifier's inputs, in three parts.
    """

    teacher: Teacher
    data: Data

    @cached_property
    def task(self) -> Task:
        """What T is for."""
        return task_of(self.teacher)


def load_inputs(
    space: SearchSpace,
    source: Source,
    display: Progress,
    *,
    task: str | None = None,
    device: Device | None = None,
) -> Inputs:
    """Load T and the data.

    Args:
        space: names the default teacher, and the family.
        source: where both come from.
        display: shows progress.
        task: what T is for; None for what it is.
        device: where T runs; None for the CPU.

    Raises:
        InputError: T or the data cannot be used, neither the caller nor the space names a teacher, or the networks of
            the space's family cannot be cut.
    """
    check_trained(space)
    if source.teacher is None and not space.teacher:
        raise InputError(f"space {space.name} names no trained teacher; give one with --teacher")
    with display.bar("loading the teacher and the data", 2) as advance:
        # text is read first, to report bad files before the slow part
        texts = read_corpus(source.data, source.column) if source.data and _is_text(source.data) else None
        family = load_family(space.family)
        if source.teacher is None:
            folder, name = packaged_teacher(space.teacher), space.teacher["name"]
            trained = load_teacher(folder, name=name, family=family, task=task, device=device)
        else:
            trained = load_teacher(source.teacher, family=family, task=task, device=device)
        advance(1)
        sampled = bool(source.data) and (trained.tokenizer is None or not _is_prose(source.data))
        if source.labels is not None and not (trained.task == "classes" and trained.tokenizer is not None and sampled):
            raise InputError(
                f"there are no rows with a column of labels {source.labels!r}: only a classifier's rows of text have "
                "one, arrays call their labels 'labels', and folders of images are called by them; leave --labels out"
            )
        if trained.task == "classes" and sampled:
            data: Data = _samples(trained, source)
        elif trained.tokenizer is None and trained.task == "classes":
            raise InputError(f"teacher {trained.name} reads no text; give images or arrays with --data")
        elif trained.tokenizer is None:
            raise InputError(
                f"teacher {trained.name} reads no text and has no head for classes, by which fsp compares "
                "such networks; give one with its classifier"
            )
        elif texts is None and source.data:
            raise InputError(f"teacher {trained.name} reads text; give text with --corpus")
        else:
            data = english() if texts is None else replace(Corpus.of(texts), elsewhere=elsewhere())
        advance(1)
    return Inputs(trained, data)


def _samples(trained: Teacher, source: Source) -> Samples:
    """Read the samples of a classifier."""
    config = trained.network.config
    shape = None
    if trained.tokenizer is None:
        zeros = trained.family.inputs(trained.constants, batch=1, length=1)
        shape = tuple(next(iter(zeros.values())).shape[1:])
    process = None
    if trained.processor is not None:
        process = lambda images: trained.processor(images, return_tensors="np")["pixel_values"].astype("float32")  # noqa: E731
    ids = {str(name): number for number, name in (getattr(config, "id2label", None) or {}).items()}
    kind: Any = "text" if trained.tokenizer is not None else "images" if _is_images(source.data) else "arrays"
    if kind == "images" and process is None:
        raise InputError(
            f"teacher {trained.name} has no image processor (preprocessor_config.json); give arrays (.npz)"
        )
    return read_samples(
        source.data,
        kind=kind,
        column=source.column,
        label_column=source.labels,
        shape=shape,
        process=process,
        label_ids=None if all(name.startswith("LABEL_") for name in ids) else ids,
        classes=getattr(config, "num_labels", None) or trained.constants.get("outputs"),
    )


def _is_text(paths: Sequence[str | Path]) -> bool:
    """Return whether data is text or rows of text, by the names of the files."""
    return not _is_images(paths) and not any(Path(path).suffix == ".npz" for path in paths)


def _is_prose(paths: Sequence[str | Path]) -> bool:
    """Return whether data is text without rows, whose sentences are a classifier's samples."""
    files = [file for path in map(Path, paths) for file in (files_in(path) if path.is_dir() else [path])]
    return _is_text(paths) and not any(has_rows(file) for file in files)


def _is_images(paths: Sequence[str | Path]) -> bool:
    """Return whether data is folders of images, by the names of the first files in them."""
    for path in map(Path, paths):
        if path.is_dir():
            first = next(
                (file for file in sorted(path.rglob("*")) if file.is_file() and not file.name.startswith(".")), None
            )
            if first is not None and first.suffix.lower() in ENDINGS:
                return True
        elif path.suffix.lower() in ENDINGS:
            return True
    return False


def surrogate(inputs: Inputs, settings: SurrogateSettings, cache: Path, display: Progress) -> Distillation:
    """Compute T's outputs for the data and return the error `distillation` based on them.

    Args:
        inputs: T and the data.
        settings: settings of the run, including the number of torch threads, which is set for the process.
        cache: a folder for T's outputs.
        display: shows progress.

    Raises:
        InputError: there is too little data, or it does not suit T's task.
    """
    torch.set_num_threads(settings.processor_threads)
    material = inputs.task.material(inputs.data, settings, Making(cache, display))
    with display.bar("ranking the teacher's parts", 1) as advance:
        chosen = DistillationSettings(steps=settings.steps)
        error = Distillation(inputs.task, material, chosen, threads=settings.processor_threads, say=display.say)
        advance(1)
    return error


def prepare(
    space: str | Path | SearchSpace,
    *,
    teacher: str | None = None,
    corpus: Sequence[str | Path] = (),
    column: str | None = None,
    settings: SurrogateSettings | None = None,
    cache: str | Path | None = None,
    display: Progress | None = None,
    **options: Any,
) -> tuple[SearchSpace, Distillation]:
    """Return a space with T's own constants, and the error `distillation` for its candidates, for `fsp.extract`.

    Args:
        space: a space, or what `fsp.load_space` takes.
        teacher: T, a directory or a hub name; None for the teacher that the space names.
        corpus: files and folders of text or rows; empty for the default text, English of seven
            registers.
        column: the column of text if the corpus has rows; None for `text`, else the only column of strings.
        settings: settings of the error; by default those of a search without final distillation.
        cache: folder for T's outputs; None to keep them only until the process ends.
        display: shows progress.
        options: fields of the settings to change, such as `steps`, `threads`, `task` or `device`.

    Raises:
        InputError: T, the corpus or the space cannot be used, or they do not match.

    Example:
        >>> space, error = prepare("minilm", steps=0, threads=1)  # doctest: +SKIP
        >>> fsp.extract(space, error=error, interval=20).selected  # doctest: +SKIP
    """
    settings = replace(settings or SurrogateSettings(), **options)
    display = display or Progress()
    chosen = space if isinstance(space, SearchSpace) else load_space(space)
    source = Source(teacher, corpus, column)
    inputs = load_inputs(chosen, source, display, task=settings.task, device=settings.place)
    chosen = fitted_to(chosen, inputs.teacher)
    if cache is not None:
        return chosen, surrogate(inputs, settings, Path(cache), display)
    with tempfile.TemporaryDirectory() as folder:  # the error keeps its files mapped after they are deleted
        return chosen, surrogate(inputs, settings, Path(folder), display)


def fitted_to(space: SearchSpace, teacher: Teacher) -> SearchSpace:
    """Return the space with T's own constants. Raises InputError if T is not its maximum point."""
    if teacher.architecture != space.maximum:
        raise InputError(
            f"teacher {teacher.name} is {teacher.architecture}, but the maximum point of space {space.name} is "
            f"{space.maximum}; write a space file with the teacher's shape as its maximum"
        )
    return space.with_constants(teacher.constants)


def from_scratch(inputs: Inputs, settings: SurrogateSettings, space: SearchSpace) -> MaskedLanguageModelling:
    """Return the paper's error, masked language modelling from scratch; only T's tokenizer is used.

    Raises:
        InputError: the space is of another family than bert, there is too little text, or the tokenizer has no mask
            token.
    """
    if load_family(space.family) is not load_family("bert"):
        raise InputError(f"the error mlm trains BERT from scratch; space {space.name} is of family {space.family_name}")
    torch.set_num_threads(settings.processor_threads)
    text = MaskedText.prepare(
        inputs.teacher.tokenizer,
        corpus_in(inputs.data),
        length=settings.length,
        held_out_tokens=settings.held_out_tokens,
    )
    chosen = MaskedLanguageModellingSettings(steps=settings.steps)
    return MaskedLanguageModelling(text, space.constants, chosen, threads=settings.processor_threads)
