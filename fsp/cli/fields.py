"""Options made from the fields of settings, so that name, type, default and help text are given only there."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.models import OptionInfo

from fsp.base.option import Option


def option(said: Option, *names: str) -> Any:
    """Return typer's option for the option of a field; `names` are used if that option gives none."""
    shown = True if said.shown is None else said.shown
    return typer.Option(*((said.names,) if said.names else names), help=said.help, show_default=shown)


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command for typer that has one option per field in place of each parameter that is a dataclass.

    When called, it builds the dataclasses from the options' values and calls the command with them. A field becomes an
    option if its annotation has an `Option`, or one of typer's; other fields keep their defaults. A boolean becomes a
    flag without an opposite, and `tuple[X, ...]` an option that may be repeated.

    Args:
        command: a function whose parameters are dataclasses or parameters that typer supports.

    Raises:
        ValueError: two options have the same name. The returned command raises any exception of the dataclasses.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Settings:
        ...     steps: Annotated[int, Option("Training steps.")] = 150
        >>> @expanded
        ... def train(model: str, settings: Settings) -> None:
        ...     print(model, settings)
        >>> list(inspect.signature(train).parameters)
        ['model', 'steps']
        >>> train(model="m", steps=3)
        m Settings(steps=3)
    """
    hints = get_type_hints(command, include_extras=True)
    options = {name: _options(hint) for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        alone = parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        parameters += options.get(name, [alone])

    @functools.wraps(command)
    def call(**values: Any) -> None:
        for name, made in options.items():
            given = {each.name: values.pop(each.name) for each in made}
            values[name] = hints[name](**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})
        command(**values)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _options(settings: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(settings, include_extras=True)
    return [made for field in fields(settings) if (made := _parameter(field, hints[field.name]))]


def _parameter(field: Field[Any], hint: Any) -> inspect.Parameter | None:
    kind, *extras = get_args(hint) if get_origin(hint) is Annotated else [hint]
    said = next((extra for extra in extras if isinstance(extra, Option | OptionInfo)), None)
    if said is None:
        return None
    if isinstance(said, Option):
        said = option(said, *([f"--{field.name.replace('_', '-')}"] if kind is bool else []))
    if get_origin(kind) is tuple:
        kind = list[get_args(kind)[0]]  # type: ignore[misc]
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, said]
    )
