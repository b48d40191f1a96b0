"""The command line: all commands and the handling of errors. Heavy packages are imported only inside the commands."""

import json
import os
import signal
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fsp.base.errors import InputError, ModelWarning, RunFailed, is_out_of_memory
from fsp.base.progress import Bars
from fsp.base.version import __version__
from fsp.cli import error as cli_error
from fsp.cli import latency as cli_latency
from fsp.cli import replay as cli_replay
from fsp.cli import space as cli_space
from fsp.cli.distill import distill
from fsp.cli.export import export
from fsp.cli.extract import extract
from fsp.cli.fields import expanded
from fsp.cli.finetune import finetune
from fsp.cli.options import Bounds, Json, Limit, Source, Space
from fsp.cli.pretrain import pretrain
from fsp.cli.verify import choose, verify
from fsp.cli.worker import worker
from fsp.distillation.settings import Budget, SurrogateSettings
from fsp.search.options import LeastError

# depending on its version, typer contains click or depends on it; typer's own exceptions lead to the class either way
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

_INTERRUPTED = 130
_TERMINATED = 143
_AGAIN = "the same command goes on where it was"


class _Commands(TyperGroup):
    """The commands. `fsp distill` with an option of `fsp pretrain` runs the latter, as it did in older versions."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] == "distill":
            short, long = ({o for p in self.commands[c].params for o in p.opts} for c in ("distill", "pretrain"))
            if {word.partition("=")[0] for word in args} & (long - short):
                args = ["pretrain", *args[1:]]
                if os.environ.get("RANK", "0") == "0":
                    _complain("note: with options of pretraining, use fsp pretrain instead of fsp distill", 0)
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="fsp",
    cls=_Commands,
    help="Optimal subarchitecture extraction: find, distil and measure the best smaller shape of a network.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(cli_latency.app, name="latency")
app.add_typer(cli_replay.app, name="replay")
app.add_typer(cli_error.app, name="error")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"fsp {__version__}")
        raise typer.Exit


@app.callback()
def _global(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
@expanded
def run(
    *,
    space: Space,
    out: Annotated[Path, typer.Option(help="Folder for everything that is written.")],
    source: Source,
    limit: Limit = None,
    search: LeastError,
    settings: SurrogateSettings,
    budget: Budget,
    seeds: Annotated[int, typer.Option(help="Final distillations of each model; 3 or more give intervals.")] = 1,
    card: Annotated[
        Path | None,
        typer.Option(help="Report card to show in the report, from fsp error card.", show_default="the one on record"),
    ] = None,
    bounds: Bounds,
    as_json: Json = False,
) -> None:
    """Do everything: search, distil the choice, measure it against T and two baselines, report.

    Interrupted, the same command goes on where it was.
    """
    from fsp.run import run as journey
    from fsp.search.limits import parse_limits
    from fsp.spaces.loading import load_space

    result = journey(
        load_space(space),
        out,
        teacher=source.teacher,
        corpus=source.texts,
        column=source.column,
        labels=source.labels,
        search=replace(search, limits=parse_limits(limit)),
        settings=settings,
        budget=budget,
        seeds=seeds,
        card=card,
        display=Bars(),
    )
    if as_json:
        print(json.dumps(result))
    else:
        _last_screen(result, out)


@app.command()
def text(as_json: Json = False) -> None:
    """Download the default text: English of seven registers, and of two more to measure on (34 MB, once)."""
    from fsp.distillation.text.english import fetch

    found = fetch(Bars())
    if as_json:
        print(json.dumps(found))
    else:
        print("\n".join(f"{name:<12}{size / 1e6:6.1f} million characters" for name, size in found.items()))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished run.", show_default=False)], as_json: Json = False
) -> None:
    """Write the figures and report.html of a finished run again."""
    from fsp.report.pages import write_report

    write_report(folder)
    written = [str(folder / name) for name in ("alternatives.png", "pareto.png", "report.html")]
    print(json.dumps({"written": written}) if as_json else "\n".join(written))


app.command("space")(cli_space.space)
app.command("size")(cli_space.size)


def _heading(title: str) -> str:
    """Return a column's title in two lines; of the latency the median alone is shown."""
    return title.replace(", quartiles", "").replace(" (", "\n(").replace(" in ", "\nin ")


def _last_screen(result: dict[str, Any], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from fsp.report.summary import NAMES, columns_of, headline, model_rows

    console = Console(highlight=False)
    console.print()
    for line in headline(result):
        console.print(line, markup=False)
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    columns = {key: title for key, title in columns_of(result).items() if key not in ("encoder", "operations")}
    for title in columns.values():
        left = title in ("model", "shape")
        table.add_column(_heading(title), justify="left" if left else "right", no_wrap=True)
    for row in model_rows(result):
        style = "bold" if row["model"] == NAMES["choice"] else "dim" if row["beaten"] else None
        table.add_row(*(row[key].partition(" (")[0] if key == "latency" else row[key] for key in columns), style=style)
    console.print()
    wide = Console(width=max(console.width, 140), highlight=False)  # long lines are easier to read than wrapped numbers
    wide.print(table)
    console.print()
    for name, what in (
        ("model", result["task"]["loaded_by"]),
        ("report.html", "open it in a browser"),
    ):
        console.print(f"{out / name}  ({what})", markup=False, soft_wrap=True)
    console.print(f"{out / 'result.json'}, evaluations.csv, alternatives.png, pareto.png", markup=False, soft_wrap=True)


app.command()(distill)
app.command()(pretrain)
app.command()(extract)
app.command()(finetune)
app.command()(export)
app.command()(verify)
app.command()(choose)
app.command()(worker)


def main() -> None:
    """Run the command line.

    Exit 0 when done, 2 on bad usage or input, 1 on failure, 130 when interrupted, 143 when terminated.
    """
    terminated = False

    def terminate(number: int, frame: object) -> None:
        nonlocal terminated
        terminated = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second SIGTERM ends the process at once
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminate)
    _show_warnings_in_one_line()

    def call() -> Any:
        try:
            code = app(standalone_mode=False)
        except Exception:
            if terminated:  # a library may turn the KeyboardInterrupt into its own error, e.g. during an import
                raise KeyboardInterrupt from None
            raise
        if code == _INTERRUPTED:  # typer turns Ctrl-C into this code without a message
            raise KeyboardInterrupt
        return code

    try:
        code = call()
    except InputError as error:
        code = _complain(str(error), 2)
    except _UsageError as error:
        code = _complain(f"{error.format_message()} (see fsp --help)", 2)  # type: ignore[attr-defined]
    except RunFailed as error:
        code = _complain(str(error), 1)
    except OSError as error:
        code = _complain(_of_the_system(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        how, code = ("terminated", _TERMINATED) if terminated else ("interrupted", _INTERRUPTED)
        code = _complain(f"{how}; {_AGAIN}", code)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        code = _complain(f"out of memory; once there is more (--max-memory), {_AGAIN}", 1)
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
    sys.exit(code or 0)


def _show_warnings_in_one_line() -> None:
    """Print fsp's warnings about models without their place in the code; other warnings stay as they are."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, ModelWarning):
            _complain(f"warning: {message}", 0)
        else:
            usual(message, category, *where, **more)

    warnings.showwarning = show


def _of_the_system(error: OSError) -> str:
    """Return the message for an error of the system, such as a full disk or a folder without write permission."""
    if error.strerror is None:  # raised by a library
        return f"{type(error).__name__}: {error}"
    file = f"{error.filename}: " if error.filename else ""
    return f"{file}{error.strerror}; once that is fixed, {_AGAIN}"


def _complain(message: str, code: int) -> int:
    print(f"fsp: {' '.join(message.split())}", file=sys.stderr)
    return code
