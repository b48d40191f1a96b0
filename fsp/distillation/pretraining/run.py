"""A whole pretraining run: from names and paths to a Hugging Face directory."""

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fsp.base.errors import RunFailed
from fsp.base.files import read_json
from fsp.base.machine import processors
from fsp.base.progress import Bars, Progress
from fsp.base.run_folder import RUN, own, working_in
from fsp.distillation.models.card import FACTS
from fsp.distillation.models.identity import fingerprint
from fsp.distillation.pretraining import checkpoints
from fsp.distillation.pretraining.batches import Batches
from fsp.distillation.pretraining.documents import find_sources
from fsp.distillation.pretraining.engine import Engine, TrainingResult, accelerator_for
from fsp.distillation.pretraining.evaluation import evaluate
from fsp.distillation.pretraining.flops import forward_flops, peak_flops
from fsp.distillation.pretraining.models import LanguageModel, Pretrained, load_language_model
from fsp.distillation.pretraining.output import write_model
from fsp.distillation.pretraining.packed import PackedCorpus, pack
from fsp.distillation.pretraining.preparing import (
    batches_of,
    cached_teacher,
    check_together,
    learner_of,
    named_student,
    new_student,
)
from fsp.distillation.pretraining.settings import Options, PretrainingSettings
from fsp.distillation.pretraining.teacher_cache import CachedTeacher
from fsp.distillation.pretraining.teacher_outputs import LiveTeacher
from fsp.distillation.pretraining.watching import RunLog, TensorBoard, Watch, plot
from fsp.families.architecture import Architecture

if TYPE_CHECKING:
    from accelerate import Accelerator

_TEXT, _CHECKPOINTS, _LOG, _PLOT = "text", "checkpoints", "log.jsonl", "run.png"


def pretrain(
    architecture: Mapping[str, int] | None,
    out: Path,
    *,
    teacher: str | Path,
    corpus: Sequence[str | Path] = (),
    column: str | None = None,
    settings: PretrainingSettings | None = None,
    use_teacher: bool = True,
    options: Options | None = None,
    watched: bool = False,
) -> dict[str, Any]:
    """Pretrain one shape by knowledge distillation and write it as a Hugging Face directory.

    If an interrupted run is started again with the same arguments, it continues from its last checkpoint with the same
    losses, step by step, as without the interruption; a finished run is not repeated. Under torchrun, all processes
    work on the same run.

    Args:
        architecture: the parameters of the teacher's family; None to take it from the model that `settings.init` names.
        out: the directory.
        teacher: a Hugging Face directory or hub name; its tokenizer and type are also the student's.
        corpus: see `find_sources`.
        column: the column of text in files with rows; None for `text`, else the only column of strings.
        settings: settings of the run.
        use_teacher: False to train on the text only, without the teacher's outputs.
        options: options that do not change the result.
        watched: show progress on stderr.

    Returns:
        The facts of `fsp.json`, `finished`, and the directory under `model`; if a SIGTERM ended the run early, only
        `finished`, `steps` and `skipped`.

    Raises:
        InputError: an argument cannot be used.
        RunFailed: training failed, or the disk is full.
    """
    given = (teacher, corpus, column, settings or PretrainingSettings(), use_teacher, options or Options(), watched)
    try:
        accelerator = accelerator_for(given[3])
        with working_in(out, (RUN, _TEXT)) if accelerator.is_main_process else nullcontext():
            return _pretrain(accelerator, architecture, out, *given)
    except OSError as error:  # errors of reading are already InputErrors
        where = f" ({error.filename})" if error.filename else ""
        raise RunFailed(f"cannot write below {out}{where}: {error.strerror or error}") from None


def _pretrain(
    accelerator: "Accelerator",
    architecture: Mapping[str, int] | None,
    out: Path,
    teacher: str | Path,
    corpus: Sequence[str | Path],
    column: str | None,
    settings: PretrainingSettings,
    use_teacher: bool,
    options: Options,
    watched: bool,
) -> dict[str, Any]:
    if not use_teacher:
        settings = replace(settings, kl=0.0, cosine=0.0, mse=0.0, relation=0.0, mlm=settings.mlm or 1.0)
    main = accelerator.is_main_process
    _set_threads(options.threads)
    sources = find_sources(corpus, column=column)
    display = Bars() if watched and main else Progress()
    trained = load_language_model(teacher)
    started = named_student(settings, trained, architecture)
    shape = started.model.architecture if started else Architecture(architecture or {})
    check_together(
        settings,
        shape,
        trained,
        started,
        processes=accelerator.num_processes,
        device=accelerator.device,
        cached=options.cache_teacher is not None,
    )
    place = options.cache_text or out / _TEXT
    text = pack(sources, trained.tokenizer, place, length=settings.length, display=display, writes=main)
    batches = batches_of(text, trained, settings)
    student = started.model if started else new_student(trained.model, shape, text, settings)
    if main:
        own(out, _identity(settings, shape, trained, text, use_teacher, student))
    if (out / FACTS).exists():
        return {"finished": True, **read_json(out / FACTS), "model": str(out)}

    learner = learner_of(student, trained.model, settings)
    if settings.gradient_checkpointing:
        network: Any = student.network  # transformers 5.23 renamed the method
        enable = getattr(network, "activation_checkpointing_enable", None) or network.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    if settings.compile:
        student.body.compile()
    live = cached = None
    if settings.needs_teacher:
        precision = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(accelerator.mixed_precision, torch.float32)
        trained.model.network.to(accelerator.device)
        if accelerator.device.type == "cuda":
            trained.model.network.to(precision)
        live = LiveTeacher(trained.model, bool(settings.kl), settings.needs_states, bool(settings.relation))
        if options.cache_teacher:
            cached = cached_teacher(options.cache_teacher, live, text, trained, batches["train"], settings)
    run = _Run(out, settings, options, trained.model, live, cached, batches, watched and main, main)
    engine = Engine(
        accelerator,
        learner,
        batches["train"],
        cached or live,
        settings,
        options,
        out / _CHECKPOINTS,
        after_step=run.after_step,
        evaluate=run.evaluate,
    )
    outcome = run.train(engine)
    if not outcome.finished:
        return {"finished": False, "steps": outcome.steps, "skipped": outcome.skipped}
    facts = _facts(settings, shape, trained, text, use_teacher, student, run, outcome)
    if main:
        checkpoints.prune(out / _CHECKPOINTS, options.keep)  # in case a kill prevented it
        plot(out / _LOG, out / _PLOT)
        write_model(LanguageModel(student.network.cpu()), trained.tokenizer, out, facts)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return {"finished": True, **facts, "model": str(out)}


class _Run:
    """The parts of a run around the steps: log, progress bar, evaluations."""

    def __init__(
        self,
        out: Path,
        settings: PretrainingSettings,
        options: Options,
        teacher: LanguageModel,
        live: LiveTeacher | None,
        cached: CachedTeacher | None,
        batches: Mapping[str, Batches],
        watched: bool,
        main: bool,
    ):
        self._settings, self._batches, self._cached, self._main = settings, batches, cached, main
        self._log = RunLog(out / _LOG) if main else None
        self._board = TensorBoard(out / "tensorboard") if options.tensorboard and main else None
        self._watch = Watch(settings.steps) if watched else None
        self._teacher, self._live = teacher, live
        self._asked = 0
        self.results: dict[str, float] = {}

    def train(self, engine: Engine) -> TrainingResult:
        accelerator, settings = engine.accelerator, self._settings
        share = self._batches["train"].positions_a_block / settings.length
        student = engine.learner.student
        sizes: dict[str, Any] = {"length": settings.length, "positions": share}
        tokens = settings.batch * settings.length
        self._student_flops = 3 * tokens * forward_flops(student, head=settings.needs_head, **sizes)
        self._teacher_flops = settings.length * forward_flops(self._teacher, head=bool(settings.kl), **sizes)
        kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
        kind = kinds.get(accelerator.mixed_precision, torch.float32)
        self._peak = accelerator.num_processes * peak_flops(accelerator.device, kind)
        with self._watch.shown() if self._watch else nullcontext():
            outcome = engine.run()
        if self._log and not self.results:  # killed after its last checkpoint: no evaluation is repeated
            self.results = self._log.held_out(outcome.steps)
        return outcome

    def after_step(self, record: dict[str, Any]) -> None:
        settings = self._settings
        blocks = settings.batch if self._live else 0
        if self._cached is not None:
            blocks, self._asked = self._cached.computed - self._asked, self._cached.computed
        flops = self._student_flops + blocks * self._teacher_flops
        record["tokens_per_second"] = settings.batch * settings.length / record["seconds"]
        record["mfu"] = flops / record["seconds"] / self._peak
        if self._log:
            self._log.write(record)
        if self._board:
            self._board.write(record)
        if self._watch:
            self._watch.step(record)

    def evaluate(self, engine: Engine, step: int) -> None:
        student = engine.learner.student
        compared = None
        if self._live is not None:
            both = self._teacher.has_head and student.has_head
            logits = both and self._teacher.config.vocab_size == student.config.vocab_size
            compared = LiveTeacher(self._teacher, logits=logits, states=True)
        self.results = evaluate(engine, self._batches["held_out"], compared)
        if self._log:
            self._log.write({"step": step, "held_out": self.results})
        if self._board:
            self._board.write({"step": step, **self.results}, "held_out")
        if self._watch:
            self._watch.evaluation(step, self.results)


def _set_threads(threads: int | None) -> None:
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(threads or max(1, processors() // here))


def _identity(
    settings: PretrainingSettings,
    shape: Architecture,
    trained: Pretrained,
    text: PackedCorpus,
    use_teacher: bool,
    student: LanguageModel,
) -> dict[str, Any]:
    return {
        "architecture": str(shape),
        "teacher": f"{trained.name} {trained.fingerprint}",
        "use_teacher": use_teacher,
        "corpus": text.digest,
        "student": fingerprint(student.network, config=student.config),
        **asdict(settings),
    }


def _facts(
    settings: PretrainingSettings,
    shape: Architecture,
    trained: Pretrained,
    text: PackedCorpus,
    use_teacher: bool,
    student: LanguageModel,
    run: _Run,
    outcome: TrainingResult,
) -> dict[str, Any]:
    return {
        "architecture": str(shape),
        "parameters": sum(p.numel() for p in student.network.parameters()),
        "teacher": trained.name if use_teacher else None,
        "results": run.results,
        "data": {
            **{name: text.facts[name] for name in ("sources", "documents", "text_bytes")},
            **{f"{part}_tokens": count for part, count in text.facts["tokens"].items()},
            "digest": text.digest,
            "tokens_seen": outcome.steps * settings.batch * settings.length,
        },
        "settings": {**asdict(settings), "skipped": outcome.skipped},
    }
