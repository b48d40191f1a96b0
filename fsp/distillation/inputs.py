"""The inputs of every long command: a trained T, text, and the surrogate error made from them."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fsp.base.errors import InputError
from fsp.base.progress import Progress
from fsp.distillation.blocks import READOUT_TOKENS, Material
from fsp.distillation.error import Distillation, DistillationSettings
from fsp.distillation.from_scratch import MaskedLanguageModelling, MaskedLanguageModellingSettings, MaskedText
from fsp.distillation.settings import SurrogateSettings
from fsp.distillation.teacher import Teacher, load_teacher, packaged_teacher
from fsp.distillation.text.corpus import Corpus, read_corpus, standard_library
from fsp.distillation.trained import check_trained
from fsp.spaces.loading import load_space
from fsp.spaces.space import SearchSpace

SEARCH_TOKENS = 65_536  # tokens of training text for a search without final distillation


@dataclass(frozen=True)
class Inputs:
    """A trained T and text.

    Attributes:
        teacher: T.
        corpus: the text in three parts.
    """

    teacher: Teacher
    corpus: Corpus


def load_inputs(
    space: SearchSpace,
    teacher: str | None,
    corpus: Sequence[str | Path],
    display: Progress,
    *,
    column: str | None = None,
) -> Inputs:
    """Load T and the text.

    Args:
        space: names the default teacher.
        teacher: a directory or a hub name; None for the space's teacher.
        corpus: files and folders; empty for the documentation of Python's standard library.
        display: shows progress.
        column: the column of text if the corpus has rows; None for `text`, else the only column of strings.

    Raises:
        InputError: T or the corpus cannot be used, neither the caller nor the space names a teacher, or fsp does not
            train the space's family.
    """
    check_trained(space)
    if teacher is None and not space.teacher:
        raise InputError(f"space {space.name} names no trained teacher; give one with --teacher")
    with display.bar("loading the teacher and the text", 2) as advance:
        texts = read_corpus(corpus, column) if corpus else None  # read first, to report bad files before the slow part
        if teacher is None:
            trained = load_teacher(packaged_teacher(space.teacher), name=space.teacher["name"])
        else:
            trained = load_teacher(teacher)
        advance(1)
        split = Corpus.of(standard_library() if texts is None else texts)
        advance(1)
    return Inputs(trained, split)


def surrogate(inputs: Inputs, settings: SurrogateSettings, cache: Path, display: Progress) -> Distillation:
    """Compute T's states for the text and return the error `distillation` based on them.

    Args:
        inputs: T and the text.
        settings: settings of the run, including the number of torch threads, which is set for the process.
        cache: a folder for T's states.
        display: shows progress.

    Raises:
        InputError: there is too little text.
    """
    torch.set_num_threads(settings.processor_threads)
    total = max(settings.tokens, READOUT_TOKENS) + 2 * settings.held_out_tokens
    with display.bar("teacher's states of the text", total) as advance:
        material = Material.prepare(
            inputs.teacher,
            inputs.corpus,
            cache,
            length=settings.length,
            train_tokens=settings.tokens,
            held_out_tokens=settings.held_out_tokens,
            advance=advance,
        )
    with display.bar("ranking the teacher's parts", 1) as advance:
        chosen = DistillationSettings(steps=settings.steps)
        error = Distillation(inputs.teacher, material, chosen, threads=settings.processor_threads)
        advance(1)
    return error


def prepare(
    space: str | Path | SearchSpace,
    *,
    teacher: str | None = None,
    corpus: Sequence[str | Path] = (),
    column: str | None = None,
    steps: int = 16,
    tokens: int = SEARCH_TOKENS,
    threads: int | None = None,
    cache: str | Path | None = None,
    display: Progress | None = None,
) -> tuple[SearchSpace, Distillation]:
    """Return a space with T's own constants, and the error `distillation` for its candidates, for `fsp.extract`.

    Args:
        space: a space, or what `fsp.load_space` takes.
        teacher: T, a directory or a hub name; None for the teacher that the space names.
        corpus: files and folders of text or rows; empty for the documentation of Python's standard library.
        column: the column of text if the corpus has rows; None for `text`, else the only column of strings.
        steps: training steps s per candidate; 0 measures the healed cuts.
        tokens: tokens of training text.
        threads: number of torch threads, set for the whole process; None for all processors. Errors depend on it.
        cache: folder for T's states of the text (768 bytes per token for MiniLM); None to keep them only until the
            process ends.
        display: shows progress.

    Raises:
        InputError: T, the corpus or the space cannot be used, or they do not match.

    Example:
        >>> space, error = prepare("minilm", steps=0, threads=1)  # doctest: +SKIP
        >>> fsp.extract(space, error=error, interval=20).selected  # doctest: +SKIP
    """
    settings, display = SurrogateSettings(steps=steps, tokens=tokens, threads=threads), display or Progress()
    chosen = space if isinstance(space, SearchSpace) else load_space(space)
    inputs = load_inputs(chosen, teacher, corpus, display, column=column)
    chosen = fitted_to(chosen, inputs.teacher)
    if cache is not None:
        return chosen, surrogate(inputs, settings, Path(cache), display)
    with tempfile.TemporaryDirectory() as folder:  # the error keeps its files mapped after they are deleted
        return chosen, surrogate(inputs, settings, Path(folder), display)


def fitted_to(space: SearchSpace, teacher: Teacher) -> SearchSpace:
    """Return the space with T's own embedding tables. Raises InputError if T is not its maximum point."""
    if teacher.architecture != space.maximum:
        raise InputError(
            f"teacher {teacher.name} is {teacher.architecture}, but the maximum point of space {space.name} is "
            f"{space.maximum}; write a space file with the teacher's shape as its maximum"
        )
    return space.with_constants(teacher.constants)


def from_scratch(inputs: Inputs, settings: SurrogateSettings, space: SearchSpace) -> MaskedLanguageModelling:
    """Return the paper's error, masked language modelling from scratch; only T's tokenizer is used.

    Raises:
        InputError: there is too little text, or the tokenizer has no mask token.
    """
    torch.set_num_threads(settings.processor_threads)
    text = MaskedText.prepare(
        inputs.teacher.tokenizer, inputs.corpus, length=settings.length, held_out_tokens=settings.held_out_tokens
    )
    chosen = MaskedLanguageModellingSettings(steps=settings.steps)
    return MaskedLanguageModelling(text, space.constants, chosen, threads=settings.processor_threads)
