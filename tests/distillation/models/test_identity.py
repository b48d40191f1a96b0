"""The fingerprint: another one wherever another model is computed, the same wherever it is the same."""

import copy
import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertModel

from fsp.base.errors import InputError
from fsp.base.files import read_json
from fsp.distillation.examples import Examples
from fsp.distillation.models.identity import fingerprint
from fsp.distillation.models.loading import open_model
from fsp.distillation.networks import last_states
from fsp.distillation.pretraining.models import load_language_model
from fsp.distillation.tasks.choice import task_of
from fsp.distillation.tasks.task import Making
from fsp.distillation.teacher import load_teacher, packaged_teacher
from fsp.finetuning.classifier import Classifier
from fsp.spaces.loading import load_space
from fsp.trust.on_record import card_for

SHARED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def folder(tiny, tmp_path):
    return shutil.copytree(tiny.teacher, tmp_path / "t")


@pytest.fixture(scope="module")
def known(tiny):
    return load_teacher(tiny.teacher).fingerprint


def configured(folder, **changed):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def written(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def with_words_swapped(folder):
    path = folder / "tokenizer.json"
    rules = json.loads(path.read_text())
    words = rules["model"]["vocab"]
    words["house"], words["river"] = words["river"], words["house"]
    path.write_text(json.dumps(rules))


def with_case(folder):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "do_lower_case": False}))


def changed_weight(folder):
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.1.output.dense.bias"][3] += 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


OTHERS = {
    "a weight": changed_weight,
    "activation": lambda t: configured(t, hidden_act="relu"),
    "epsilon": lambda t: configured(t, layer_norm_eps=1e-5),
    "heads": lambda t: configured(t, num_attention_heads=2),
    "case": with_case,
    "words": with_words_swapped,
    "modules": lambda t: written(t / "modules.json", [{"idx": 0, "path": "", "type": "Transformer"}]),
}
SAME = {
    "label names": lambda t: configured(t, id2label={"0": "no", "1": "yes"}),
    "versions": lambda t: configured(t, transformers_version="4.0.0", _name_or_path="x", torch_dtype="float16"),
    "a default written out": lambda t: configured(t, type_vocab_size=2),
    "other files": lambda t: (t / "README.md").write_text("words"),
}


@pytest.mark.parametrize("change", OTHERS)
def test_another_model_has_another_fingerprint(change, folder, known):
    OTHERS[change](folder)
    assert load_teacher(folder).fingerprint != known


@pytest.mark.parametrize("change", SAME)
def test_what_changes_no_output_changes_no_fingerprint(change, folder, known):
    SAME[change](folder)
    assert load_teacher(folder).fingerprint == known


def test_the_same_numbers_in_other_files_are_the_same(folder, known):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    assert load_teacher(folder).fingerprint == known


@pytest.mark.parametrize("load", [load_language_model, lambda folder: Classifier(folder, ["a", "b"])])
@pytest.mark.parametrize("change", ["a weight", "activation", "case"])
def test_every_loader_knows_them_apart(load, change, folder):
    before = load(folder).fingerprint
    OTHERS[change](folder)
    assert load(folder).fingerprint != before


@pytest.mark.parametrize("file", ["1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"])
def test_what_comes_after_the_encoder_counts(file, folder):
    places = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"}
    kinds = {path: f"sentence_transformers.models.{kind}" for path, kind in places.items()}
    written(folder / "modules.json", [{"idx": k, "path": path, "type": kinds[path]} for k, path in enumerate(kinds)])
    written(folder / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True})
    written(folder / "2_Dense" / "config.json", {"activation_function": "torch.nn.modules.activation.Tanh"})
    save_file({"linear.weight": torch.eye(32)}, folder / "2_Dense" / "model.safetensors")
    before = load_teacher(folder).fingerprint
    if file.endswith("json"):
        written(folder / file, {"other": True})
    else:
        save_file({"linear.weight": 2 * torch.eye(32)}, folder / file)
    assert load_teacher(folder).fingerprint != before


@SHARED
@given(data=st.data())
def test_settings_that_change_the_states_change_the_fingerprint(data):
    """The kind: whatever number or switch of a configuration changes what a network with equal weights computes."""
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 16, "intermediate_size": 16}
    config = AutoConfig.for_model("bert", vocab_size=30, max_position_embeddings=16, **sizes)
    torch.manual_seed(0)
    network = BertModel(config, add_pooling_layer=False).eval()
    other = copy.deepcopy(config)
    name = data.draw(
        st.sampled_from(sorted(key for key, value in config.to_dict().items() if key != "dtype" and value is not None))
    )
    value = config.to_dict()[name]
    try:
        if isinstance(value, bool):
            setattr(other, name, not value)
        elif isinstance(value, int | float) and name.endswith(("eps", "prob", "range", "heads")):
            setattr(other, name, value * 2 if name != "layer_norm_eps" else 0.1)
        elif name == "hidden_act":
            setattr(other, name, data.draw(st.sampled_from(["relu", "silu", "gelu_new", "tanh"])))
        twin = BertModel(other, add_pooling_layer=False).eval()
        twin.load_state_dict(network.state_dict())
        with torch.inference_mode():
            tokens = torch.arange(1, 9)[None]
            same = torch.equal(twin(tokens).last_hidden_state, network(tokens).last_hidden_state)
    except (RuntimeError, ValueError, TypeError, AttributeError):
        return  # no model
    if not same:
        assert fingerprint(network, config=config) != fingerprint(twin, config=other)


def test_another_configuration_of_equal_weights_meets_no_states_of_the_first(folder, tiny, tmp_path):
    """Corrected in place, the same command again: T's kept states are not those of the old T."""
    blocks = np.arange(1000, 1640, dtype=np.int32).reshape(10, 64)

    def states(teacher):
        store = task_of(teacher).outputs(Making(tmp_path / "cache"), "states")
        return np.array(store.of(Examples({"input_ids": blocks}, blocks), partial(last_states, teacher.network)).target)

    first = states(load_teacher(folder))
    configured(folder, hidden_act="relu")
    corrected = load_teacher(folder)
    with torch.inference_mode():
        wanted = corrected.network(input_ids=torch.from_numpy(blocks).long()).last_hidden_state.numpy()
    kept = states(corrected)
    assert np.allclose(kept, wanted, atol=5e-3) and not np.allclose(first, wanted, atol=5e-3)


def test_a_run_of_another_t_is_refused_politely(tmp_path):
    from fsp.base.run_folder import own

    own(tmp_path, {"teacher": {"name": "t", "fingerprint": "a" * 16}})
    with pytest.raises(InputError, match=r"its teacher differ: made with another T or by an older fsp.*new folder"):
        own(tmp_path, {"teacher": {"name": "t", "fingerprint": "b" * 16}})


def test_the_card_on_record_is_that_of_the_packaged_teacher(minilm_folder):
    recorded = read_json(Path(__file__).parents[3] / "search_spaces" / "minilm.card.json")
    fingerprint = load_teacher(packaged_teacher(load_space("minilm").teacher)).fingerprint
    assert card_for(fingerprint, recorded.get("task", "states"), recorded["steps"]) == recorded


def test_the_use_of_a_tokenizer_does_not_change_it(tiny):
    """Padding and cutting of the last call stay in a tokenizer's own description of itself."""
    network, _ = open_model(tiny.teacher).network(AutoModel)
    tokenizer = AutoTokenizer.from_pretrained(tiny.teacher)
    before = fingerprint(network, config=network.config, tokenizer=tokenizer)
    tokenizer(["a", "b c"], padding="longest", truncation=True, max_length=7)
    assert fingerprint(network, config=network.config, tokenizer=tokenizer) == before
