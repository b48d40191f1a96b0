"""`fsp extract`: the search alone, or with --plan an estimate of its cost."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fsp.base.errors import InputError
from fsp.base.option import Option
from fsp.base.progress import Bars
from fsp.base.run_folder import CACHE, EVALUATIONS
from fsp.cli.fields import expanded
from fsp.cli.options import Bounds, Json, LimitOfLatency, Source, Space, Speed
from fsp.distillation.settings import SurrogateSettings
from fsp.search.options import SearchOptions

if TYPE_CHECKING:
    from fsp.search.extraction import Extraction
    from fsp.search.planning import Asked

_ERRORS = ("distillation", "mlm")
_BATCH = 16  # blocks per step, as the tasks of text have it
_RUNS = Path("runs")  # below the current folder: where a search without --study keeps its evaluations


@dataclass(frozen=True)
class Sharing:
    """Options for sharing evaluations; each field is documented by its option."""

    study: Annotated[
        str | None,
        Option(
            "Where finished evaluations are kept and shared with workers: a journal file, sqlite:///FILE or "
            "postgresql://USER@HOST/DATABASE.",
            shown="a journal in runs/extract-...",
        ),
    ] = None
    workers: Annotated[int, Option("Processes that evaluate, this one included.")] = 1


@expanded
def extract(
    *,
    space: Space,
    source: Source,
    error: Annotated[
        str,
        typer.Option(
            help="distillation: cut out of the teacher, trained s steps to match it; mlm: BERT from scratch, the "
            "paper's literal procedure."
        ),
    ] = "distillation",
    speed: Speed = "operations",
    limit: LimitOfLatency = None,
    search: SearchOptions,
    fidelities: Annotated[
        str | None,
        typer.Option(
            help="Rising numbers of steps, e.g. 0,16,64: all candidates get the first, the best third the next, ... "
            "(instead of --steps).",
            show_default="none",
        ),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="File for the certificate.", show_default="none", dir_okay=False)
    ] = None,
    settings: SurrogateSettings,
    sharing: Sharing,
    planned: Annotated[
        bool, typer.Option("--plan", help="Print what would be evaluated and what it costs, and train nothing.")
    ] = False,
    bounds: Bounds,
    as_json: Json = False,
) -> None:
    """Search only: evaluate some of the candidates and print the choice and the table."""
    import torch

    from fsp.base.files import check_writable, write_json
    from fsp.distillation.inputs import fitted_to, from_scratch, load_inputs, surrogate
    from fsp.distillation.teacher import load_teacher
    from fsp.distillation.trained import check_trained
    from fsp.search.certificates.settings import CertifiedSettings
    from fsp.search.extraction import answer
    from fsp.search.limits import parse_limits
    from fsp.search.planning import Asked, calibration_for
    from fsp.spaces.loading import load_space
    from fsp.studies.pool import check_cores, start_workers, worker_arguments
    from fsp.studies.store import is_url, open_store

    if error not in _ERRORS:
        raise InputError(f"no error {error!r}; there are {' and '.join(_ERRORS)}")
    if error == "mlm" and search.method is None:
        search = replace(search, method="interval")  # after few steps from scratch, larger is not better
    chosen, bars = load_space(space), Bars()
    check_trained(chosen)
    search = replace(search, limits=parse_limits(limit), fidelities=_numbers(fidelities))
    asked_for = search
    if (search.method or chosen.method) == "certified" and search.seeds is not None:
        asked_for = replace(search, certified=CertifiedSettings(seeds=search.seeds), seeds=None)
    wanted = asked_for.search(chosen)
    if certificate is not None and wanted.method.name != "certified":
        raise InputError("a certificate comes with --method certified; add it, or leave --certificate out")
    if certificate is not None:
        check_writable(certificate)
    study = sharing.study
    if study is not None and not is_url(study):
        check_writable(Path(study))
    check_cores(sharing.workers, settings.processor_threads)
    torch.set_num_threads(settings.processor_threads)  # a calibration holds for one number of threads
    speed_of = calibration_for(chosen, speed, wanted.method.name) or "operations"
    if planned:
        if search.fidelities or error != "distillation":
            raise InputError("--plan knows the cost of one fidelity of the error distillation; leave the others out")
        if source.teacher is not None:
            chosen = fitted_to(chosen, load_teacher(source.teacher))
        _print_plan(Asked.of(chosen, wanted, speed_of), settings, as_json)
        return
    inputs = load_inputs(chosen, source.given, bars, task=settings.task, device=settings.place)
    chosen, task = fitted_to(chosen, inputs.teacher), inputs.task
    try:
        task.check_savable()
    except InputError as problem:
        bars.say(f"warning: students of this T cannot be saved, so fsp run refuses it: {problem}")
    asked = Asked.of(chosen, wanted, speed_of)  # raises InputError for limits that cannot be met, before any long work
    options = {name: value for name, value in asdict(search).items() if name not in ("size", "exponents", "certified")}
    question = {
        "space": chosen.describe(),
        "teacher": {"name": inputs.teacher.name, "fingerprint": inputs.teacher.fingerprint},
        "corpus": inputs.data.digest,
        **asdict(settings),
        **options,
        **{"method": wanted.method.name, "speed": speed, "error": error, "threads": settings.processor_threads},
    }
    with tempfile.TemporaryDirectory() if study else _kept(question, bars) as folder:
        cache = Path(folder) / CACHE
        scratch = from_scratch(inputs, settings, chosen) if error == "mlm" else None
        measured = scratch or surrogate(inputs, settings, cache, bars)
        where = study or Path(folder) / EVALUATIONS
        given = {name: getattr(settings, name) for name in ("tokens", "task", "device", "dtype")}
        given |= {"teacher": source.teacher, "column": source.column, "labels": source.labels, "cache": cache}
        helping = worker_arguments(space, where, given, source.texts)
        with start_workers(store := open_store(where), sharing.workers - 1, helping, bars):
            found = answer(asked, measured, study=store, display=bars)
    if certificate is not None:
        write_json(certificate, found.certificate)
    plateau = scratch.plateau.verdict(found.table["error"].dropna().tolist()) if scratch else None
    table = found.table.sort_values(
        "error" if found.objective == "limits" else "w_total", ascending=found.objective == "limits"
    )
    if as_json:
        rows = json.loads(table.to_json(orient="records"))
        print(
            json.dumps(
                {
                    "selected": dict(found.selected),
                    "limits": found.limits,
                    **_facts(found),
                    "evaluations": rows,
                    **({"certificate": found.certificate["result"]} if found.certificate else {}),
                    **({"plateau": plateau.describe()} if plateau else {}),
                }
            )
        )
    else:
        print(f"chosen: {found.selected}")
        print("\n".join(_how_sure(found)))
        if found.row(found.selected).get("head_size_changed", False):
            print("its heads differ in size from T's, so its error includes the cost of changing them")
        if found.certificate:
            print(found.certificate["result"]["statement"])
        if plateau:
            print(plateau.describe())
        print(table.drop(columns=["seed", "failure"]).to_string(index=False, float_format="{:.4g}".format))


@contextmanager
def _kept(question: Mapping[str, Any], display: Bars) -> Iterator[Path]:
    """Lock a search's folder below `runs`; evaluations stay there, and T's outputs are removed after success."""
    from fsp.base.files import digest
    from fsp.base.run_folder import own, preparing, working_in

    folder = _RUNS / f"extract-{digest(question)}"
    new = not _RUNS.exists()
    try:
        with working_in(folder):
            own(folder, dict(question))
            display.say(f"evaluations are kept in {folder}; interrupted, the same command goes on there")
            with preparing(folder):
                yield folder
            shutil.rmtree(folder / CACHE, ignore_errors=True)
    finally:
        if new and not folder.exists():
            with suppress(OSError):
                _RUNS.rmdir()


def _facts(found: "Extraction") -> dict[str, Any]:
    """Return how the choice was made, and the evidence for it."""
    return {
        "method": found.method,
        "interval": found.interval,
        "candidates": len(found.space.candidates),
        "feasible": found.feasible,
        "evaluated": len(found.table),
        "maximal": found.maximal,
        "audit": found.audit,
        "monotonicity": found.evidence().describe(),
        "edges": found.edges(),
        "w_choice": {name: dict(found.best_by(f"w_{name}")) for name in ("total", "encoder")},
        "maximum": {"architecture": dict(found.space.maximum), **found.maximum},
    }


def _how_sure(found: "Extraction") -> list[str]:
    """Return lines that say what was evaluated, and the evidence for and against the choice."""
    from fsp.search.maximal import evidence_text

    evaluated, kind = len(found.table), "within the limits" if found.limits else "candidates"
    if found.method == "maximal":
        taken = evaluated - found.audit
        top = f"all {taken}" if taken == found.maximal else f"the largest {taken} of the {found.maximal}"
        below = f" and {found.audit} below them" if found.audit else ""
        lines = [f"evaluated: {evaluated} of {found.feasible} {kind}: {top} maximal shapes{below}"]
        return [*lines, evidence_text(**found.evidence().describe())]
    every = f", one of every {found.interval} by size" if found.interval and found.interval > 1 else ""
    lines = [f"evaluated: {evaluated} of {found.feasible} {kind}{every}"]
    if found.objective == "limits":
        return lines
    edges = ", ".join(f"{name}={found.selected[name]} is the {end}" for name, end in found.edges().items())
    w = {what: found.best_by(f"w_{name}") for what, name in (("all", "total"), ("encoder", "encoder"))}
    sizes = "".join(f", {name}={value:.10g}" for name, value in found.maximum.items())
    return [
        *lines,
        f"at the edge of the space: {edges}" if edges else "at no edge of the space",
        f"largest W: {w['all']} with p = all parameters, {w['encoder']} with p = encoder parameters",
        f"T: {found.space.maximum}{sizes}, W=0",
    ]


def _numbers(text: str | None) -> list[int] | None:
    """Return whole numbers separated by commas."""
    try:
        return None if text is None else [int(number) for number in text.split(",")]
    except ValueError:
        raise InputError(f"fidelities {text!r} are not numbers of steps; write them as 0,16,64") from None


def _print_plan(asked: "Asked", settings: SurrogateSettings, as_json: bool) -> None:
    from fsp.search.cost import EFFICIENCY, achieved_gflops, training_cost

    space, planned, look = asked.space, asked.plan, asked.search.second_look
    again = 0 if look is None else look.anchors + look.finalists
    times = 1 if look is None else look.longer
    cost = training_cost(
        space,
        planned,
        steps=settings.steps,
        batch=_BATCH,
        length=settings.length,
        gflops=achieved_gflops(),
        again=again,
        longer=times,
    )
    if as_json:
        shapes = space.architectures(planned.table[list(space.names)].to_numpy())
        facts = {"candidates": [dict(shape) for shape in shapes], "evaluations": cost.evaluations, "flops": cost.flops}
        facts |= {name: getattr(planned, name) for name in ("method", "interval", "feasible", "maximal", "audit")}
        print(json.dumps({**facts, "seconds": cost.seconds, "gflops": cost.gflops}))
        return
    print(planned.table.to_string(index=False))
    stops = "at most " if planned.method == "certified" else ""
    print(f"candidates: {stops}{planned.candidates} of {planned.feasible} feasible")
    if planned.method == "certified":
        print("  the search stops earlier, as soon as the gap is proven")
    if planned.maximal is not None:
        taken = planned.candidates - planned.audit
        top = f"all {taken}" if taken == planned.maximal else f"the largest {taken} of the {planned.maximal}"
        audit = f", and {planned.audit} below them, the last ones, to test M" if planned.audit else ""
        print(f"  {top} maximal shapes, which no other within the limits exceeds{audit}")
    if again:
        stops = "at most "  # how many candidates come close to the best is not known beforehand
    longer = f", {times * max(1, settings.steps)} of a finalist or anchor" if again else ""
    print(f"evaluations: {stops}{cost.evaluations}, each of {settings.steps} training steps{longer}")
    print(f"training: {stops}{cost.flops:.2e} FLOPs, {stops}about {_duration(cost.seconds)} on this machine")
    print(f"  ({cost.gflops:.0f} GFLOP/s in a float32 matrix product, {EFFICIENCY:.0%} of that in training)")


def _duration(seconds: float) -> str:
    """Return a time in the largest unit that gives at least 1.5, e.g. 25 min or 1.5 h."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
