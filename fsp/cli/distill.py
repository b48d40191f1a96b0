"""`fsp distill`: a short distillation of token states, or pretraining against a teacher."""

import json
import os
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fsp.base.errors import InputError
from fsp.base.progress import Bars
from fsp.cli.options import Column, CorpusOption, Json, MaxMemory, MaxTime, Seed, Teacher, Threads

if TYPE_CHECKING:
    from fsp.families.architecture import Architecture

_SHORT_TOKENS = 131_072
_BORT_TEACHER = "FacebookAI/roberta-large"


def _option(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, show_default=False)


def distill(
    out: Annotated[Path, typer.Option(help="Directory of the model.")],
    architecture: Annotated[
        list[str] | None,
        typer.Argument(
            help="A shape, as D=3 A=8 H=256 I=768; `bort`; or a result of fsp run or extract.", show_default=False
        ),
    ] = None,
    space: Annotated[str, typer.Option(help="The search space whose teacher is used by default.")] = "minilm",
    teacher: Teacher = None,
    corpus: CorpusOption = None,
    column: Column = None,
    tokens: Annotated[
        int | None, typer.Option(help="Token budget.", show_default="131072; pretraining: --steps")
    ] = None,
    seed: Seed = 0,
    threads: Threads = None,
    max_time: MaxTime = None,
    max_memory: MaxMemory = None,
    as_json: Json = False,
    preset: Annotated[str | None, _option("bort: the settings of arXiv 2010.10499; options override them.")] = None,
    steps: Annotated[int | None, _option("Optimiser steps [1000].")] = None,
    kl: Annotated[float | None, _option("Weight of the divergence from the teacher's logits [1].")] = None,
    mlm: Annotated[float | None, _option("Weight of the cross-entropy with the text [0.1].")] = None,
    cosine: Annotated[float | None, _option("Weight of 1 - cosine to the teacher's hidden states [0].")] = None,
    mse: Annotated[float | None, _option("Weight of the squared distance to them [0].")] = None,
    relation: Annotated[float | None, _option("Weight of the attention relations' divergence [0].")] = None,
    temperature: Annotated[float | None, _option("Of the divergence of logits [2].")] = None,
    relation_heads: Annotated[int | None, _option("[those that both models' heads have in common].")] = None,
    no_teacher: Annotated[bool, _option("Train on the text alone.", "--no-teacher")] = False,
    init: Annotated[str | None, _option("cut (out of the teacher), random, or a model's directory [cut].")] = None,
    batch: Annotated[int | None, _option("Blocks a step, over all processes [32].")] = None,
    accumulate: Annotated[int | None, _option("Forward passes a step and process [1].")] = None,
    length: Annotated[int | None, _option("Tokens a block [128].")] = None,
    mask_rate: Annotated[float | None, _option("Share of the tokens that is predicted [0.15].")] = None,
    learning_rate: Annotated[float | None, _option("Its peak [5e-4].")] = None,
    warmup: Annotated[float | None, _option("Share of the steps [0.05].")] = None,
    schedule: Annotated[str | None, _option("After it: linear, cosine or constant [linear].")] = None,
    weight_decay: Annotated[float | None, _option("On matrices [0.01].")] = None,
    beta2: Annotated[float | None, _option("Of AdamW [0.98].")] = None,
    epsilon: Annotated[float | None, _option("Of AdamW [1e-6].")] = None,
    clip: Annotated[float | None, _option("Largest gradient norm [1].")] = None,
    dropout: Annotated[float | None, _option("[0].")] = None,
    precision: Annotated[str | None, _option("auto, float32, bfloat16 or float16 [auto].")] = None,
    compiled: Annotated[bool, _option("Compile the student's body.", "--compile")] = False,
    gradient_checkpointing: Annotated[
        bool, _option("Recompute activations instead of keeping them.", "--gradient-checkpointing")
    ] = False,
    cache_teacher: Annotated[Path | None, _option("Directory that keeps the teacher's outputs.")] = None,
    top_k: Annotated[int | None, _option("Logits a position that it keeps [64].")] = None,
    cache_text: Annotated[Path | None, _option("Directory for the tokenised text [OUT/text].")] = None,
    evaluate_every: Annotated[int | None, _option("Steps between evaluations on held-out text [500].")] = None,
    checkpoint_every: Annotated[int | None, _option("Steps between checkpoints [500].")] = None,
    keep: Annotated[int | None, _option("Checkpoints that are kept [2].")] = None,
    most_skipped: Annotated[int | None, _option("Unusable batches in a row that are borne [10].")] = None,
    tensorboard: Annotated[bool, _option("Write events for TensorBoard.", "--tensorboard")] = False,
) -> None:
    """Distil one shape from a teacher and save it as a Hugging Face model.

    Without an option of pretraining: a short distillation, cut out of the teacher to match its token states. With any
    of them: pretraining by knowledge distillation on logits, hidden states or the text, as long as it takes;
    interrupted, the same command goes on where it was. Run it under torchrun for several processes.
    """
    given = {name: value for name, value in locals().items() if value is not None and value is not False}
    from fsp.distillation.pretraining.settings import PRESETS, Options, Settings

    shape = _shape(architecture, preset)
    settings, options = (
        {one.name: given[one.name] for one in fields(kind) if one.name in given} for kind in (Settings, Options)
    )
    if compiled:
        settings["compile"] = True
    if not (settings.keys() - {"seed"} or options.keys() - {"threads"} or preset or no_teacher):
        _short(shape, out, space, teacher, corpus, column, tokens or _SHORT_TOKENS, seed, threads, as_json)
        return
    from fsp.distillation.pretraining.run import pretrain

    if preset and preset not in PRESETS:
        raise InputError(f"no preset {preset!r}; there is {', '.join(PRESETS)}")
    settings = {**PRESETS.get(preset or "", {}), **settings, "seed": seed}
    if tokens is not None:
        if steps is not None:
            raise InputError("give --tokens or --steps, not both")
        wanted = Settings(**settings)
        settings["steps"] = max(1, tokens // (wanted.batch * wanted.length))
    found = pretrain(
        shape,
        out,
        teacher=teacher or (_BORT_TEACHER if preset else _default_teacher(space)),
        corpus=corpus or (),
        column=column,
        settings=Settings(**settings),
        use_teacher=not no_teacher,
        options=Options(**options),
        watched=True,
    )
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps({**found, "model": str(out)}) if as_json else _last_lines(found, out))


def _last_lines(found: dict[str, Any], out: Path) -> str:
    if not found["finished"]:
        return f"stopped after step {found['steps']:,}; the same command goes on there"
    results = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in found["results"].items())
    return f"{found['architecture']}: {results} on held-out text\nmodel: {out}"


def _default_teacher(space: str) -> str:
    from fsp.distillation.teacher import packaged_teacher
    from fsp.spaces.loading import load_space

    source = load_space(space).teacher
    if not source:
        raise InputError(f"space {space} names no trained teacher; give one with --teacher")
    return str(packaged_teacher(source))


def _shape(words: list[str] | None, preset: str | None) -> "Architecture | None":
    """The architecture that is named, written out, or in a file or folder of a result."""
    from fsp.base.files import read_json
    from fsp.families.architecture import Architecture

    if not words:
        words = ["bort"] if preset == "bort" else []
    if not words:
        return None
    if words == ["bort"]:
        from fsp.objectives.bort import SHAPE

        return SHAPE
    path = Path(words[0])
    if len(words) == 1 and "=" not in words[0]:
        path = path / "result.json" if path.is_dir() else path
        if not path.is_file():
            raise InputError(
                f"cannot read {words[0]!r}: neither a shape as D=3 A=8 H=256 I=768, nor `bort`, nor a file"
            )
        result = read_json(path)
        selected = result.get("selected") if isinstance(result, dict) else None
        if not isinstance(selected, dict):
            raise InputError(f"{path} holds no selected architecture; name a result of fsp run or fsp extract --json")
        return Architecture(selected)
    return Architecture.parse(" ".join(words))


def _short(
    shape: "Architecture | None",
    out: Path,
    space: str,
    teacher: str | None,
    corpus: Any,
    column: str | None,
    tokens: int,
    seed: int,
    threads: int | None,
    as_json: bool,
) -> None:
    from fsp.base.files import check_writable
    from fsp.distillation.inputs import Settings, load_inputs, surrogate
    from fsp.distillation.saving import distill as train
    from fsp.distillation.saving import save_student
    from fsp.spaces.loading import load_space

    if shape is None:
        raise InputError("name an architecture, as D=3 A=8 H=256 I=768")
    settings = Settings(tokens=tokens, seed=seed, threads=threads)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} already exists; choose a new directory")
    check_writable(out / "config.json")
    bars = Bars()
    inputs = load_inputs(load_space(space), teacher, corpus or (), bars, column=column)
    inputs.teacher.check(shape)
    inputs.teacher.check_savable()
    with tempfile.TemporaryDirectory() as cache:
        error = surrogate(inputs, settings, Path(cache), bars)
        student, losses = train(shape, error, tokens=tokens, seed=seed, display=bars)
        facts = {
            "architecture": str(shape),
            "teacher": inputs.teacher.name,
            "distillation_tokens": len(losses) * error.tokens_per_step,
            "error": error.measure(student, error.material.test),
            "readout_parameters": student.readout_parameters,
            "longest_input": inputs.teacher.layout.longest,
        }
        save_student(student, inputs.teacher, out, facts)
    if as_json:
        print(json.dumps({**facts, "model": str(out)}))
    else:
        print(f"{shape}: error {facts['error']:.3f} on held-out text after {facts['distillation_tokens']:,} tokens")
        print(f"model: {out}")
