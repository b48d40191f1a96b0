"""`fsp replay speed`: a latency predictor tried on a table of latencies."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fsp.base.progress import Bars
from fsp.base.rounding import at_least
from fsp.cli.options import Columns, Json, names_in


def speed(
    table: Annotated[
        Path, typer.Argument(help="A CSV file with a header, one architecture per row.", show_default=False)
    ],
    parameters: Columns,
    target: Annotated[list[str], typer.Option(help="Column of a latency; may be repeated, then they are summed.")],
    train: Annotated[int, typer.Option(help="Rows to fit to; all others are predicted.")],
    seeds: Annotated[int, typer.Option(help="How many random splits to average over.")] = 1,
    as_json: Json = False,
) -> None:
    """Find out how well latencies are predicted from some rows of a table, without knowing its structure."""
    from fsp.trust.replay.speed import read_latencies, replay_speed

    bars = Bars()
    measured = read_latencies(table, parameters=names_in(parameters), targets=target)
    if measured.rows_missing:
        bars.say(f"{measured.rows_missing} of {measured.rows_read} rows left out: a used column is empty there")
    if measured.rows_merged:
        bars.say(f"{measured.rows_merged} rows repeat another's parameters; their latencies were averaged")
    if measured.constant:
        bars.say(f"left out, as they are the same in every row: {', '.join(measured.constant)}")
    facts = replay_speed(measured, targets=target, train=train, seeds=seeds, display=bars).describe()
    for warning in facts["warnings"]:
        bars.say(f"warning: {warning}")
    if as_json:
        print(json.dumps(facts))
        return
    print(f"fitted to {facts['n_train']} rows, {facts['n_test']} others predicted, mean of {seeds} splits")
    print(f"{'':<24}{'MAPE':>7}{'within 5%':>11}{'within 10%':>12}{'Spearman':>10}")
    for title, score in (("sum of products", facts), ("line in one product", facts["baseline"])):
        print(
            f"{title:<24}{score['mape']:>7.2%}{at_least(score['within_5_percent'], 1):>11}"
            f"{at_least(score['within_10_percent'], 1):>12}{score['spearman']:>10.3f}"
        )
