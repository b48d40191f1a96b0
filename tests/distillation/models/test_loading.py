"""Loading models: what was loaded is what was trained; positions, padding, warnings, and where models are found."""

import json
import shutil
import socket
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertConfig, BertForMaskedLM, BertModel

from fsp.base.errors import InputError, ModelWarning
from fsp.distillation.models.folder import find_model
from fsp.distillation.models.loading import longest_input, open_model, sentence_tokens
from fsp.distillation.student import Student
from fsp.distillation.tasks.choice import task_of
from fsp.distillation.teacher import load_teacher
from fsp.families import bert

SMALL = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 8, "intermediate_size": 8, "vocab_size": 40}


@pytest.fixture
def folder(tiny, tmp_path):
    return shutil.copytree(tiny.teacher, tmp_path / "t")


def configured(folder, **changed):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def said_of(source):
    """What is warned of while a model and its tokenizer are loaded."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = open_model(source)
        found.network(AutoModel)
        found.tokenizer()
    return [str(one.message) for one in seen if one.category is ModelWarning]


KINDS = [
    *[("bert", padding) for padding in (0, 3)],
    *[("roberta", padding) for padding in (0, 1, 3)],
    *[(kind, 1) for kind in ("xlm-roberta", "camembert", "mpnet", "roberta-prelayernorm", "data2vec-text", "electra")],
    *[(kind, 1) for kind in ("xlm-roberta-xl", "ibert", "luke", "distilbert", "longformer", "markuplm")],
    ("modernbert", 0),
    ("gpt2", 1),
]


@pytest.mark.parametrize(("kind", "padding"), KINDS)
def test_the_longest_input_is_the_longest_that_runs(kind, padding):
    """By trying: so many tokens run, and one more does not, where positions have a table."""
    sizes = (
        SMALL if kind != "distilbert" else {"n_layers": 1, "n_heads": 2, "dim": 8, "hidden_dim": 8, "vocab_size": 40}
    )
    sizes = sizes if kind != "gpt2" else {"n_layer": 1, "n_head": 2, "n_embd": 8, "vocab_size": 40}
    more = {"embedding_size": 8} if kind == "electra" else {"attention_window": 4} if kind == "longformer" else {}
    more |= {"entity_vocab_size": 5, "entity_emb_size": 8} if kind == "luke" else {}
    ends = {"bos_token_id": 4, "eos_token_id": 5} if kind in ("gpt2", "modernbert") else {}
    ends |= {"cls_token_id": 4, "sep_token_id": 5} if kind == "modernbert" else {}
    positions = {"n_positions" if kind == "gpt2" else "max_position_embeddings": 20}
    config = AutoConfig.for_model(kind, **sizes, **positions, **more, **ends, pad_token_id=padding)
    network, longest = AutoModel.from_config(config).eval(), longest_input(config)
    tokens = torch.full((1, longest + 1), 7)
    with torch.inference_mode():
        network(input_ids=tokens[:, :longest])
        if kind not in ("modernbert", "longformer"):  # rotary angles have no end; Longformer pads its input by itself
            with pytest.raises((IndexError, RuntimeError)):
                network(input_ids=tokens)


def test_positions_without_a_table_have_no_end():
    assert longest_input(SimpleNamespace(model_type="t5")) == longest_input(BertConfig(max_position_embeddings=-1))
    assert longest_input(SimpleNamespace(model_type="t5")) == sys.maxsize


def test_a_teacher_of_64_positions_is_measured_within_them(folder, tiny):
    """Its embeddings of long sentences, its latency and what is saved stay within what it takes."""
    configured(folder, max_position_embeddings=64)
    weights = load_file(folder / "model.safetensors")
    name = "embeddings.position_embeddings.weight"
    save_file(
        {**weights, name: weights[name][:64].contiguous()}, folder / "model.safetensors", metadata={"format": "pt"}
    )
    for task in ("states", "embedding"):
        teacher = load_teacher(folder, task=task)
        assert sentence_tokens(teacher.network.config) == teacher.layout.longest == 64
        assert teacher.layout.encode(teacher.network, ["word " * 300, "short"]).shape == (2, 32)
        student = Student(BertModel(teacher.network.config, add_pooling_layer=False).eval(), bert, nn.Linear(32, 32))
        assert all(call() is not None for call in task_of(teacher).calls({"s": student}, 128).values())


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere/model", "there is no such folder"),
        ("./nowhere", "there is no such folder"),
        ("~/nowhere", "there is no such folder"),
        ("/nowhere", "there is no such folder"),
        ("a/b/c", "there is no such folder"),
        ("nowhere/", "there is no such folder"),
        ("file.txt", "this is a file"),
    ],
)
def test_what_looks_like_a_path_is_not_asked_of_the_hub(source, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nowhere").mkdir() if source == "nowhere/model" else (tmp_path / "file.txt").touch()
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *words, **more: pytest.fail("asked the hub"))
    with pytest.raises(InputError, match=says):
        find_model(source)


@pytest.fixture
def dead_network(monkeypatch, tmp_path):
    """No name is resolved, and nothing was fetched before; returns the names that were asked for."""
    from huggingface_hub import constants

    asked = []

    def fail(host, *words, **more):
        asked.append(host)
        raise socket.gaierror("no network")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    return asked


def test_a_hub_that_cannot_be_reached_is_told_without_waiting(dead_network, monkeypatch):
    says = r"^model org/name: there is no such folder, and the hub cannot be reached"
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("waits to ask again"))
    with pytest.raises(InputError, match=says) as told:
        open_model("org/name")
    assert dead_network and "\n" not in str(told.value)


def test_a_hub_model_fetched_before_needs_no_hub(tiny, dead_network, tmp_path):
    cache = tmp_path / "models--org--name"
    shutil.copytree(tiny.teacher, cache / "snapshots" / ("0" * 40))
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0" * 40)
    teacher = load_teacher("org/name")
    assert (teacher.name, teacher.fingerprint) == ("org/name", load_teacher(tiny.teacher).fingerprint)


def test_files_called_index_that_are_none_of_weights_are_left_alone(folder):
    (folder / "docs.index.json").write_text('{"version": 1, "entries": []}')
    assert load_teacher(folder).architecture["D"] == 3


def test_a_key_that_nothing_follows_is_told(folder):
    configured(folder, alibi=True, gradient_checkpointing=True, absent=None)
    (said,) = said_of(folder)
    assert "alibi=true" in said and "gradient_checkpointing" not in said


def test_a_sound_model_gives_no_warning(tiny, minilm_folder):
    assert said_of(tiny.teacher) == said_of(minilm_folder) == []


@pytest.mark.parametrize(
    ("name", "told"), [("linear.weight", True), ("cls.seq_relationship.weight", False), ("position_ids", False)]
)
def test_weights_that_are_not_used_are_told_but_for_known_heads(name, told, folder):
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, name: torch.ones(2, 2)}, folder / "model.safetensors", metadata={"format": "pt"})
    assert [name in said for said in said_of(folder)] == [True] * told


def test_a_cased_vocabulary_behind_a_lower_casing_tokenizer_is_told(folder):
    words = AutoTokenizer.from_pretrained(folder).get_vocab()
    for path in folder.glob("*token*"):
        path.unlink()
    lines = [
        word.capitalize() if word.isalpha() and k % 2 and word.capitalize() not in words else word
        for word, k in sorted(words.items(), key=lambda item: item[1])
    ]
    (folder / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (said,) = said_of(folder)
    assert "tokens have capitals" in said and "do_lower_case" in said
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert said_of(folder) == []


def test_a_padding_token_that_the_configuration_names_is_taken(folder):
    path = folder / "tokenizer_config.json"
    own = json.loads(path.read_text())
    own.pop("pad_token")
    path.write_text(json.dumps({**own, "tokenizer_class": "PreTrainedTokenizerFast"}))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    rules = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**rules, "padding": None}))
    assert AutoTokenizer.from_pretrained(folder).pad_token is None
    assert load_teacher(folder).tokenizer.pad_token == "[PAD]"


@pytest.mark.parametrize("kind", [BertModel, BertForMaskedLM])
def test_a_decoder_of_a_family_of_encoders_is_refused_with_what_to_do(kind, tiny, tmp_path):
    kind(BertConfig.from_pretrained(tiny.teacher, is_decoder=True)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny.teacher).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"a bert that is a decoder .* is_decoder in its config.json .* put false"):
        load_teacher(tmp_path)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_weight_is_gone_added_or_of_another_size_is_named(data, folder, tiny):
    """The kind: any weight of the body, any of the three changes."""
    weights = load_file(tiny.teacher / "model.safetensors")
    name = data.draw(st.sampled_from(sorted(key for key in weights if not key.startswith("pooler"))))
    change = data.draw(st.sampled_from(("gone", "added", "cut")))
    if change == "gone":
        del weights[name]
    elif change == "added":
        name = f"{name.rpartition('.')[0]}.another"
        weights[name] = torch.zeros(2)
    else:
        weights[name] = weights[name][:-1].contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError) as told:
        load_teacher(folder)
    assert name in str(told.value) and "\n" not in str(told.value)
