"""Preparing a run from names and paths: models that fit each other, batches, and the teacher's cache."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fsp.base.errors import InputError
from fsp.distillation.masking import Masking, PassMasking
from fsp.distillation.pretraining.batches import Batches
from fsp.distillation.pretraining.models import (
    LanguageModel,
    Pretrained,
    check_length,
    check_vocabularies,
    load_language_model,
)
from fsp.distillation.pretraining.packed import PackedCorpus, tokenizer_digest
from fsp.distillation.pretraining.settings import PretrainingSettings
from fsp.distillation.pretraining.student_losses import StudentWithLosses
from fsp.distillation.pretraining.students import check_shape, cut_student, random_student
from fsp.distillation.pretraining.teacher_cache import CachedTeacher, Layout
from fsp.distillation.pretraining.teacher_outputs import LiveTeacher
from fsp.families.architecture import Architecture

_CUT_TOKENS = 16_384  # tokens of text for ranking and healing a cut


def named_student(settings: PretrainingSettings, trained: Pretrained, architecture: Any) -> Pretrained | None:
    """Return the model that `settings.init` names; None if it is `cut` or `random`.

    Raises:
        InputError: neither a model nor an architecture is given, or the model does not fit the teacher or the losses.
    """
    if settings.init in ("cut", "random"):
        if not architecture:
            raise InputError("name an architecture, as D=4 A=8 H=1024 I=768, or a model with --init")
        return None
    loaded = load_language_model(settings.init, what="student")
    shape = loaded.model.architecture
    if architecture and Architecture(architecture) != shape:
        raise InputError(f"student {loaded.name} is {shape}, not {Architecture(architecture)}; leave the shape out")
    if settings.needs_head and not loaded.model.has_head:
        raise InputError(f"student {loaded.name} has no vocabulary head; use --kl 0 --mlm 0 and a hidden-state loss")
    if loaded.model.causal != trained.model.causal:
        raise InputError(f"student {loaded.name} and teacher {trained.name} must both be encoders or both decoders")
    loaded.model.network.requires_grad_(True)
    return loaded


def check_together(
    settings: PretrainingSettings,
    shape: Architecture,
    trained: Pretrained,
    started: Pretrained | None,
    *,
    processes: int,
    device: torch.device,
    cached: bool,
) -> None:
    """Raise InputError if settings, models and processes do not fit each other."""
    model = trained.model
    check_length(model, settings.length)
    if not started:
        check_shape(model, shape, cut=settings.init == "cut")
    else:
        check_length(started.model, settings.length)
        check_vocabularies(started, trained, logits=bool(settings.kl))
    if settings.kl and not model.has_head:
        raise InputError(
            f"teacher {trained.name} has no vocabulary head, so its logits cannot be matched; "
            "use --kl 0 with --cosine 1 (its hidden states), or another teacher"
        )
    if settings.needs_head and not model.causal and trained.tokenizer.mask_token_id is None:
        raise InputError(f"teacher {trained.name}: its tokenizer has no mask token")
    if settings.relation:
        student = started.model if started else model
        heads = _relation_heads(settings, student, shape, model)
        for name, one, its in (("student", student, shape), ("teacher", model, model.architecture)):
            for width in one.attention_widths(its).values():
                if width % heads:
                    raise InputError(
                        f"{heads} relation heads do not divide the {name}'s queries, keys or values, which have "
                        f"{width} numbers; choose others"
                    )
        if settings.compile:
            raise InputError("--compile and --relation do not go together; leave one out")
    parts = processes * settings.accumulate
    if settings.batch % parts:
        raise InputError(
            f"{settings.batch} blocks per step cannot be divided by {processes} processes x "
            f"{settings.accumulate} passes; choose a multiple of {parts} for --batch"
        )
    if cached and settings.relation:
        raise InputError("a teacher cache cannot hold attention relations; use --relation 0 or no --cache-teacher")
    if settings.precision == "float16" and device.type != "cuda":
        raise InputError("--precision float16 needs a GPU; use float32 or bfloat16")


def _relation_heads(
    settings: PretrainingSettings, student: LanguageModel, shape: Mapping[str, int], teacher: LanguageModel
) -> int:
    """Return the number of relation heads: by default the most that queries, keys and values of both models share.

    Args:
        settings: the settings of the run.
        student: a model of the student's family.
        shape: the student's shape.
        teacher: the teacher.
    """
    own, wanted = student.attention_widths(shape), teacher.attention_widths(teacher.architecture)
    heads = [shape[unit] for unit in own] + [teacher.architecture[unit] for unit in wanted]
    return settings.relation_heads or math.gcd(*heads)


def batches_of(text: PackedCorpus, trained: Pretrained, settings: PretrainingSettings) -> dict[str, Batches]:
    """Return the batches of `train` and `held_out` text; the masks of the latter do not depend on the run's seed."""
    causal, masking = trained.model.causal, None
    if settings.needs_head and not causal:
        masking = PassMasking(Masking.of(trained.tokenizer), settings.mask_rate, settings.seed)
    return {
        "train": Batches(text.train, masking, causal, settings.seed),
        "held_out": Batches(text.held_out, replace(masking, seed=0) if masking else None, causal, 0),
    }


def new_student(
    teacher: LanguageModel, shape: Architecture, text: PackedCorpus, settings: PretrainingSettings
) -> LanguageModel:
    """Return the untrained student of a given shape, cut out of the teacher or random."""
    made: dict[str, Any] = {"head": settings.needs_head, "dropout": settings.dropout, "seed": settings.seed}
    if settings.init == "random":
        return random_student(teacher, shape, **made)
    rows = torch.randperm(len(text.train), generator=torch.Generator().manual_seed(0))
    chosen = rows[: max(1, _CUT_TOKENS // settings.length)].numpy()
    tokens = torch.from_numpy(text.train.take(chosen))
    return cut_student(teacher, shape, tokens, **made)


def learner_of(student: LanguageModel, teacher: LanguageModel, settings: PretrainingSettings) -> StudentWithLosses:
    """Return the student with its losses."""
    heads = _relation_heads(settings, student, student.architecture, teacher) if settings.relation else 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return StudentWithLosses(
            student,
            settings.weights,
            temperature=settings.temperature,
            teacher_width=teacher.architecture["H"],
            relation_heads=heads,
        )


def cached_teacher(
    folder: Path,
    live: LiveTeacher,
    text: PackedCorpus,
    trained: Pretrained,
    batches: Batches,
    settings: PretrainingSettings,
) -> CachedTeacher:
    """Return the teacher with a cache of its outputs in a folder. Raises InputError if the folder holds others."""
    vocabulary = trained.model.config.vocab_size
    layout = Layout(
        blocks=len(text.train),
        positions=batches.positions_a_block,
        top=min(settings.top_k, vocabulary) if settings.kl else 0,
        temperature=settings.temperature,
        width=trained.model.architecture["H"] if settings.needs_states else 0,
        vocabulary=vocabulary,
    )
    key = {
        "teacher": trained.fingerprint,
        "tokenizer": tokenizer_digest(trained.tokenizer),
        "corpus": text.digest,
        "length": settings.length,
        "masking": [settings.mask_rate, settings.seed] if batches.masking else None,
        "precision": str(next(trained.model.network.parameters()).dtype),
    }
    return CachedTeacher(live, folder, layout, key)
