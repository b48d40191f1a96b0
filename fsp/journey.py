"""The whole journey of one architecture: load, search, distil, measure, report; resumable at every step."""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fsp
from fsp.data import Corpus, read_corpus, standard_library
from fsp.distillation import distill, load_student, save_student
from fsp.errors import InputError
from fsp.extraction import Extraction, extract, objectives_at, objectives_of, plan
from fsp.files import read_json, remove_unfinished, write_json, write_text
from fsp.measurement import embeddings, latencies, similarity_agreement, student_embeddings
from fsp.objectives.error import Distillation, DistillationSettings
from fsp.progress import Silent
from fsp.search.baselines import layer_drop, most_even
from fsp.space import Architecture, SearchSpace
from fsp.timing import environment
from fsp.training.blocks import READOUT_TOKENS, Material
from fsp.training.student import Student
from fsp.training.teacher import Teacher, load_teacher, packaged_teacher

SCHEMA = 1
_SENTENCES = 512  # held-out sentences; all their pairs are compared
_LEAST_SENTENCES = 50


@dataclass(frozen=True)
class Settings:
    """What a run does, apart from its space, teacher and corpus.

    limits: see `fsp.extract`. interval: K of the FPTAS, None for about 16 evaluations. steps: s of the surrogate.
    tokens: the final distillation's budget, for the choice and for every baseline. seeds: how many final
    distillations of each. length: tokens a training block. held_out_tokens: of validation and test each.
    seed: of everything random. threads: of torch; None for all processors.
    """

    limits: Mapping[str, str | float] | None = None
    interval: int | None = None
    steps: int = 16
    tokens: int = 131_072
    seeds: int = 1
    seed: int = 0
    length: int = 64
    held_out_tokens: int = 8_192
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("tokens", 1), ("seeds", 1), ("seed", 0), ("held_out_tokens", 2048)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise InputError(f"threads must be 1 to 1024, not {self.threads}")


@dataclass(frozen=True)
class Prepared:
    """A trained T, text, and the surrogate error made of them."""

    teacher: Teacher
    corpus: Corpus
    material: Material
    error: Distillation


def prepare(
    teacher: str | Mapping[str, str],
    corpus: Sequence[str | Path],
    settings: Settings,
    cache: Path,
    *,
    check: Callable[[Teacher, Corpus], object] = lambda teacher, corpus: None,
    display: Silent,
) -> Prepared:
    """Load T and the text and compute T's states of it.

    Args:
        teacher: a directory, a hub name, or where an installed package holds it (see `SearchSpace`).
        corpus: files and folders; empty for the documentation of Python's standard library.
        settings: of the run.
        cache: a folder for T's states.
        check: called with T and the corpus before anything long begins or is written.
        display: where progress goes.

    Raises:
        InputError: T or the corpus cannot be used.
    """
    torch.set_num_threads(settings.threads or os.cpu_count() or 1)
    with display.bar("loading the teacher and the text", 2) as advance:
        texts = read_corpus(corpus) if corpus else None  # what the user gave is looked at before the slow part
        if isinstance(teacher, str):
            trained = load_teacher(teacher)
        else:
            trained = load_teacher(packaged_teacher(teacher), name=teacher["name"])
        advance(1)
        split = Corpus.of(standard_library() if texts is None else texts)
        advance(1)
    check(trained, split)
    total = max(settings.tokens, READOUT_TOKENS) + 2 * settings.held_out_tokens
    with display.bar("teacher's states of the text", total) as advance:
        material = Material.prepare(
            trained,
            split,
            cache,
            length=settings.length,
            train_tokens=settings.tokens,
            held_out_tokens=settings.held_out_tokens,
            advance=advance,
        )
    with display.bar("ranking the teacher's parts", 1) as advance:
        error = Distillation(trained, material, DistillationSettings(steps=settings.steps))
        advance(1)
    return Prepared(trained, split, material, error)


def teacher_of(space: SearchSpace, given: str | None) -> str | Mapping[str, str]:
    """Return the teacher that was given, or else the one the space names. Raises InputError where there is neither."""
    if given is None and not space.teacher:
        raise InputError(f"space {space.name} names no trained teacher; give one with --teacher")
    return given or space.teacher


def fitted_to(space: SearchSpace, teacher: Teacher) -> SearchSpace:
    """Return the space with T's own embedding tables. Raises InputError where T is not its maximum point."""
    if teacher.architecture != space.maximum:
        raise InputError(
            f"teacher {teacher.name} is {teacher.architecture}, and the maximum point of space {space.name} is "
            f"{space.maximum}; write a space file with the teacher's shape as its maximum"
        )
    return space.with_constants(teacher.constants)


class _Complete(Exception):
    """The folder already holds this very run's result."""


def run(
    space: SearchSpace,
    out: str | Path,
    *,
    teacher: str | None = None,
    corpus: Sequence[str | Path] = (),
    settings: Settings | None = None,
    display: Silent | None = None,
) -> dict[str, Any]:
    """Extract, distil, measure and report; return the content of `result.json`.

    Writes `result.json`, `evaluations.csv`, `pareto.png`, `report.html` and `model/` below `out`. Interrupted, the
    same call goes on where it was; completed, it returns the result at once.

    Raises:
        InputError: something given cannot be used, or `out` holds something else.
        RunFailed: every candidate failed, or a final distillation diverged.
    """
    settings, display, out = settings or Settings(), display or Silent(), Path(out)
    _refuse_foreign(out)
    started = time.perf_counter()
    with _alone(out):
        remove_unfinished(out)

        def check(trained: Teacher, split: Corpus) -> None:
            if len(split.test_sentences) < _LEAST_SENTENCES:
                raise InputError(
                    f"the corpus is too small: its test part has {len(split.test_sentences)} sentences of its own and "
                    f"needs {_LEAST_SENTENCES}; give about 300 kB of text or more"
                )
            fitted = fitted_to(space, trained)
            plan(fitted, limits=settings.limits, interval=settings.interval)
            _claim(out, _configuration(fitted, trained, split, settings))
            if (out / "result.json").exists():
                raise _Complete

        source = teacher_of(space, teacher)
        try:
            ready = prepare(source, corpus, settings, out / "cache", check=check, display=display)
        except _Complete:
            display.say(f"{out} already holds this run's result")
            shutil.rmtree(out / "cache", ignore_errors=True)
            return read_json(out / "result.json")
        space = fitted_to(space, ready.teacher)
        extraction = extract(
            space,
            error=ready.error,
            limits=settings.limits,
            interval=settings.interval,
            study=out / "evaluations.journal",
            seed=settings.seed,
            display=display,
        )
        return _finish(ready, extraction, out, settings, display, started)


def _finish(
    ready: Prepared, extraction: Extraction, out: Path, settings: Settings, display: Silent, started: float
) -> dict[str, Any]:
    """Distil the choice and the baselines, measure them, and write everything."""
    from fsp.report import write_pages

    space, selected = extraction.space, extraction.selected
    everything = objectives_of(space, space.candidates)
    contenders = {
        "choice": selected,
        "even": most_even(space, everything, selected),
        "layer drop": layer_drop(space, float(extraction.row(selected)["encoder_parameters"])),
    }
    shapes = {name: shape for name, shape in contenders.items() if shape is not None}
    seeds = range(settings.seed, settings.seed + settings.seeds)
    students = {
        (name, seed): _final_student(name, shape, seed, ready, out, settings, display)
        for name, shape in shapes.items()
        for seed in seeds
    }
    sentences = ready.corpus.test_sentences[:_SENTENCES]
    measured: dict[str, dict[str, list[float]]] = {name: {"error": [], "spearman": []} for name in shapes}
    with display.bar("measuring on held-out text", len(students) + 1) as advance:
        reference = embeddings(ready.teacher.model, ready.teacher.tokenizer, sentences)
        advance(1)
        for (name, _), student in students.items():
            measured[name]["error"].append(student.error(ready.material.test))
            theirs = student_embeddings(student, ready.teacher, sentences)
            measured[name]["spearman"].append(similarity_agreement(reference, theirs))
            advance(1)
    timed = latencies(ready.teacher, {name: students[name, settings.seed] for name in shapes}, display=display)

    shapes = {"T": ready.teacher.architecture, **shapes}
    measured["T"] = {"error": [0.0], "spearman": [1.0]}
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "architecture": dict(shape),
            **objectives_at(space, shape),
            "readout_parameters": 0 if name == "T" else students[name, settings.seed].readout_parameters,
            "latency": asdict(timed[name]),
            "error": _summary(measured[name]["error"]),
            "spearman": _summary(measured[name]["spearman"]),
        }
        for name, shape in shapes.items()
    ]
    result = {
        "schema": SCHEMA,
        "fsp": fsp.__version__,
        "config": _configuration(space, ready.teacher, ready.corpus, settings),
        "search": {
            "method": "interval",
            "interval": extraction.interval,
            "candidates": len(space.candidates),
            "feasible": extraction.feasible,
            "evaluated": len(extraction.table),
            "failed": int(extraction.table["error"].isna().sum()),
            "limits": extraction.limits,
        },
        "selected": dict(selected),
        "search_error": float(extraction.row(selected)["error"]),
        "w_choice": {name: _w_choice(extraction, f"w_{name}") for name in ("total", "encoder")},
        "models": rows,
        "held_out": {"test_blocks": len(ready.material.test), "sentences": len(sentences)},
        "environment": environment(),
        "seconds": round(time.perf_counter() - started, 1),
    }
    with display.bar("writing the report", 1) as advance:
        facts = {
            "architecture": str(selected),
            "teacher": ready.teacher.name,
            "distillation_tokens": settings.tokens,
            "error": rows[1]["error"]["mean"],
            "spearman": rows[1]["spearman"]["mean"],
            "readout_parameters": rows[1]["readout_parameters"],
        }
        save_student(students["choice", settings.seed], ready.teacher, out / "model", facts)
        write_text(out / "evaluations.csv", extraction.table.to_csv(index=False))
        write_pages(result, out)
        write_json(out / "result.json", result)  # last: it says that all is there
        advance(1)
    shutil.rmtree(out / "cache", ignore_errors=True)
    return result


def _final_student(
    name: str, shape: Architecture, seed: int, ready: Prepared, out: Path, settings: Settings, display: Silent
) -> Student:
    """Distil a shape further, or load it where an earlier call has done so."""
    folder = out / "cache" / f"{str(shape).replace(' ', '-')}-seed{seed}"
    if not folder.exists():
        label = f"distilling {name}, seed {seed}"
        student, losses = distill(shape, ready.error, tokens=settings.tokens, seed=seed, label=label, display=display)
        save_student(student, ready.teacher, folder, {"architecture": str(shape), "seed": seed, "loss": losses[-1]})
    return load_student(folder)


def _summary(values: list[float]) -> dict[str, Any]:
    """Mean over seeds, and with at least two seeds half the width of its 95% confidence interval."""
    from scipy.stats import t

    n = len(values)
    half = float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else None
    return {"mean": float(np.mean(values)), "half_width_95": half, "values": values}


def _w_choice(extraction: Extraction, column: str) -> dict[str, Any]:
    """What W would have chosen among the evaluated candidates, and what that costs in error."""
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


def _configuration(space: SearchSpace, teacher: Teacher, corpus: Corpus, settings: Settings) -> dict[str, Any]:
    return {
        "space": space.describe(),
        "teacher": {"name": teacher.name, "fingerprint": teacher.fingerprint},
        "corpus": corpus.digest,
        **asdict(settings),
        "threads": torch.get_num_threads(),
    }


def _refuse_foreign(out: Path) -> None:
    """Refuse a folder with content that no run of fsp began."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the results")
    strangers = [p for p in out.iterdir() if p.name not in ("run.json", ".lock")] if out.is_dir() else []
    if strangers and not (out / "run.json").exists():
        raise InputError(f"{out} already holds other files ({strangers[0].name}); choose a new folder")


def _claim(out: Path, configuration: dict[str, Any]) -> None:
    """Note in the folder what is run here, or refuse if it is something else than before."""
    path = out / "run.json"
    if not path.exists():
        write_json(path, {"schema": SCHEMA, "config": configuration})
        return
    before = read_json(path).get("config", {})
    differing = [key for key in configuration if before.get(key) != configuration[key]]
    if differing:
        raise InputError(
            f"{out} holds another run (its {', '.join(differing)} differ); repeat that command or choose a new folder"
        )


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the folder against a second process, and leave no empty folder behind when nothing was written."""
    from filelock import FileLock, Timeout

    existed = out.is_dir()
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / ".lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise InputError(f"another process is working in {out}; wait for it or choose a new folder") from None
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()
        (out / ".lock").unlink(missing_ok=True)
        if not existed and not any(out.iterdir()):
            out.rmdir()
