"""Searches below the T's of five families: what ranking, healing and distilling give, and whether s = 0 errors rank.

    python experiments/families/run.py mlp vit llama gpt2 modernbert    # resumable; see README.md for times

Per family it makes the complete run (`fsp run`), then for the shape chosen: cut by the norms of the weights, ranked on
data, healed, and trained from random weights for the same steps (so for equal FLOPs); then the errors of shapes evenly
spaced by size after 0 and after many steps. Everything lies below `--out`; results.json is written beside this file.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fsp import Architecture, load_space
from fsp.base.files import read_json, write_json
from fsp.base.progress import Bars
from fsp.distillation.cutting import Cutter
from fsp.distillation.error import Distillation
from fsp.distillation.inputs import Inputs, fitted_to, load_inputs, surrogate
from fsp.distillation.samples import Part, Samples
from fsp.distillation.saving import distill
from fsp.distillation.settings import SurrogateSettings
from fsp.distillation.source import Source
from fsp.distillation.tasks.task import Making
from fsp.distillation.text.corpus import Corpus
from fsp.objectives.table import objectives_of
from fsp.run import run
from fsp.search.options import LeastError
from fsp.trust.agreement import spearman, spearman_in_bands

HERE = Path(__file__).parent
LONG = 300  # steps
SHAPES = 15  # whose s = 0 errors are compared with those after LONG steps
EVERY = 6  # one passage in so many of T's text
SAMPLES = ("mlp", "vit")
BUDGET = {"mlp": 131_072, "vit": 65_536}  # samples; text: TOKENS
TOKENS = 262_144


class ByNorms(Cutter):
    """A cutter that ranks parts by the norms of their weights, without data, as the baseline."""

    def _rank(self) -> None:
        super()._rank()
        total: Any = 0
        for k, b in self._places:
            branch = self._anatomy.branches[b]
            for module in branch.reads:
                total = total + self._matrix(self._network, self._name(k, module), reads=True).square().sum(dim=0)
            if branch.unit is not None and branch.unit not in self._anatomy.groups:
                assert branch.writes is not None
                write = self._matrix(self._network, self._name(k, branch.writes), reads=False)
                norms = write.unflatten(1, (self._full[branch.unit], -1)).square().sum(dim=(0, 2))
                self._order[branch.unit, k] = norms.argsort(descending=True, stable=True)
        self._hidden_order = total.argsort(descending=True, stable=True)


def data_of(family: str, teachers: Path) -> list[str | Path]:
    """Return the data of a family: digits, or part of the text that T was trained on."""
    if family in SAMPLES:
        path = teachers / "images" / f"{family}.npz"
        if not path.exists():
            found = np.load(teachers / "images" / "train.npz")
            key = "values" if family == "mlp" else "images"
            np.savez(path, **{key: found[key], "labels": found["labels"]})
        return [path]
    path = teachers / "text" / "part.txt"
    if not path.exists():
        passages = (teachers / "text" / "train.txt").read_text(encoding="utf-8").split("\n\n")
        path.write_text("\n\n".join(passages[::EVERY]), encoding="utf-8")
    return [path]


def untrained(error: Distillation, shape: Architecture, steps: int) -> float:
    """Return the error of the shape trained from random weights on T's outputs for so many steps."""
    teacher = error.teacher
    assert teacher.family.anatomy is not None
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = teacher.family.anatomy.sources(teacher.architecture["D"], shape["D"])
        network = teacher.family.resized(teacher.network, shape, layers)
    student = error.student(shape)
    student.network = network.eval()
    error.train(student, steps=steps, seed=0)
    return error.measure(student, error.material.test)


def elsewhere(
    error: Distillation, inputs: Inputs, shape: Architecture, settings: SurrogateSettings, teachers: Path, cache: Path
) -> dict[str, Any]:
    """Return error and figures of a shape, distilled as in the run, on digits or a register that T has not seen."""
    family = inputs.teacher.name
    data: Any
    if family in SAMPLES:
        digits = np.load(teachers / "images" / "test.npz")
        part = Part(digits["values" if family == "mlp" else "images"].astype(np.float32), digits["labels"])
        data = Samples(part, part, part, "unseen")
    else:
        data = Corpus.of([(teachers / "text" / "other.txt").read_text(encoding="utf-8")[:1_500_000]])
    other = inputs.task.material(data, settings, Making(cache))
    student, _ = distill(shape, error, tokens=settings.tokens)
    return {"error": error.measure(student, other.test), **inputs.task.measured({"choice": student}, other)}


def family_results(family: str, teachers: Path, out: Path) -> dict[str, Any]:
    space, teacher, display = load_space(HERE / f"{family}.toml"), str(teachers / family), Bars()
    source = Source(teacher, data_of(family, teachers))
    budget = BUDGET.get(family, TOKENS)
    settings = SurrogateSettings(steps=16, tokens=budget, threads=1, device="cpu")
    search = LeastError(limits={"encoder_parameters": "25%", "operations": "25%"})
    result = run(
        space, out / family, teacher=teacher, corpus=source.data, search=search, settings=settings, display=display
    )
    inputs = load_inputs(space, source, display)
    error = surrogate(inputs, settings, out / "cache" / family, display)
    space = fitted_to(space, inputs.teacher)
    choice, test = Architecture(result["selected"]), error.material.test
    known = out / f"{family}.json"
    found: dict[str, Any] = read_json(known) if known.exists() else {}

    def keep(name: str, compute: Any) -> Any:
        if name not in found:
            found[name] = compute()
            write_json(known, found)
            print(family, name, found[name], flush=True)
        return found[name]

    def as_cut(cutter: Cutter, *, heal: bool) -> float:
        student = error.task.fresh(cutter.cut(choice, heal=heal))
        error.task.fit(student, error.material)
        return error.measure(student, test)

    norms = ByNorms(inputs.teacher.network, inputs.teacher.family, error.material.calibration)
    keep("by norms", lambda: as_cut(norms, heal=False))
    keep("ranked", lambda: as_cut(error.cutter, heal=False))
    keep("healed", lambda: as_cut(error.cutter, heal=True))
    keep("random", lambda: untrained(error, choice, error.steps_for(budget)))
    keep("elsewhere", lambda: elsewhere(error, inputs, choice, settings, teachers, out / "cache" / family))
    points = space.candidates
    table = objectives_of(space, points).sort_values("encoder_parameters", ignore_index=True)
    chosen = table.iloc[np.unique(np.linspace(0, len(table) - 1, SHAPES).round().astype(int))]
    pairs = []
    for shape in space.architectures(chosen[list(space.names)].to_numpy()):
        short = keep(f"{shape} s=0", lambda shape=shape: error.with_steps(0)(shape))
        pairs.append((short, keep(f"{shape} s={LONG}", lambda shape=shape: error.with_steps(LONG)(shape, seed=1))))
    short, long = np.array(pairs).T
    size = chosen["encoder_parameters"].to_numpy(dtype=float)
    bands = np.searchsorted(np.quantile(size, (1 / 3, 2 / 3)), size, side="right")
    models = {model["name"]: model for model in result["models"]}
    return {
        "task": result["task"]["name"],
        "candidates": len(points),
        "choice": dict(choice),
        "share of encoder parameters": models["choice"]["encoder_parameters"] / models["T"]["encoder_parameters"],
        "mean": result["controls"]["mean"],
        "errors": {name: found[name] for name in ("by norms", "ranked", "healed", "random")}
        | {"distilled": models["choice"]["error"]["mean"]}
        | {name: models[name]["error"]["mean"] for name in ("even", "layer drop") if name in models},
        "figures": {
            name: {kind: one["mean"] for kind, one in model["figures"].items()} for name, model in models.items()
        },
        "elsewhere": found["elsewhere"],
        "spearman": spearman(short, long),
        "spearman_in_bands": spearman_in_bands(short, long, bands),
        "shapes": len(pairs),
        "steps": LONG,
        "seconds": result["seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--teachers", type=Path, default=Path("runs/families"))
    parser.add_argument("--out", type=Path, default=Path("runs/families/searches"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = HERE / "results.json"
    for name in options.names:
        results = json.loads(path.read_text()) if path.exists() else {}
        results[name] = family_results(name, options.teachers, options.out)
        write_json(path, results)


if __name__ == "__main__":
    main()
