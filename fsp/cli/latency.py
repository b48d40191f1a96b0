"""`fsp latency`: latencies measured side by side, and predicted for a whole search space."""

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from fsp.base.defaults import BATCH, LENGTH
from fsp.base.files import check_writable
from fsp.base.progress import Bars
from fsp.base.rounding import at_least
from fsp.cli.fields import expanded
from fsp.cli.options import Json, Space
from fsp.deploy.latency.settings import CalibrationSettings, MeasurementSettings

app = typer.Typer(help="Measure and predict latency.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Measure and predict latency."""


@app.command()
@expanded
def measure(
    *,
    networks: Annotated[
        list[str],
        typer.Argument(
            help="Model directories, and search spaces each followed by shapes: minilm D=3,A=8,H=256,I=512 T.",
            show_default=False,
        ),
    ],
    runtime: Annotated[
        list[str] | None,
        typer.Option(help="eager, compile, onnx or int8; may be repeated.", show_default="eager"),
    ] = None,
    settings: MeasurementSettings,
    as_json: Json = False,
) -> None:
    """Time networks side by side: the forward pass alone, medians with 95% intervals, ratios round by round."""
    from fsp.deploy.latency.measuring import measure as timed
    from fsp.deploy.latency.targets import parse_targets

    bars = Bars()
    facts = timed(parse_targets(networks), runtime or ["eager"], settings, display=bars).describe()
    for warning in facts["warnings"]:
        bars.say(f"warning: {warning}")
    print(json.dumps(facts) if as_json else "\n".join(_lines(facts)))


@app.command()
@expanded
def calibrate(
    *,
    space: Space,
    settings: CalibrationSettings,
    out: Annotated[
        Path | None, typer.Option(help="File for the calibration.", show_default="in the user's cache", dir_okay=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure some candidates, predict all others, and show how far off the prediction is on held-out ones."""
    from fsp.deploy.latency.calibrating import calibrate as calibrated
    from fsp.objectives.latency import KEPT, path_for
    from fsp.spaces.loading import load_space

    chosen = load_space(space)
    check_writable(out or path_for(chosen))  # before the long measurement
    found = calibrated(chosen, settings, display=Bars())
    path = out or path_for(chosen, batch=settings.batch, length=settings.length)
    found.save(path)
    facts = found.describe()
    if as_json:
        print(json.dumps({**facts, **found.measurements(), "file": str(path)}))
        return
    print(
        f"{space}: fitted to {facts['n_train']} measured candidates, with T {facts['share_of_cost']:.0%} of the cost "
        f"of all {len(chosen.candidates):,}"
    )
    print(
        f"on {facts['n_test']} others: MAPE {facts['mape']:.1%}, within 10% {at_least(facts['within_10_percent'], 0)}, "
        f"Spearman {facts['spearman']:.3f}; two measurements of one differ by {facts['noise']:.1%}"
    )
    print("milliseconds = " + " + ".join(f"{weight:.3g} {term}" for term, weight in facts["law"].items()))
    usual = out is None and (settings.batch, settings.length) == (BATCH, LENGTH)
    how = f"{KEPT} --threads {facts['threads']}" if usual else shlex.quote(str(path))
    print(f"{path}\nto use it: fsp extract {space} --speed {how}")


def _lines(facts: dict[str, Any]) -> list[str]:
    entries = facts["latencies"]
    width = max(len(entry["name"]) for entry in entries)
    lines = [f"{'':<{width}}  {'runtime':<8}{'median':>10}   {'95% interval':<18}{'ratio':>7}   {'95% interval':<14}"]
    for entry in entries:
        interval = f"{entry['low_ms']:.1f} to {entry['high_ms']:.1f}"
        ratios = f"{entry['ratio_low']:.3f} to {entry['ratio_high']:.3f}"
        line = f"{entry['name']:<{width}}  {entry['runtime']:<8}{entry['median_ms']:>7.1f} ms   {interval:<18}"
        line += f"{entry['ratio']:>7.3f}   {ratios:<14}"
        if "peak_memory_mb" in entry:
            line += f"   {entry['network_memory_mb']:.0f} MB ({entry['peak_memory_mb']:.0f} with libraries)"
        lines.append(line.rstrip())
    place = "" if facts["device"] == "cpu" else f" on {facts['device']}"
    others = "int8" if (facts["device"], facts["dtype"]) == ("cpu", "float32") else "onnx and int8"
    lines.append(
        f"batch {facts['batch']}, {facts['length']} tokens, {facts['threads']} threads, {facts['dtype']}{place} "
        f"but for {others}, {facts['rounds']} rounds; {facts['environment']['processor']}"
    )
    return lines
