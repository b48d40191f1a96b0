"""`fsp pretrain`: pretraining one shape by knowledge distillation."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from fsp.base.errors import InputError
from fsp.cli.distill import shape_of
from fsp.cli.fields import expanded
from fsp.cli.options import Bounds, Json, ModelFolder, OfSpace, Shape, Source
from fsp.distillation.pretraining.settings import PRESETS, Options, PretrainingSettings

_BORT_TEACHER = "FacebookAI/roberta-large"


def _preset(context: typer.Context, name: str | None) -> str | None:
    """Make the preset's values the defaults of this call."""
    if name is not None:
        if name not in PRESETS:
            raise InputError(f"no preset {name!r}; there is {', '.join(PRESETS)}")
        context.default_map = PRESETS[name]
    return name


@expanded
def pretrain(
    *,
    context: typer.Context,
    architecture: Shape = None,
    out: ModelFolder,
    space: OfSpace = "minilm",
    source: Source,
    preset: Annotated[
        str | None,
        typer.Option(
            callback=_preset,
            is_eager=True,
            help="bort: the settings of arXiv 2010.10499; options override them.",
            show_default=False,
        ),
    ] = None,
    no_teacher: Annotated[bool, typer.Option("--no-teacher", help="Train on the text alone.")] = False,
    tokens: Annotated[int | None, typer.Option(help="Token budget.", show_default="--steps")] = None,
    settings: PretrainingSettings,
    options: Options,
    bounds: Bounds,
    as_json: Json = False,
) -> None:
    """Pretrain one shape and save it as a Hugging Face model.

    It learns from the teacher's logits or hidden states, or from the text alone. Interrupted, the same command goes on
    where it was. Run it under torchrun for several processes.
    """
    shape = shape_of(architecture or (["bort"] if preset == "bort" else []))
    if tokens is not None:
        if getattr(context.get_parameter_source("steps"), "name", None) == "COMMANDLINE":
            raise InputError("give --tokens or --steps, not both")
        settings = replace(settings, steps=max(1, tokens // (settings.batch * settings.length)))
    from fsp.distillation.pretraining.run import pretrain as train

    found = train(
        shape,
        out,
        teacher=source.teacher or (_BORT_TEACHER if preset else _default_teacher(space)),
        corpus=source.texts,
        column=source.column,
        settings=settings,
        use_teacher=not no_teacher,
        options=options,
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
