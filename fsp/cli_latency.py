"""`fsp latency`: latencies measured side by side, and predicted for a whole search space."""

import json
from typing import Annotated, Any

import typer

from fsp.cli_options import Json, Threads
from fsp.progress import Bars

app = typer.Typer(help="Measure and predict latency.", no_args_is_help=True, rich_markup_mode=None)
Batch = Annotated[int, typer.Option(help="Sequences of an input.")]
Length = Annotated[int, typer.Option(help="Tokens of a sequence.")]


@app.callback()
def _group() -> None:
    """Measure and predict latency."""


@app.command()
def measure(
    networks: Annotated[
        list[str],
        typer.Argument(
            help="Model directories, and search spaces each followed by shapes: minilm D=3,A=8,H=256,I=512 T.",
            show_default=False,
        ),
    ],
    runtime: Annotated[
        list[str] | None,
        typer.Option(help="eager, compile, onnx, int8 or cuda; may be repeated.", show_default="eager"),
    ] = None,
    batch: Batch = 1,
    length: Length = 128,
    rounds: Annotated[int, typer.Option(help="How often each network is timed.")] = 30,
    memory: Annotated[bool, typer.Option("--memory", help="Also measure peak memory.")] = False,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Time networks side by side: the forward pass alone, medians with 95% intervals, ratios round by round."""
    from fsp.latency.measure import measure as timed
    from fsp.latency.targets import parse_targets

    bars = Bars()
    targets = parse_targets(networks)
    facts = timed(
        targets,
        runtime or ["eager"],
        batch=batch,
        length=length,
        rounds=rounds,
        memory=memory,
        threads=threads,
        display=bars,
    ).describe()
    for warning in facts["warnings"]:
        bars.say(f"warning: {warning}")
    print(json.dumps(facts) if as_json else "\n".join(_lines(facts)))


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
    lines.append(
        f"batch {facts['batch']}, {facts['length']} tokens, {facts['threads']} threads, float32 but for int8, "
        f"{facts['rounds']} rounds; {facts['environment']['processor']}"
    )
    return lines
