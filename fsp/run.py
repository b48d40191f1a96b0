"""The complete run: load, search, distil, measure, report; resumable at every step."""

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from fsp.base.errors import InputError, check_least
from fsp.base.files import read_json, write_json, write_text
from fsp.base.progress import Progress
from fsp.base.run_folder import CACHE, EVALUATIONS, SCHEMA, own, preparing, working_in
from fsp.base.timing import environment
from fsp.base.version import __version__
from fsp.contenders import Students, beaten, contenders, measured
from fsp.distillation.budget import extended
from fsp.distillation.error import Distillation
from fsp.distillation.examples import Examples
from fsp.distillation.inputs import Inputs, fitted_to, load_inputs, surrogate
from fsp.distillation.samples import Samples
from fsp.distillation.saving import distill, keep_student, load_student, save_student
from fsp.distillation.settings import Budget, SurrogateSettings
from fsp.distillation.source import Source
from fsp.distillation.student import Student
from fsp.distillation.tasks.task import Making
from fsp.distillation.text.corpus import Corpus
from fsp.distillation.text.segmentation import sentences
from fsp.families.architecture import Architecture
from fsp.objectives.table import objectives_at
from fsp.report.pages import write_pages
from fsp.search.baselines import largest, layer_drop
from fsp.search.extraction import Extraction, answer
from fsp.search.options import LeastError
from fsp.search.planning import Asked
from fsp.spaces.space import SearchSpace
from fsp.trust.on_record import card_for

_QUANTISED_ON = 64  # passages, and sentences of them, on which int8 is prepared


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
    budget: Budget | None = None,
    seeds: int = 1,
    card: Path | None = None,
    display: Progress | None = None,
) -> dict[str, Any]:
    """Extract, distil, measure and report; return the content of `result.json`.

    Args:
        space: the search space.
        out: folder for everything that is written.
        teacher: T, a directory or a hub name; None for the one that the space names.
        corpus: files and folders of text, rows, images or arrays; empty for the default text, English of
            seven registers.
        column: name of the column of the text, if the data has rows.
        labels: name of the column of the labels, if a classifier's samples are rows.
        search: options of the search.
        settings: settings of the surrogate, with T's task and device.
        budget: how long each final distillation trains.
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
    budget = budget or Budget()
    started = time.perf_counter()
    check_least({"seeds": seeds}, seeds=1)
    options = search or LeastError()
    if (options.method or space.method) == "certified":
        raise InputError("fsp run takes any method but certified; a certified choice comes from fsp extract")
    wanted = options.search(space)
    asked_for = {**asdict(options), **asdict(settings), **asdict(budget), "seeds": seeds}
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
            first = budget.first(settings)
            error = surrogate(inputs, first, out / CACHE, display)
        extraction = answer(asked, error, study=out / EVALUATIONS, display=display)
        error, tokens = extended(error, extraction.selected, inputs.data, first, budget, Making(out / CACHE, display))
        students = _final_students(asked, error, extraction, out, tokens, seeds, display)
        models = _measure(inputs, error, extraction, students, settings, out / CACHE, display)
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
            "trained": tokens,
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


def _final_students(
    asked: Asked, error: Distillation, extraction: Extraction, out: Path, budget: int, seeds: int, display: Progress
) -> Students:
    """Distil the choice and the baselines, each once per seed, or load those that an earlier call has distilled."""
    space, selected = extraction.space, extraction.selected
    contenders = {
        "choice": selected,
        "largest": largest(space, asked.table),
        "layer drop": layer_drop(space, float(extraction.row(selected)["encoder_parameters"])),
    }
    students: Students = {}
    for name, shape in contenders.items():
        if shape is None or (name != "choice" and shape == selected):
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
    inputs: Inputs,
    error: Distillation,
    extraction: Extraction,
    students: Students,
    settings: SurrogateSettings,
    cache: Path,
    display: Progress,
) -> list[dict[str, Any]]:
    """Return sizes and measurements of T, of each student, and of what its user would have otherwise."""
    data, space = inputs.data, extraction.space
    text = sentences(data.train[:_QUANTISED_ON])[:_QUANTISED_ON] if isinstance(data, Corpus) else []
    if isinstance(data, Samples) and isinstance(data.train.inputs, list):
        text = data.train.inputs[:_QUANTISED_ON]
    found = contenders(error, students, cache / "models", display, text)
    elsewhere = inputs.task.elsewhere(data, settings, Making(cache, display))
    rows = measured(error, found, elsewhere, display)
    bare = {"parameters": 0, "embedding_parameters": 0, "encoder_parameters": 0, "operations": 0}
    for one, row in zip(found, rows, strict=True):
        if one.shape is not None:
            row |= {"architecture": dict(one.shape), **objectives_at(space, one.shape, also=extraction.limits)}
            continue
        readout = one.readout_parameters
        weights = one.size // 4 - readout
        row |= {"architecture": {}, **bare, "parameters": weights, "embedding_parameters": weights}
    for row, by in zip(rows, beaten(rows, inputs.task.larger_is_better), strict=True):
        row["beaten_by"] = by
    return rows


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
    choice = next(model for model in result["models"] if (model["name"], model["runtime"]) == ("choice", "eager"))
    facts = {
        "architecture": str(extraction.selected),
        "teacher": inputs.teacher.name,
        "task": inputs.task.name,
        f"distillation_{inputs.task.unit}": result["trained"],
        "error": choice["error"]["values"][0],
        **{kind: found["values"][0] for kind, found in choice["figures"].items()},
        "readout_parameters": choice["readout_parameters"],
    }
    save_student(student, inputs.task, out / "model", facts)
    write_text(out / "evaluations.csv", extraction.table.to_csv(index=False))
    write_pages(result, out)
    write_json(out / "result.json", result)
    shutil.rmtree(out / CACHE, ignore_errors=True)


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
