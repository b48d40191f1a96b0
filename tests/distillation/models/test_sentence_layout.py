"""Every layout of a sentence-transformers directory against the library itself."""

import json
import math
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from sentence_models import PARTS, TEXTS, sentence_model
from text_networks import saved
from transformers import AutoModel

from fsp.base.errors import InputError
from fsp.deploy.serving import SENTENCE, load_saved
from fsp.distillation.models.loading import open_model
from fsp.distillation.models.sentence_layout import layout_of, plain_layout
from fsp.distillation.teacher import load_teacher

MODES = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken", ("mean", "max")]
VARIATIONS = {
    **{f"pooling {mode}": {"pooling": mode} for mode in MODES},
    "not normalised": {"after": []},
    "dense": {"after": [("Dense", 32, "Tanh", True), ("Normalize",)]},
    "dense to another width, no bias": {"after": [("Dense", 48, "ReLU", False)]},
    "two dense": {"after": [("Dense", 20, "Tanh", True), ("Dense", 24, "Identity", True)]},
    "dense behind normalisation": {"after": [("Normalize",), ("Dense", 32, "Identity", True)]},
    "layer norm": {"after": [("LayerNorm",)]},
    "short": {"longest": 12},
    "prompt": {"prompts": {"query": "search for this: ", "passage": ""}, "default": "query"},
    "prompt left out of pooling": {"prompts": {"query": "search: "}, "default": "query", "include_prompt": False},
    "prompts by name alone": {"prompts": {"query": "search for this: "}},
    "lower case": {"lower_case": True},
    "dot product": {"similarity": "dot"},
    "cut to fewer numbers": {"truncate": 10, "after": []},
}


def library(folder):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


@pytest.mark.parametrize("name", VARIATIONS)
@pytest.mark.parametrize("roberta", [False, True], ids=["bert", "roberta"])
def test_a_layout_embeds_and_saves_as_the_library_does(tiny, tmp_path, name, roberta):
    given = sentence_model(tiny, tmp_path / "T", roberta=roberta, **VARIATIONS[name])
    teacher, theirs = load_teacher(given), library(given)
    expected = theirs.encode(TEXTS)
    found = teacher.layout.encode(teacher.network, TEXTS)
    assert np.allclose(found, expected, atol=1e-6)
    teacher.layout.model(teacher.network).save(str(tmp_path / "copy"), create_model_card=False)
    again = library(tmp_path / "copy")
    assert np.allclose(again.encode(TEXTS), expected, atol=1e-6)
    for attribute in ("max_seq_length", "prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim"):
        assert getattr(again, attribute) == getattr(theirs, attribute)
    assert layout_of(tmp_path / "copy").describe() == teacher.layout.describe()
    batch = theirs.preprocess(TEXTS, prompt=teacher.layout.prompt)
    with torch.inference_mode():
        states = teacher.network(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        by_hand = teacher.layout.pool(states, batch["attention_mask"], batch.get("prompt_length", 0))
        assert np.allclose(teacher.layout.finish(by_hand), expected, atol=1e-5)


def test_layouts_that_embed_differently_describe_themselves_differently(tiny, tmp_path):
    described = {
        name: json.dumps(layout_of(sentence_model(tiny, tmp_path / name, **changes)).describe(), sort_keys=True)
        for name, changes in VARIATIONS.items()
    }
    described["other weights"] = json.dumps(
        layout_of(sentence_model(tiny, tmp_path / "seed", seed=1, **VARIATIONS["dense"])).describe(), sort_keys=True
    )
    del described["pooling mean"]  # the same as none of the changes
    ordered = sorted(described, key=described.__getitem__)
    assert not [pair for pair in pairwise(ordered) if described[pair[0]] == described[pair[1]]]


@pytest.mark.parametrize(
    ("modules", "says"),
    [
        (["Transformer", "CNN", "Pooling"], "module 1 .*CNN"),
        (["Transformer", "LSTM", "Pooling"], "module 1 .*LSTM"),
        (["Transformer", "WordWeights", "Pooling"], "module 1 .*WordWeights"),
        (["WordEmbeddings", "Pooling"], "module 0 .*WordEmbeddings"),
        (["BoW"], "module 0 .*BoW"),
        (["Router"], "module 0 .*Router"),
        (["Transformer", "Pooling", "CNN"], "module 2 .*CNN"),
        (["Transformer", "Pooling", "Dense", "my_code.Own"], "module 3 .*my_code.Own"),
        (["Transformer"], "no Pooling"),
        ([], "no list of modules"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_carried_over_is_refused_by_name(tiny, tmp_path, modules, says):
    given = sentence_model(tiny, tmp_path / "T")
    listed = [
        {"idx": i, "name": str(i), "path": f"{i}_{name}" if i else "", "type": PARTS.get(name, name)}
        for i, name in enumerate(modules)
    ]
    (given / "modules.json").write_text(json.dumps(listed))
    with pytest.raises(InputError, match=says) as raised:
        layout_of(given)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("modules.json", '{"a": 1}'),
        ("modules.json", '[{"idx": 0, "name": "0", "path": ""}]'),
        ("modules.json", "[1, 2]"),
        ("modules.json", "nonsense"),
        ("1_Pooling/config.json", '{"embedding_dimension": 32, "pooling_mode": "median"}'),
        ("1_Pooling/config.json", "nonsense"),
        ("2_Dense/config.json", '{"in_features": 7, "out_features": 32, "activation_function": "torch.nn.Tanh"}'),
        ("2_Dense/config.json", '{"in_features": 32, "out_features": 32, "module_input_name": "token_embeddings"}'),
        ("config_sentence_transformers.json", '{"default_prompt_name": "absent", "prompts": {}}'),
    ],
)
def test_a_damaged_layout_is_one_line(tiny, tmp_path, path, content):
    given = sentence_model(tiny, tmp_path / "T", after=[("Dense", 32, "Tanh", True)])
    (given / path).write_text(content)
    with pytest.raises(InputError) as raised:
        layout_of(given)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("width", [31, 64])
def test_a_dense_layer_of_another_width_than_the_pooled_states_is_refused(tiny, tmp_path, width):
    from safetensors.torch import load_file, save_file

    given = sentence_model(tiny, tmp_path / "T", after=[("Dense", 48, "Tanh", True)])
    weights = load_file(given / "2_Dense" / "model.safetensors")
    weights["linear.weight"] = torch.zeros(48, width)
    save_file(weights, given / "2_Dense" / "model.safetensors")
    said = json.loads((given / "2_Dense" / "config.json").read_text())
    (given / "2_Dense" / "config.json").write_text(json.dumps(said | {"in_features": width}))
    with pytest.raises(InputError, match="do not take its pooled states of 32 numbers"):
        layout_of(given)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_module_whose_weights_are_no_numbers_is_refused(tiny, tmp_path, value):
    from safetensors.torch import load_file, save_file

    given = sentence_model(tiny, tmp_path / "T", after=[("Dense", 32, "Tanh", True)])
    weights = load_file(given / "2_Dense" / "model.safetensors")
    weights["linear.bias"][3] = value
    save_file(weights, given / "2_Dense" / "model.safetensors")
    with pytest.raises(InputError, match=r"its Dense has non-finite numbers in linear\.bias"):
        layout_of(given)


def test_an_activation_that_is_code_of_its_own_is_refused(tiny, tmp_path):
    given = sentence_model(tiny, tmp_path / "T", after=[("Dense", 32, "Tanh", True)])
    said = json.loads((given / "2_Dense" / "config.json").read_text())
    (given / "2_Dense" / "config.json").write_text(json.dumps(said | {"activation_function": "mine.Act"}))
    with pytest.raises(InputError, match=r"its Dense has the activation mine\.Act"):
        layout_of(given)


def test_the_longest_input_is_bounded_by_the_positions(tiny, tmp_path):
    bert, roberta = (
        sentence_model(tiny, tmp_path / name, longest=4000, roberta=name == "roberta") for name in ("bert", "roberta")
    )
    assert layout_of(bert).longest == 128
    assert layout_of(roberta).longest == 128  # of its 129 positions one is for padding
    long = ["word " * 500]
    for given in (bert, roberta):
        teacher = load_teacher(given)
        assert np.isfinite(teacher.layout.encode(teacher.network, long)).all()


def test_an_encoder_without_a_layout_is_pooled_by_its_mean_at_unit_length(tiny):
    assert layout_of(tiny.teacher) is None
    teacher = load_teacher(tiny.teacher)
    assert teacher.layout.describe() == plain_layout(tiny.teacher).describe()
    batch = teacher.tokenizer(TEXTS, padding=True, truncation=True, max_length=128, return_tensors="pt")
    with torch.inference_mode():
        states = teacher.network(**batch).last_hidden_state.numpy()
    kept = batch["attention_mask"].numpy().astype(bool)
    mean = np.stack([rows[keep].mean(axis=0) for rows, keep in zip(states, kept, strict=True)])
    expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    assert np.allclose(teacher.layout.encode(teacher.network, TEXTS), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["electra", "distilbert", "modernbert", "gpt2", "llama", "qwen2", "qwen3"])
def test_encoders_of_every_type_embed_as_the_library_does(kind, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules as parts

    inner = saved(kind, "", tmp_path / "inner")
    transformer = parts.Transformer(str(inner), max_seq_length=24)
    folder = str(tmp_path / "T")
    modules = [transformer, parts.Pooling(32, "lasttoken")]
    SentenceTransformer(modules=modules, device="cpu").save(folder, create_model_card=False)
    teacher = load_teacher(folder)
    assert np.allclose(teacher.layout.encode(teacher.network, TEXTS), library(folder).encode(TEXTS), atol=1e-5)


def test_the_old_layout_with_the_network_in_a_folder_of_its_own(tiny, tmp_path):
    given = sentence_model(tiny, tmp_path / "T", pooling="cls")
    expected = library(given).encode(TEXTS)
    (given / "0_Transformer").mkdir()
    for path in list(given.iterdir()):
        if path.is_file() and path.name not in ("modules.json", "config_sentence_transformers.json"):
            path.rename(given / "0_Transformer" / path.name)
    modules = json.loads((given / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (given / "modules.json").write_text(json.dumps(modules))
    teacher = load_teacher(given)
    assert teacher.name == "T"
    assert np.allclose(teacher.layout.encode(teacher.network, TEXTS), expected, atol=1e-6)
    assert open_model(given).network(AutoModel)[0].config.hidden_size == 32  # every other command
    saved = load_saved(given)
    assert SENTENCE in saved.serving.outputs
    assert np.allclose(saved.library.encode(TEXTS), expected, atol=1e-6)


def test_the_layout_of_earlier_versions(tiny, tmp_path):
    given = shutil.copytree(tiny.teacher, tmp_path / "T")
    files = {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ],
        "sentence_bert_config.json": {"max_seq_length": 16, "do_lower_case": False},
        "1_Pooling/config.json": {"word_embedding_dimension": 32, "pooling_mode_cls_token": True},
    }
    for name, content in files.items():
        (given / name).parent.mkdir(exist_ok=True)
        (given / name).write_text(json.dumps(content))
    teacher = load_teacher(given)
    assert teacher.layout.modes == ("cls",)
    assert teacher.layout.longest == 16
    assert np.allclose(teacher.layout.encode(teacher.network, TEXTS), library(given).encode(TEXTS), atol=1e-6)


def test_a_tokenizer_without_a_padding_token_pads_as_the_loader_has_it(tiny, tmp_path):
    given = shutil.copytree(tiny.teacher, tmp_path / "T")
    settings = json.loads((given / "tokenizer_config.json").read_text())
    settings["pad_token"] = None
    (given / "tokenizer_config.json").write_text(json.dumps(settings))
    (given / "special_tokens_map.json").unlink(missing_ok=True)
    teacher, whole = load_teacher(given), load_teacher(tiny.teacher)
    assert np.allclose(
        teacher.layout.encode(teacher.network, TEXTS), whole.layout.encode(whole.network, TEXTS), atol=1e-6
    )
