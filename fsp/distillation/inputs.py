"""What every long command starts from: a trained T, text, and the surrogate error made of them."""

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

SEARCH_TOKENS = 65_536  # of training text, for a search alone


@dataclass(frozen=True)
class Inputs:
    """A trained T and text."""

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
        space: names the teacher that is taken by default.
        teacher: a directory or a hub name; None for the space's.
        corpus: files and folders; empty for the documentation of Python's standard library.
        display: where progress goes.
        column: of the text where the corpus has rows; None for `text`, else the only one of strings.

    Raises:
        InputError: T or the corpus cannot be used, neither the caller nor the space names a teacher, or the space is of
            a family that fsp does not train.
    """
    check_trained(space)
    if teacher is None and not space.teacher:
        raise InputError(f"space {space.name} names no trained teacher; give one with --teacher")
    with display.bar("loading the teacher and the text", 2) as advance:
        texts = read_corpus(corpus, column) if corpus else None  # what the user gave is looked at before the slow part
        if teacher is None:
            trained = load_teacher(packaged_teacher(space.teacher), name=space.teacher["name"])
        else:
            trained = load_teacher(teacher)
        advance(1)
        split = Corpus.of(standard_library() if texts is None else texts)
        advance(1)
    return Inputs(trained, split)


def surrogate(inputs: Inputs, settings: SurrogateSettings, cache: Path, display: Progress) -> Distillation:
    """Compute T's states of the text and return the error `distillation` made of them.

    Args:
        inputs: T and the text.
        settings: of the run; also sets torch's threads.
        cache: a folder for T's states.
        display: where progress goes.

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
    """Return a space with T's own constants, and the error `distillation` of its candidates, for `fsp.extract`.

    Args:
        space: a space, or what `fsp.load_space` takes.
        teacher: T, a directory or a hub name; None for the one that the space names.
        corpus: files and folders of text or rows; empty for the documentation of Python's standard library.
        column: of the text where the corpus has rows; None for `text`, else the only one of strings.
        steps: s, of training each candidate; 0 measures the healed cuts.
        tokens: of training text.
        threads: of torch, set for the whole process; None for all processors. Errors depend on it.
        cache: folder that keeps T's states of the text (768 bytes per token for MiniLM); None for one that goes
            when the process ends.
        display: where progress goes.

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
    with tempfile.TemporaryDirectory() as folder:  # its files stay mapped as long as the error lives
        return chosen, surrogate(inputs, settings, Path(folder), display)


def fitted_to(space: SearchSpace, teacher: Teacher) -> SearchSpace:
    """Return the space with T's own embedding tables. Raises InputError where T is not its maximum point."""
    if teacher.architecture != space.maximum:
        raise InputError(
            f"teacher {teacher.name} is {teacher.architecture}, and the maximum point of space {space.name} is "
            f"{space.maximum}; write a space file with the teacher's shape as its maximum"
        )
    return space.with_constants(teacher.constants)


def from_scratch(inputs: Inputs, settings: SurrogateSettings, space: SearchSpace) -> MaskedLanguageModelling:
    """Return the paper's from_scratch error, masked language modelling from scratch; T gives nothing but its tokenizer.

    Raises:
        InputError: there is too little text, or the tokenizer has no mask token.
    """
    torch.set_num_threads(settings.processor_threads)
    text = MaskedText.prepare(
        inputs.teacher.tokenizer, inputs.corpus, length=settings.length, held_out_tokens=settings.held_out_tokens
    )
    chosen = MaskedLanguageModellingSettings(steps=settings.steps)
    return MaskedLanguageModelling(text, space.constants, chosen, threads=settings.processor_threads)
