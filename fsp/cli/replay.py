"""`fsp replay`: search methods and predictors tried on existing tables of measurements."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fsp.base.progress import Bars
from fsp.base.rounding import at_least
from fsp.cli import replay_speed as cli_replay_speed
from fsp.cli.fields import expanded
from fsp.cli.options import Columns, Json, names_in
from fsp.trust.replay.settings import ReplaySettings

if TYPE_CHECKING:
    from fsp.trust.replay.table import Table

app = typer.Typer(
    help="Try search methods, the fitted error and a speed predictor on a table of measurements.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_CURVE_SHOWN = 8  # points of the curve on the screen; JSON has all of them
_RANK_SCORES = {
    "spearman": "Spearman",
    "spearman_in_bands": "Spearman inside size bands",
    "kendall": "Kendall",
    "top10_overlap": "top 10% overlap",
}


@app.callback()
def _group() -> None:
    """Try search methods, the fitted error and a speed predictor on a table of measurements."""


app.command()(cli_replay_speed.speed)


@app.command()
@expanded
def search(
    *,
    table: Annotated[
        Path, typer.Argument(help="A CSV file with a header, one architecture per row.", show_default=False)
    ],
    parameters: Columns,
    size: Annotated[str, typer.Option(help="Column of p.")],
    speed: Annotated[str, typer.Option(help="Column of i, smaller is faster.")],
    error: Annotated[str, typer.Option(help="Column of e, smaller is better.")],
    neutral: Annotated[
        list[str] | None,
        typer.Option(
            help="Parameters whose larger values are not expected to be better, separated by commas; may be repeated.",
            show_default="none",
        ),
    ] = None,
    settings: ReplaySettings,
    as_json: Json = False,
) -> None:
    """Find out how far from the best a search method ends on a measured table, and how quickly it gets there."""
    from fsp.trust.replay.search import replay_search
    from fsp.trust.replay.table import read_table

    bars = Bars()
    measured = read_table(
        table, parameters=names_in(parameters), neutral=names_in(neutral or ()), size=size, speed=speed, error=error
    )
    _say_what_was_read(measured, bars)
    _doubt(error, measured, bars)
    replay = replay_search(measured, settings, display=bars)
    facts = replay.describe()
    if as_json:
        print(json.dumps(facts))
        return
    if replay.feasible < settings.evaluations:
        bars.say(f"only {replay.feasible} architectures meet the limits; all of them may be evaluated")
    print(
        f"{settings.method}: mean regret {facts['regret_mean']:.2%}, largest {facts['regret_max']:.2%}, after "
        f"{facts['evaluations']} of {replay.feasible} evaluations, {settings.seeds} seeds, {replay.seconds:.2f} s"
    )
    curve = facts["curve"]
    shown = sorted({round(1 + k * (len(curve) - 1) / (_CURVE_SHOWN - 1)) for k in range(_CURVE_SHOWN)})
    print("mean regret after " + ", ".join(f"{k}: {curve[k - 1]:.2%}" for k in shown))
    for title in ("best", "optimum"):
        row = facts[title]
        shape = " ".join(f"{name}={value:g}" for name, value in row["parameters"].items())
        print(f"{title:>7}: {shape} (p {row['size']:g}, i {row['speed']:g}, e {row['error']:g}; line {row['line']})")


@app.command()
def error(
    table: Annotated[
        Path, typer.Argument(help="A CSV file with a header, one architecture per row.", show_default=False)
    ],
    parameters: Annotated[
        list[str], typer.Option(help="Columns to fit the error by, all positive, separated by commas; may be repeated.")
    ],
    size: Annotated[str, typer.Option(help="Column of p: its quintiles are the bands, and it is the baseline.")],
    error: Annotated[str, typer.Option(help="Column of e, smaller is better.")],
    train: Annotated[int, typer.Option(help="Rows to fit, chosen at random; all others judge the fit.")] = 30,
    seeds: Annotated[int, typer.Option(help="How many random choices of rows to average over.")] = 20,
    as_json: Json = False,
) -> None:
    """Find out how well an error fitted to some rows of a measured table ranks the others, compared with p alone."""
    from fsp.trust.replay.error import replay_error
    from fsp.trust.replay.table import read_table

    bars = Bars()
    measured = read_table(table, parameters=names_in(parameters), size=size, error=error)
    _say_what_was_read(measured, bars)
    _doubt(error, measured, bars)
    facts = replay_error(measured, train=train, seeds=seeds, display=bars).describe()
    if as_json:
        print(json.dumps(facts))
        return
    print(f"fitted from {train} of {len(measured)} rows, judged on the other {facts['n_test']}; mean of {seeds} seeds")
    for name, title in _RANK_SCORES.items():
        both = ("undefined" if facts[key] is None else f"{facts[key]:.3f}" for key in (name, f"baseline_params_{name}"))
        print(f"{title}: {next(both)}, by {size} alone {next(both)}")
    print(
        f"inside the 90% intervals: {at_least(facts['coverage_90'], 1)} (sd over seeds {facts['coverage_90_sd']:.1%})"
    )


def _say_what_was_read(table: "Table", bars: Bars) -> None:
    if table.rows_missing:
        bars.say(f"{table.rows_missing} of {table.rows_read} rows left out: a used column is empty there")
    if table.rows_merged:
        bars.say(f"{table.rows_merged} rows repeat another's parameters; their measurements were averaged")


def _doubt(column: str, table: "Table", bars: Bars) -> None:
    """Warn if a column given as an error looks like a score, where larger is better."""
    from fsp.trust.replay.table import looks_like_a_score

    if found := looks_like_a_score(column, table):
        bars.say(f"warning: {found}; e is better where it is smaller, so give 1 - accuracy, or a loss")
