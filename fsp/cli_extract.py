"""`fsp extract`: the search alone, or with --plan what it would cost."""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fsp.cli_options import (
    Anchors,
    CorpusOption,
    Finalists,
    Interval,
    Json,
    Limit,
    Longer,
    MaxMemory,
    MaxTime,
    Seed,
    Space,
    Steps,
    Teacher,
    Threads,
)
from fsp.errors import InputError
from fsp.progress import Bars
from fsp.workload import LONGER

if TYPE_CHECKING:
    from fsp.inputs import Settings
    from fsp.planning import Plan
    from fsp.space import SearchSpace

_ERRORS = ("distillation", "mlm")


def extract(
    space: Space,
    teacher: Teacher = None,
    corpus: CorpusOption = None,
    error: Annotated[
        str,
        typer.Option(
            help="distillation: cut out of the teacher, trained s steps to match it; mlm: from scratch, the paper's "
            "literal procedure."
        ),
    ] = "distillation",
    objective: Annotated[
        str, typer.Option(help="limits: least error within the limits; w: largest W-coefficient.")
    ] = "limits",
    speed: Annotated[
        str,
        typer.Option(help="operations; calibrated: latency as predicted after fsp latency calibrate; or its file."),
    ] = "operations",
    limit: Limit = None,
    method: Annotated[
        str, typer.Option(help="interval: every K-th candidate; certified: until the gap is proven.")
    ] = "interval",
    interval: Interval = None,
    gap: Annotated[float, typer.Option(help="For certified, the gap to prove: 0.05 for 5%.")] = 0.05,
    certificate: Annotated[
        Path | None, typer.Option(help="File for the certificate.", show_default="none", dir_okay=False)
    ] = None,
    steps: Steps = 16,
    finalists: Finalists = 1,
    anchors: Anchors = 0,
    longer: Longer = LONGER,
    fidelities: Annotated[
        str | None,
        typer.Option(
            help="Rising numbers of steps, as 0,16,64: all candidates get the first, the best third the next, ... "
            "(instead of --steps).",
            show_default="none",
        ),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(
            help="What keeps finished evaluations and is shared with workers: a journal file, sqlite:///FILE or "
            "postgresql://USER@HOST/DATABASE.",
            show_default="none",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that evaluate, this one included.")] = 1,
    seed: Seed = 0,
    threads: Threads = None,
    planned: Annotated[
        bool, typer.Option("--plan", help="Print what would be evaluated and what it costs, and train nothing.")
    ] = False,
    max_time: MaxTime = None,
    max_memory: MaxMemory = None,
    as_json: Json = False,
) -> None:
    """Search only: evaluate some of the candidates and print the choice and the table."""
    import torch

    from fsp.extraction import calibration_for
    from fsp.extraction import extract as search
    from fsp.families._others import check_trained
    from fsp.files import write_json
    from fsp.inputs import SEARCH_TOKENS, Settings, fitted_to, literal, load_inputs, surrogate
    from fsp.planning import check_method, plan
    from fsp.search.limits import parse_limits
    from fsp.space import load_space
    from fsp.storage import open_store
    from fsp.training.teacher import load_teacher
    from fsp.workers import beside, check_cores, worker_arguments

    rungs = _numbers(fidelities)
    again: dict[str, Any] = {"finalists": finalists, "longer": longer}
    check_method(method, interval=interval, gap=gap, anchors=anchors, **again, fidelities=rungs)
    if error not in _ERRORS:
        raise InputError(f"no error {error!r}; there are {' and '.join(_ERRORS)}")
    if certificate is not None and method != "certified":
        raise InputError("a certificate comes with --method certified; add it, or leave --certificate out")
    settings = Settings(
        parse_limits(limit), interval, steps, tokens=SEARCH_TOKENS, seed=seed, threads=threads, anchors=anchors, **again
    )
    check_cores(workers, settings.processor_threads)
    asked: dict[str, Any] = {"objective": objective, "limits": settings.limits, "interval": interval}
    asked |= {"method": method, "seed": seed, "anchors": anchors}
    chosen, bars = load_space(space), Bars()
    check_trained(chosen)
    torch.set_num_threads(settings.processor_threads)  # a calibration is one for so many threads
    calibration = calibration_for(chosen, speed, method)
    if planned:
        if rungs or error != "distillation":
            raise InputError("--plan knows the cost of one fidelity of the error distillation; leave the others out")
        if teacher is not None:
            chosen = fitted_to(chosen, load_teacher(teacher))
        _print_plan(chosen, plan(chosen, **asked, calibration=calibration), settings, as_json)
        return
    inputs = load_inputs(chosen, teacher, corpus or (), bars)
    chosen = fitted_to(chosen, inputs.teacher)
    plan(chosen, **asked, calibration=calibration)  # refuses what cannot be met before anything long begins
    with tempfile.TemporaryDirectory() as cache:
        scratch = literal(inputs, settings, chosen) if error == "mlm" else None
        asked["speed"] = calibration or "operations"
        asked["error"] = scratch or surrogate(inputs, settings, Path(cache), bars)
        where = study or (Path(cache) / "evaluations.journal" if workers > 1 else None)
        helping = worker_arguments(space, where or "", teacher, corpus or (), tokens=settings.tokens, cache=Path(cache))
        with beside(store := open_store(where), workers - 1, helping, bars):
            found = search(
                chosen,
                gap=gap,
                **again,
                fidelities=rungs,
                study=store if where else None,
                display=bars,
                **asked,
            )
    if certificate is not None:
        write_json(certificate, found.certificate)
    plateau = scratch.plateau.verdict(found.table["error"].dropna().tolist()) if scratch else None
    table = found.table.sort_values("error" if objective == "limits" else "w_total", ascending=objective == "limits")
    if as_json:
        rows = json.loads(table.to_json(orient="records"))
        print(
            json.dumps(
                {
                    "selected": dict(found.selected),
                    "limits": found.limits,
                    "interval": found.interval,
                    "evaluations": rows,
                    **({"certificate": found.certificate["result"]} if found.certificate else {}),
                    **({"plateau": plateau.describe()} if plateau else {}),
                }
            )
        )
    else:
        print(f"chosen: {found.selected}")
        if found.row(found.selected).get("head_size_changed", False):
            print("its heads have another size than T's, so its error also tells the cost of changing them")
        if found.certificate:
            print(found.certificate["result"]["statement"])
        if plateau:
            print(plateau.describe())
        print(table.drop(columns=["seed", "failure"]).to_string(index=False, float_format="{:.4g}".format))


def _numbers(text: str | None) -> list[int] | None:
    """Whole numbers separated by commas."""
    try:
        return None if text is None else [int(number) for number in text.split(",")]
    except ValueError:
        raise InputError(f"fidelities {text!r} are no numbers of steps; give them as 0,16,64") from None


def _print_plan(space: "SearchSpace", planned: "Plan", settings: "Settings", as_json: bool) -> None:
    from fsp.cost import EFFICIENCY, achieved_gflops, training_cost
    from fsp.objectives.error import DistillationSettings

    again = settings.anchors + (settings.finalists if settings.finalists > 1 or settings.anchors else 0)
    cost = training_cost(
        space,
        planned,
        steps=settings.steps,
        batch=DistillationSettings().batch,
        length=settings.length,
        gflops=achieved_gflops(),
        again=again,
        longer=settings.longer,
    )
    if as_json:
        shapes = space.architectures(planned.table[list(space.names)].to_numpy())
        facts = {"candidates": [dict(shape) for shape in shapes], "evaluations": cost.evaluations, "flops": cost.flops}
        print(json.dumps({**facts, "seconds": cost.seconds, "gflops": cost.gflops}))
        return
    print(planned.table.to_string(index=False))
    stops = "" if planned.interval else "at most "
    print(f"candidates: {stops}{planned.candidates} of {planned.feasible} feasible")
    if not planned.interval:
        print("  the search stops earlier, as soon as the gap is proven")
    if again:
        stops = "at most "  # how many are near-equals of the best is not known beforehand
    longer = f", {settings.longer * max(1, settings.steps)} of a finalist or anchor" if again else ""
    print(f"evaluations: {stops}{cost.evaluations}, each of {settings.steps} training steps{longer}")
    print(f"training: {stops}{cost.flops:.2e} FLOPs, {stops}about {_duration(cost.seconds)} on this machine")
    print(f"  ({cost.gflops:.0f} GFLOP/s in a float32 matrix product, {EFFICIENCY:.0%} of that in training)")


def _duration(seconds: float) -> str:
    """Return a time in the largest unit of which there is at least one and a half, e.g. 25 min or 1.5 h."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
