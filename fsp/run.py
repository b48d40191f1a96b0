"""The complete run: load, search, distil, measure, report; resumable at every step."""

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fsp.base.errors import InputError, check_least
from fsp.base.files import read_json, write_json, write_text
from fsp.base.progress import Progress
from fsp.base.run_folder import CACHE, EVALUATIONS, SCHEMA, own, preparing, working_in
from fsp.base.timing import environment
from fsp.base.version import __version__
from fsp.distillation.error import Distillation
from fsp.distillation.examples import Examples
from fsp.distillation.inputs import Inputs, fitted_to, load_inputs, surrogate
from fsp.distillation.measuring import latencies
from fsp.distillation.saving import distill, keep_student, load_student, save_student
from fsp.distillation.settings import SurrogateSettings
from fsp.distillation.source import Source
from fsp.distillation.student import Student
from fsp.families.architecture import Architecture
from fsp.objectives.table import objectives_at
from fsp.report.pages import write_pages
from fsp.search.baselines import layer_drop, most_even
from fsp.search.extraction import Extraction, answer
from fsp.search.options import LeastError
from fsp.search.planning import Asked
from fsp.spaces.space import SearchSpace
from fsp.trust.on_record import card_for


def run(
    space: SearchSpace,
    out: str | Path,
    *,
    teacher: str | None = None,
    corpus: Sequence[str | Path] = (),
    column: str | None = None,
    labels: str | None = None,
    search: LeastError | None = None,
    settings: SurrogateSettings | None = None,
    seeds: int = 1,
    card: Path | None = None,
    display: Progress | None = None,
) -> dict[str, Any]:
    """Extract, distil, measure and report; return the content of `result.json`.

    Args:
        space: the search space.
        out: folder for everything that is written.
        teacher: T, a directory or a hub name; None for the one that the space names.
        corpus: files and folders of text, rows, images or arrays; empty for the documentation of Python's standard
            library.
        column: name of the column of the text, if the data has rows.
        labels: name of the column of the labels, if a classifier's samples are rows.
        search: options of the search.
        settings: settings of the surrogate, with T's task and device; its tokens are also the budget of each final
            distillation.
        seeds: number of final distillations of each model; 3 or more give intervals.
        card: a report card of the surrogate error to show in the report; None for the one on record for T, if any.
        display: where progress goes.

    Writes `result.json`, `evaluations.csv`, `pareto.png`, `report.html` and `model/` below `out`. Interrupted, the
    same call goes on where it was; completed, it returns the result at once.

    Raises:
        InputError: something given cannot be used, or `out` holds something else.
        RunFailed: every candidate failed, or a final distillation diverged.
    """
    settings, display, out = settings or SurrogateSettings(), display or Progress(), Path(out)
    started = time.perf_counter()
    check_least({"seeds": seeds}, seeds=1)
    options = search or LeastError()
    if (options.method or space.method) == "certified":
        raise InputError("fsp run takes any method but certified; a certified choice comes from fsp extract")
    wanted = options.search(space)
    asked_for = {**asdict(options), **asdict(settings), "seeds": seeds}
    asked_for |= {"method": wanted.method.name, "threads": settings.processor_threads}
    with working_in(out):
        source = Source(teacher, corpus, column, labels)
        inputs = load_inputs(space, source, display, task=settings.task, device=settings.place)
        inputs.task.check_savable()
        space = fitted_to(space, inputs.teacher)
        asked = Asked.of(space, wanted)
        trust = card_for(inputs.teacher.fingerprint, inputs.task.name, settings.steps, card)
        configuration = _configuration(space, inputs, asked_for)
        own(out, configuration)
        if (out / "result.json").exists():
            display.say(f"{out} already holds this run's result")
            shutil.rmtree(out / CACHE, ignore_errors=True)
            return read_json(out / "result.json")
        with preparing(out):
            error = surrogate(inputs, settings, out / CACHE, display)
        extraction = answer(asked, error, study=out / EVALUATIONS, display=display)
        students = _final_students(asked, error, extraction, out, settings.tokens, seeds, display)
        models = _measure(inputs, error, extraction, students, display)
        result = {
            "schema": SCHEMA,
            "fsp": __version__,
            "config": configuration,
            "given": {
                "teacher": teacher,
                "corpus": [str(path) for path in corpus],
                "column": column,
                "labels": labels,
                **{name: getattr(settings, name) for name in ("task", "device", "dtype")},
            },
            "task": {
                "name": inputs.task.name,
                "compares": inputs.task.compares,
                "figures": dict(inputs.task.figures),
                "unit": inputs.task.unit,
                "loaded_by": inputs.task.loaded_by,
            },
            "controls": error.controls(),
            **_search_facts(extraction),
            "models": models,
            "card": trust,
            "held_out": held_out(error.material.test, inputs.task.unit),
            "environment": environment(),
            "seconds": round(time.perf_counter() - started, 1),
        }
        with display.bar("writing the report", 1) as advance:
            _write(out, result, extraction, students["choice"][0], inputs)
            advance(1)
    return result


Students = dict[str, list[Student]]  # by contender, one per seed


def _final_students(
    asked: Asked, error: Distillation, extraction: Extraction, out: Path, budget: int, seeds: int, display: Progress
) -> Students:
    """Distil the choice and the baselines, each once per seed, or load those that an earlier call has distilled."""
    space, selected = extraction.space, extraction.selected
    contenders = {
        "choice": selected,
        "even": most_even(space, asked.everything, selected),
        "layer drop": layer_drop(space, float(extraction.row(selected)["encoder_parameters"])),
    }
    students: Students = {}
    for name, shape in contenders.items():
        if shape is None:
            continue
        students[name] = []
        for seed in range(asked.search.seed, asked.search.seed + seeds):
            folder = out / CACHE / f"{str(shape).replace(' ', '-')}-seed{seed}"
            if not folder.exists():
                label = f"distilling {name}, seed {seed}"
                student, _ = distill(shape, error, tokens=budget, seed=seed, label=label, display=display)
                keep_student(student, folder)
            students[name].append(load_student(folder, error.teacher))
    return students


def _measure(
    inputs: Inputs, error: Distillation, extraction: Extraction, students: Students, display: Progress
) -> list[dict[str, Any]]:
    """Return the measurements of T and of each contender on the test examples."""
    task, material = inputs.task, error.material
    copies = {(name, k): student for name, each in students.items() for k, student in enumerate(each)}
    with display.bar("measuring on held-out data", 1 + len(copies)) as advance:
        errors = {"T": [0.0], **{name: [] for name in students}}
        for (name, _), student in copies.items():
            errors[name].append(error.measure(student, material.test))
            advance(1)
        flat = task.measured({f"{name} {k}": student for (name, k), student in copies.items()}, material)
        advance(1)
    timed = latencies(task, {name: each[0] for name, each in students.items()}, display=display)
    shapes = {"T": inputs.teacher.architecture, **{name: each[0].architecture for name, each in students.items()}}
    return [
        {
            "name": name,
            "architecture": dict(shape),
            **objectives_at(extraction.space, shape, also=extraction.limits),
            "readout_parameters": students[name][0].readout_parameters if name in students else 0,
            "latency": asdict(timed[name]),
            "error": _summary(errors[name]),
            "figures": {
                kind: _summary([flat[key][kind] for key in _keys(name, len(errors[name]))])
                for kind in task.figures
                if kind in flat["T"]
            },
        }
        for name, shape in shapes.items()
    ]


def _keys(name: str, seeds: int) -> list[str]:
    return ["T"] if name == "T" else [f"{name} {k}" for k in range(seeds)]


def _search_facts(extraction: Extraction) -> dict[str, Any]:
    evidence = extraction.evidence()
    return {
        "search": {
            "method": extraction.method,
            "interval": extraction.interval,
            "candidates": len(extraction.space.candidates),
            "feasible": extraction.feasible,
            "maximal": extraction.maximal,
            "audit": extraction.audit,
            "monotonicity": evidence.describe(),
            "evaluated": len(extraction.table),
            "failed": int(extraction.table["error"].isna().sum()),
            "limits": extraction.limits,
            "finalists": [_finalist(extraction.row(shape), shape) for shape in extraction.finalists],
        },
        "selected": dict(extraction.selected),
        "search_error": float(extraction.row(extraction.selected)["error"]),
        "w_choice": {name: _w_choice(extraction, f"w_{name}") for name in ("total", "encoder")},
    }


def _finalist(row: pd.Series, shape: Architecture) -> dict[str, Any]:
    longer = float(row["finalist_error"])
    return {
        "architecture": dict(shape),
        "error": float(row["error"]),
        "longer_error": None if math.isnan(longer) else longer,
    }


def _write(out: Path, result: dict[str, Any], extraction: Extraction, student: Student, inputs: Inputs) -> None:
    """Write all files of a run; result.json comes last, because it marks the run as complete."""
    choice = next(model for model in result["models"] if model["name"] == "choice")
    facts = {
        "architecture": str(extraction.selected),
        "teacher": inputs.teacher.name,
        "task": inputs.task.name,
        f"distillation_{inputs.task.unit}": result["config"]["tokens"],
        "error": choice["error"]["values"][0],
        **{kind: found["values"][0] for kind, found in choice["figures"].items()},
        "readout_parameters": choice["readout_parameters"],
    }
    save_student(student, inputs.task, out / "model", facts)
    write_text(out / "evaluations.csv", extraction.table.to_csv(index=False))
    write_pages(result, out)
    write_json(out / "result.json", result)
    shutil.rmtree(out / CACHE, ignore_errors=True)


def _summary(values: list[float]) -> dict[str, Any]:
    """Return the mean over seeds, and with two seeds or more the half-width of its 95% confidence interval."""
    from scipy.stats import t

    n = len(values)
    half = float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else None
    return {"mean": float(np.mean(values)), "half_width_95": half, "values": values}


def _w_choice(extraction: Extraction, column: str) -> dict[str, Any]:
    """Return the evaluated candidate with the largest W, and its error relative to that of the choice."""
    shape = extraction.best_by(column)
    row, chosen = extraction.row(shape), extraction.row(extraction.selected)
    at_edge = [name for name, choices in extraction.space.parameters.items() if shape[name] == min(choices)]
    return {
        "architecture": dict(shape),
        "w": float(row[column]),
        "error": float(row["error"]),
        "error_ratio": float(row["error"] / chosen["error"]),
        "at_lower_edge_in": at_edge,
    }


def held_out(test: Examples, unit: str) -> dict[str, int]:
    """Return the numbers of test examples and of their tokens or samples; a sample is a text however long."""
    return {"examples": len(test), unit: test.tokens if unit == "tokens" else len(test)}


def _configuration(space: SearchSpace, inputs: Inputs, asked_for: dict[str, Any]) -> dict[str, Any]:
    return {
        "space": space.describe(),
        "teacher": {"name": inputs.teacher.name, "fingerprint": inputs.teacher.fingerprint},
        **inputs.task.settings,
        "corpus": inputs.data.digest,
        **asked_for,
    }
