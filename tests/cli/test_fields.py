"""Options made from the fields of settings."""

import inspect
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from fsp.base.errors import InputError
from fsp.base.option import Option
from fsp.cli.app import app
from fsp.cli.fields import expanded
from fsp.distillation.pretraining.settings import PRESETS, Options, PretrainingSettings
from fsp.finetuning.settings import FinetuningSettings


@dataclass(frozen=True)
class Everything:
    name: Annotated[str, Option("Required.")]
    count: Annotated[int, Option("How many.")] = 3
    rate: Annotated[float, Option("Of learning.")] = 5e-4
    most: Annotated[int | None, Option("At most.", shown="no limit")] = None
    folder: Annotated[Path | None, Option("Where.")] = None
    quick_look: Annotated[bool, Option("Be quick.")] = False
    soft: Annotated[bool, Option("Labels.", names="--soft/--hard")] = True
    words: Annotated[tuple[str, ...], Option("Several.")] = ("a",)
    sizes: Annotated[tuple[int, ...], Option("Several.", names="--size")] = ()
    own: Annotated[str, typer.Option("--of-typer", help="As it is.")] = "typer's"
    inside: tuple[int, ...] = (1, 2)

    def __post_init__(self):
        if self.count < 0:
            raise InputError("count must be at least 0")


def call(*words):
    """Return what a command gets for words on the command line."""
    got = []
    made = typer.Typer()

    @made.command()
    @expanded
    def command(*, source: str, settings: Everything, plain: Annotated[int, typer.Option()] = 1) -> None:
        got.append((source, settings, plain))

    result = CliRunner().invoke(made, list(words), env={"COLUMNS": "200"})
    return got[0] if got else result


def test_defaults_are_those_of_the_fields():
    assert call("s", "--name", "n") == ("s", Everything("n"), 1)


def test_values_arrive_in_the_types_of_the_fields():
    words = "--count 4 --rate 1e-6 --most 7 --folder a/b --quick-look --hard --words x --words y --size 1 --size 2"
    source, settings, plain = call("s", "--name", "n", *words.split(), "--of-typer", "o", "--plain", "2")
    assert (source, plain) == ("s", 2)
    assert settings == Everything("n", 4, 1e-6, 7, Path("a/b"), True, False, ("x", "y"), (1, 2), "o")
    assert hash(settings)  # no list among them


@pytest.mark.parametrize(
    "words",
    [["--count", "x"], ["--no-quick-look"], ["--quick-look=1"], ["--inside", "1"], ["--sizes", "1"], ["--soft", "1"]],
)
def test_what_the_fields_do_not_allow_is_refused(words):
    assert call("s", "--name", "n", *words).exit_code == 2


def test_a_field_without_default_is_required():
    done = call("s")
    assert done.exit_code == 2 and "--name" in done.output


def test_the_settings_own_refusal_is_raised():
    assert isinstance(call("s", "--name", "n", "--count", "-1").exception, InputError)


def test_help_shows_the_fields_texts_and_defaults_in_their_order():
    text = " ".join(call("--help").output.split())
    shown = [
        "Required.", "How many.", "[default: 3]", "[default: 0.0005]", "At most.", "no limit", "Where.", "Be quick.",
        "[default: soft]", "[default: a]", "As it is.", "[default: typer's]", "--plain",
    ]  # fmt: skip
    places = [text.index(part) for part in shown]
    assert places == sorted(places)
    assert "inside" not in text and "None" not in text


def test_two_options_of_one_name_are_a_mistake():
    def command(*, count: int, settings: Everything) -> None: ...

    with pytest.raises(ValueError, match="count"):
        expanded(command)


@pytest.mark.parametrize(
    ("command", "settings"),
    [("pretrain", PretrainingSettings), ("pretrain", Options), ("finetune", FinetuningSettings)],
)
def test_a_command_has_the_defaults_of_its_settings(command, settings):
    """Every field but Θ is an option, with its default and some text."""
    made = {p.name: p for p in typer.main.get_command(app).commands[command].params}
    for field in fields(settings):
        if field.name == "theta":
            continue
        assert made[field.name].default == field.default and made[field.name].help, field.name


@pytest.fixture
def pretrained(monkeypatch):
    """What `fsp.distillation.pretraining.run.pretrain` is called with."""
    calls = []

    def pretrain(architecture, out, **given):
        calls.append({"architecture": architecture, **given})
        return {"finished": False, "steps": 0}

    monkeypatch.setattr("fsp.distillation.pretraining.run.pretrain", pretrain)
    return calls


def settings_of(calls, *words):
    done = CliRunner().invoke(app, [*words, "--out", "o", "--teacher", "t"])
    assert done.exit_code == 0, done.output
    return calls[-1]["settings"]


def test_options_override_a_preset_even_by_the_default(pretrained):
    assert settings_of(pretrained, "pretrain", "--preset", "bort") == PretrainingSettings(**PRESETS["bort"])
    assert dict(pretrained[-1]["architecture"]) == {"D": 4, "A": 8, "H": 1024, "I": 768}
    given = ("--kl", "1", "--length", "128", "--preset", "bort", "--seed", "5")
    assert settings_of(pretrained, "pretrain", *given) == PretrainingSettings(
        **PRESETS["bort"] | {"kl": 1.0, "length": 128, "seed": 5}
    )
    assert settings_of(pretrained, "pretrain", "D=2", "--tokens", "65536") == PretrainingSettings(steps=16)
    assert settings_of(pretrained, "pretrain", "D=2", "--tokens", "65536", "--preset", "bort").steps == 4


@pytest.mark.parametrize(
    "words", ["--kl 1", "--kl=1", "--preset bort", "--no-teacher", "--steps 1000", "--tensorboard", "--cache-text c"]
)
def test_the_old_call_of_pretraining_is_the_new_one_with_a_note(pretrained, words):
    words = words.split()
    old = CliRunner().invoke(app, ["distill", "D=2", *words, "--out", "o", "--teacher", "t"])
    new = CliRunner().invoke(app, ["pretrain", "D=2", *words, "--out", "o", "--teacher", "t"])
    note = "fsp: note: with options of pretraining, use fsp pretrain instead of fsp distill\n"
    assert old.exit_code == 0 and old.output.count(note) == 1
    assert old.output.replace(note, "") == new.output
    assert pretrained[0] == pretrained[1]


def test_no_command_has_more_than_ten_parameters_of_its_own():
    """Those that are settings count as none: their fields are the options."""

    def commands(group):
        yield from (one.callback for one in group.registered_commands)
        for below in group.registered_groups:
            yield from commands(below.typer_instance)

    for command in commands(app):
        own = inspect.unwrap(command)
        hints = get_type_hints(own, include_extras=True)
        assert sum(not is_dataclass(hints[name]) for name in inspect.signature(own).parameters) <= 10, own.__name__
