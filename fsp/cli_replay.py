"""`fsp replay`: search methods and predictors tried on tables of measurements that exist already."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fsp import cli_replay_speed
from fsp.progress import Bars

app = typer.Typer(
    help="Try search methods and predictors on a table of measurements.", no_args_is_help=True, rich_markup_mode=None
)
_CURVE_SHOWN = 8  # points of the curve on the screen; JSON holds them all


@app.callback()
def _group() -> None:
    """Try search methods and predictors on a table of measurements."""


app.command()(cli_replay_speed.speed)


@app.command()
def search(
    table: Annotated[
        Path, typer.Argument(help="A CSV file with a header, one architecture a row.", show_default=False)
    ],
    parameters: Annotated[str, typer.Option(help="Columns that make an architecture, separated by commas.")],
    size: Annotated[str, typer.Option(help="Column of p.")],
    speed: Annotated[str, typer.Option(help="Column of i, smaller is faster.")],
    error: Annotated[str, typer.Option(help="Column of e, smaller is better.")],
    method: Annotated[
        str,
        typer.Option(
            help="interval, certified, fitted, random, tpe, nsga2, gp, params, params-ascending or exhaustive."
        ),
    ],
    evaluations: Annotated[
        int, typer.Option(help="Evaluations of one search; exhaustive evaluates everything regardless.")
    ],
    neutral: Annotated[
        str, typer.Option(help="Parameters of which more is not expected to be better, separated by commas.")
    ] = "",
    objective: Annotated[str, typer.Option(help="w: largest W-coefficient; error: least error.")] = "w",
    max_size: Annotated[float | None, typer.Option(help="Largest p allowed.", show_default="none")] = None,
    max_speed: Annotated[float | None, typer.Option(help="Largest i allowed.", show_default="none")] = None,
    seeds: Annotated[int, typer.Option(help="How often to search, each time with another seed.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Find out how far from the best a search method ends on a measured table, and how soon it gets there."""
    from fsp.replay import replay_search
    from fsp.table import read_table

    bars = Bars()
    measured = read_table(
        table, parameters=_names(parameters), neutral=_names(neutral), size=size, speed=speed, error=error
    )
    if measured.rows_missing:
        bars.say(f"{measured.rows_missing} of {measured.rows_read} rows left out: a used column is empty there")
    if measured.rows_merged:
        bars.say(f"{measured.rows_merged} rows repeat another's parameters; their p, i and e were averaged")
    replay = replay_search(
        measured,
        objective=objective,  # type: ignore[arg-type]
        max_size=max_size,
        max_speed=max_speed,
        method=method,
        evaluations=evaluations,
        seeds=seeds,
        display=bars,
    )
    facts = replay.describe()
    if as_json:
        print(json.dumps(facts))
        return
    if replay.feasible < evaluations:
        bars.say(f"only {replay.feasible} architectures meet the limits; all of them may be evaluated")
    print(
        f"{method}: mean regret {facts['regret_mean']:.2%}, largest {facts['regret_max']:.2%}, after "
        f"{facts['evaluations']} of {replay.feasible} evaluations, {seeds} seeds, {replay.seconds:.2f} s"
    )
    curve = facts["curve"]
    shown = sorted({round(1 + k * (len(curve) - 1) / (_CURVE_SHOWN - 1)) for k in range(_CURVE_SHOWN)})
    print("mean regret after " + ", ".join(f"{k}: {curve[k - 1]:.2%}" for k in shown))
    for title in ("best", "optimum"):
        row = facts[title]
        shape = " ".join(f"{name}={value:g}" for name, value in row["parameters"].items())
        print(f"{title:>7}: {shape} (p {row['size']:g}, i {row['speed']:g}, e {row['error']:g}; line {row['line']})")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
