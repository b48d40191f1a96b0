"""`fsp error`: how far to trust the surrogate error."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fsp.base.errors import InputError
from fsp.base.progress import Bars
from fsp.base.rounding import at_least
from fsp.base.version import __version__
from fsp.cli.fields import expanded
from fsp.cli.options import Bounds, Json, Limit, Source, Space
from fsp.distillation.settings import Running
from fsp.trust.settings import CardSettings

if TYPE_CHECKING:
    from fsp.trust.card import ReportCard

app = typer.Typer(help="How far to trust the surrogate error.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """How far to trust the surrogate error."""


@app.command()
@expanded
def card(
    *,
    space: Space,
    out: Annotated[Path, typer.Option(help="Folder for card.json, card.csv and all evaluations.")],
    truth: Annotated[
        Path | None,
        typer.Option(
            help="CSV file of true errors, one training per row: the parameters and 'error'.",
            show_default="train a sample long",
        ),
    ] = None,
    source: Source,
    limit: Limit = None,
    asked: CardSettings,
    running: Running,
    bounds: Bounds,
    as_json: Json = False,
) -> None:
    """Compare the surrogate error with the error after long training, inside bands of equal size.

    Interrupted, the same command goes on where it was.
    """
    from fsp.base.files import write_json, write_text
    from fsp.base.run_folder import CACHE, EVALUATIONS, own, preparing, working_in
    from fsp.distillation.inputs import fitted_to, load_inputs, surrogate
    from fsp.distillation.settings import SurrogateSettings
    from fsp.search.limits import parse_limits
    from fsp.search.planning import plan
    from fsp.spaces.loading import load_space
    from fsp.trust.card import LEAST_SHAPES, report_card
    from fsp.trust.on_record import SCHEMA
    from fsp.trust.truth import read_truth, sample, train_truth

    settings = SurrogateSettings(
        asked.steps, tokens=262_144, held_out_tokens=16_384, threads=asked.threads, **vars(running)
    )
    limits = parse_limits(limit)
    bars, chosen = Bars(), load_space(space)
    known, left_out = read_truth(truth, chosen) if truth else (None, 0)
    if left_out:
        bars.say(f"{left_out} rows of {truth} are of shapes that are no candidates of {chosen.name}; left out")
    with working_in(out):
        inputs = load_inputs(chosen, source.given, bars, task=running.task, device=running.place)
        chosen = fitted_to(chosen, inputs.teacher)
        candidates = plan(chosen, limits=limits, interval=1, seed=asked.seed).table
        if known is None and len(candidates) < LEAST_SHAPES:
            raise InputError(
                f"{len(candidates)} candidates meet the limits, and a report card needs {LEAST_SHAPES}; give wider "
                "limits, e.g. --limit operations=100%"
            )
        configuration: dict[str, Any] = {
            "space": chosen.describe(),
            "teacher": inputs.teacher.fingerprint,
            "corpus": inputs.data.digest,
            "task": inputs.teacher.task,
            **inputs.teacher.device.describe(),
            "truth": [str(truth)] if truth else [asked.shapes, asked.truth_steps, asked.truth_seeds, limits],
            "steps": asked.steps,
            "seed": asked.seed,
            "threads": settings.processor_threads,
        }
        own(out, configuration)
        with preparing(out):
            error = surrogate(inputs, settings, out / CACHE, bars)
        study = out / EVALUATIONS
        if known is None:
            known = train_truth(
                chosen,
                error,
                sample(chosen, candidates, asked.shapes),
                steps=asked.truth_steps,
                seeds=asked.truth_seeds,
                study=study,
                display=bars,
            )
        made = report_card(chosen, error, known, study=study, seed=asked.seed, display=bars)
        facts = {
            "schema": SCHEMA,
            "fsp": __version__,
            "space": chosen.name,
            "teacher": inputs.teacher.name,
            "corpus": inputs.data.digest,
            "task": inputs.teacher.task,
            "fingerprint": inputs.teacher.fingerprint,
            "steps": asked.steps,
            **made.describe(),
        }
        write_text(out / "card.csv", made.table.to_csv(index=False))
        write_json(out / "card.json", facts)
    if as_json:
        print(json.dumps(facts))
    else:
        _print(made, asked.steps)
        print(f"\n{out / 'card.json'}, card.csv")


def _print(made: "ReportCard", steps: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for title in (
        "surrogate",
        "Spearman",
        "in size bands (95%)",
        "least",
        "Kendall",
        "top 10%",
        "regret",
        "of 5",
        "of W",
        "of 5",
        "s",
    ):
        table.add_column(title, justify="left" if title == "surrogate" else "right")
    for name, found in made.rankings.items():
        low, high = found.spearman_in_bands_interval
        table.add_row(
            name,
            _number(found.spearman),
            f"{_number(found.spearman_in_bands)} ({_number(low)}-{_number(high)})",
            _number(found.least_in_bands),
            _number(found.kendall),
            _number(found.top10_overlap),
            _percent(max(found.regrets)),
            _percent(max(found.finalists_regrets)),
            _percent(found.w_regret),
            _percent(found.finalists_w_regret),
            f"{made.seconds[name]:.1f}" if name in made.seconds else "-",
        )
    console = Console(highlight=False)
    Console(width=max(console.width, 110), highlight=False).print(table)
    ceiling = next(iter(made.rankings.values()))
    lines = [
        f"{len(made.table)} shapes; regret: largest over five size caps; of 5: where the best five are trained long; "
        "s: seconds per candidate",
        f"noise of the truth: of seeds {_percent(made.noise, 2)}, of text {_percent(made.text_noise, 2)} of the error"
        + (
            f", so that no surrogate is expected above {ceiling.ceiling:.3f} overall and "
            f"{ceiling.ceiling_in_bands:.3f} in bands"
            if ceiling.ceiling == ceiling.ceiling
            else " (unknown: one training per shape)"
        ),
        "steps: the ranking in bands agrees with that of longer training at "
        + ", ".join(f"{value:.2f} ({name})" for name, value in made.stability.items())
        + (f"; {made.suffices} is enough" if made.suffices else "; give more steps"),
        f"noise of the surrogate after {steps} steps: "
        + ("unknown" if made.surrogate_noise is None else f"{made.surrogate_noise:.2%}"),
        "90% intervals of anchors cover "
        + ", ".join(f"{at_least(found['coverage_90'], 0)} ({name})" for name, found in made.anchored.items()),
        f"controls: mean output {made.controls['mean']:.3f}, without layers {made.controls['D=0']:.3f}",
    ]
    if made.fitted:
        lines.append(
            f"fitted, cross-validated: Spearman in bands {made.fitted['spearman_in_bands']:.2f}, "
            f"90% intervals cover {at_least(made.fitted['coverage_90'], 0)}"
        )
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _percent(value: float | None, digits: int = 1) -> str:
    return "-" if value is None or value != value else f"{value:.{digits}%}"


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.2f}"
