"""`fsp distill`: a short distillation of one shape."""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fsp.base.errors import InputError, check_least
from fsp.base.progress import Bars
from fsp.cli.fields import expanded
from fsp.cli.options import Bounds, Json, ModelFolder, OfSpace, Seed, Shape, Source, Threads
from fsp.distillation.settings import Budget, Running, SurrogateSettings

if TYPE_CHECKING:
    from fsp.families.architecture import Architecture


@expanded
def distill(
    *,
    architecture: Shape = None,
    out: ModelFolder,
    space: OfSpace = "minilm",
    source: Source,
    budget: Budget,
    seed: Seed = 0,
    threads: Threads = None,
    running: Running,
    bounds: Bounds,
    as_json: Json = False,
) -> None:
    """Distil one shape in minutes and save it as a model of the teacher's kind.

    It is cut out of the teacher and trained to match its outputs; for longer training use `fsp pretrain`.
    """
    from fsp.base.files import check_writable
    from fsp.distillation.budget import extended
    from fsp.distillation.inputs import load_inputs, surrogate
    from fsp.distillation.saving import distill as train
    from fsp.distillation.saving import save_student
    from fsp.distillation.tasks.task import Making
    from fsp.spaces.loading import load_space

    shape = shape_of(architecture)
    if shape is None:
        raise InputError("name an architecture, as D=3 A=8 H=256 I=768")
    check_least({"seed": seed}, seed=0)
    settings = budget.first(SurrogateSettings(threads=threads, **vars(running)))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} already exists; choose a new directory")
    check_writable(out / "config.json")
    bars = Bars()
    inputs = load_inputs(load_space(space), source.given, bars, task=running.task, device=running.place)
    inputs.teacher.check(shape)
    inputs.task.check_savable()
    with tempfile.TemporaryDirectory() as cache:
        error = surrogate(inputs, settings, Path(cache), bars)
        error, tokens = extended(error, shape, inputs.data, settings, budget, Making(Path(cache), bars))
        student, losses = train(shape, error, tokens=tokens, seed=seed, display=bars)
        facts = {
            "architecture": str(shape),
            "teacher": inputs.teacher.name,
            "task": inputs.task.name,
            f"distillation_{inputs.task.unit}": len(losses) * error.units_per_step,
            "error": error.measure(student, error.material.test),
            "readout_parameters": student.readout_parameters,
        }
        save_student(student, inputs.task, out, facts)
    if as_json:
        print(json.dumps({**facts, "model": str(out)}))
    else:
        done = f"{len(losses) * error.units_per_step:,} {inputs.task.unit}"
        print(f"{shape}: error {facts['error']:.3f} on held-out data after {done}")
        print(f"model: {out}")


def shape_of(words: list[str] | None) -> "Architecture | None":
    """Return an architecture given as `bort`, as a shape, or by a file or folder of a result; None without words."""
    from fsp.base.files import read_json
    from fsp.families.architecture import Architecture

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
