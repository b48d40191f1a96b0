"""Families that fsp does not train: every command refuses them in one line, and the way that the line names exists."""

import shlex

import pytest
import torch
from typer.testing import CliRunner

import fsp
from fsp.base.errors import InputError
from fsp.cli.app import app
from fsp.deploy.latency.targets import parse_targets
from fsp.distillation.pretraining.models import architecture_of as pretrained_architecture
from fsp.families.family import load_family
from fsp.families.others import other_way
from fsp.spaces.loading import load_space, shipped_spaces
from fsp.spaces.space import SearchSpace

OTHERS = sorted({load_space(name).family_name for name in shipped_spaces()} - {"bert"})
SPACES = (
    "extract {}",
    "extract {} --plan",
    "extract {} --teacher {teacher}",
    "run {} --out out",
    "error card {} --out out",
)
MODELS = (
    "export {teacher}",
    "latency measure {teacher}",
    "distill D=1,A=2,H=16,I=16 --teacher {teacher} --out out",
    "extract minilm --teacher {teacher}",
)


def saved(family, folder):
    """A directory of an untrained network of that family, as transformers writes it."""
    import transformers as t

    small = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 16}
    torch.manual_seed(0)
    network = {
        "gpt2": lambda: t.GPT2Model(t.GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=50, n_positions=32)),
        "modernbert": lambda: t.ModernBertModel(
            t.ModernBertConfig(
                vocab_size=50, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2, **small
            )
        ),
        "vit": lambda: t.ViTModel(t.ViTConfig(image_size=32, **small)),
        "llama": lambda: t.LlamaModel(t.LlamaConfig(vocab_size=50, **small)),
    }[family]()
    network.save_pretrained(folder)
    return folder


def refused(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, shlex.split(line))
    assert isinstance(result.exception, InputError), (line, result.output, result.exception)
    message = str(result.exception)
    assert "\n" not in message
    assert "--teacher" not in message.replace("fsp pretrain SHAPE --teacher DIR", "")  # it would only be refused again
    assert "docs/own-space.md" in message
    assert not list(tmp_path.glob("out*"))
    return message


@pytest.mark.parametrize("family", OTHERS)
@pytest.mark.parametrize("line", SPACES)
def test_a_space_is_refused_with_the_way_that_exists(family, line, tmp_path, monkeypatch):
    message = refused(line.format(family, teacher="anything"), tmp_path, monkeypatch)
    assert other_way(family) in message


@pytest.mark.parametrize("family", ["gpt2", "modernbert", "vit", "llama"])
@pytest.mark.parametrize("line", MODELS)
def test_a_model_is_refused_with_the_way_that_exists(family, line, tmp_path, monkeypatch):
    folder = saved(family, tmp_path / "model")
    assert other_way(family) in refused(line.format(teacher=folder), tmp_path, monkeypatch)


@pytest.mark.parametrize("family", OTHERS)
def test_the_way_exists(family):
    whole = next(space for space in map(load_space, shipped_spaces()) if space.family_name == family)
    shape = {name: min(choices) for name, choices in whole.parameters.items()}
    if "A" in shape:
        shape["A"] = next(a for a in whole.parameters["A"] if shape["H"] % a == 0)
    constants = {**whole.constants, **{k: 64 for k in ("vocabulary", "positions") if k in whole.constants}}
    space = SearchSpace(
        "small",
        {name: (value,) for name, value in shape.items()},
        (),
        {**shape, "D": 2 * shape["D"]},
        family,
        constants,
    )
    found = fsp.extract(
        space, error=lambda architecture: 1 / architecture["D"], limits={"parameters": "100%"}, interval=1
    )
    assert dict(found.selected) == shape
    target = parse_targets([family, "T"])[0]
    assert target.space.family_name == family
    small = load_family(family).build(shape, constants).eval()
    assert load_family(family).architecture_of(small.config) == found.selected
    if "fsp pretrain" in other_way(family):
        assert pretrained_architecture(small.config) == found.selected


@pytest.mark.parametrize("family", OTHERS)
def test_an_untrained_network_is_timed(family, tmp_path):
    file = tmp_path / "tiny.toml"
    sizes = {"D": 1, "A": 2, "H": 32, "I": 32}
    constants = {"vocabulary": 64, "positions": 32, "image": 32, "patch": 16, "channels": 1, "inputs": 8, "outputs": 2}
    of = load_family(family)
    shape = {name: sizes[name] for name in of.PARAMETERS}
    lines = [f'family = "{family}"', "[parameters]", *(f"{name} = [{value}]" for name, value in shape.items())]
    lines += ["[maximum]", *(f"{name} = {2 * value if name == 'D' else value}" for name, value in shape.items())]
    lines += ["[constants]", *(f"{name} = {constants[name]}" for name in of.CONSTANTS)]
    file.write_text("\n".join(lines))
    named = ",".join(f"{name}={value}" for name, value in shape.items())
    line = f"latency measure {file} {named} T --rounds 6 --length 8 --threads 1 --json"
    result = CliRunner().invoke(app, shlex.split(line))
    assert result.exit_code == 0, result.exception or result.output
    assert '"ratio"' in result.output
