"""`fsp worker`: help a search that runs in another process or on another machine."""

import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fsp.base.errors import InputError
from fsp.base.progress import Bars
from fsp.cli.fields import expanded
from fsp.cli.options import Bounds, Json, Source
from fsp.distillation.settings import Running

if TYPE_CHECKING:
    from fsp.studies.store import Store


@expanded
def worker(
    *,
    study: Annotated[
        str, typer.Option(help="The search's --study: a journal file or a database URL.", show_default=False)
    ],
    space: Annotated[
        str | None, typer.Argument(help="The search's space.", show_default="the shipped one that the study names")
    ] = None,
    source: Source,
    tokens: Annotated[
        int | None,
        typer.Option(
            help="Tokens, or samples, that the search draws on for training.", show_default="those of fsp extract"
        ),
    ] = None,
    running: Running,
    cache: Annotated[
        Path | None, typer.Option(help="Folder to keep the teacher's outputs in.", show_default="none")
    ] = None,
    idle: Annotated[
        float | None, typer.Option(help="End after so many seconds without work.", show_default="never")
    ] = None,
    leader: Annotated[str | None, typer.Option(hidden=True)] = None,
    bounds: Bounds,
    as_json: Json = False,
) -> None:
    """Evaluate what a search requests; start as many as there are processors for, before or after the search.

    Give it the space, teacher, data, task and device that the search was given: it refuses a study with other settings.
    """
    from fsp.distillation.inputs import fitted_to, load_inputs
    from fsp.distillation.rebuilding import Rebuilder
    from fsp.distillation.settings import SurrogateSettings
    from fsp.spaces.loading import load_space
    from fsp.studies.helper import Helper
    from fsp.studies.store import open_store

    bars = Bars()
    store = open_store(study)
    chosen = load_space(space or _space_of(store, idle))
    settings = SurrogateSettings(tokens=tokens or SurrogateSettings.tokens, **vars(running))
    inputs = load_inputs(chosen, source.given, bars, task=running.task, device=running.place)
    chosen = fitted_to(chosen, inputs.teacher)
    with tempfile.TemporaryDirectory() as folder:
        errors = Rebuilder(inputs, chosen, settings, cache or Path(folder), bars)
        done = Helper(store, chosen, errors, bars).run(idle=idle, leader=leader)
    print(json.dumps({"evaluations": done}) if as_json else f"evaluations made here: {done}")


def _space_of(store: "Store", idle: float | None) -> str:
    """Wait for a study in a store, and return the name of its space."""
    from fsp.studies.study import headers

    started = time.monotonic()
    while not (names := {header.space["name"] for header in headers(store)}):
        if idle is not None and time.monotonic() - started >= idle:
            raise InputError(f"there is no study at {store.where} yet; start the search, or name its space")
        time.sleep(1)
    if len(names) > 1:
        raise InputError(f"{store.where} holds studies of several spaces ({', '.join(sorted(names))}); name one")
    return names.pop()
