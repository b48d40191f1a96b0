import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import running
import torch
from sentence_models import TEXTS, sentence_model
from transformers import (
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    RobertaConfig,
    RobertaForSequenceClassification,
)

import fsp.deploy.exporting
from fsp import export
from fsp.base.errors import InputError, RunFailed
from fsp.deploy.comparison import FLOAT32_TOLERANCE, INT8_TOLERANCE, LEAST_PREDICTIONS, LEAST_SIMILARITIES
from fsp.deploy.equalising import equalise
from fsp.deploy.serving import load_saved


def command(*arguments):
    return running.fsp("export", *arguments)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, tiny):
    """A small RoBERTa with a head for three classes and the tokenizer of the tiny teacher."""
    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=30522, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=130, type_vocab_size=1, num_labels=3, initializer_range=0.2, pad_token_id=0,
    )  # fmt: skip
    RobertaForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny.teacher).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory, tiny):
    """The tiny teacher in both formats, exported by the command."""
    out = tmp_path_factory.mktemp("exported") / "onnx"
    facts = []
    for more in ([], ["--int8"]):
        done = command(tiny.teacher, "--format", "onnx", *more, "--out", out, "--corpus", tiny.corpus, "--json")
        assert done.returncode == 0, done.stderr
        facts.append(json.loads(done.stdout))
    return out, *facts


def outputs_of(path, inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})


def batch_of(saved, texts):
    return dict(saved.tokenizer(texts, padding="longest", return_tensors="pt"))


def test_both_files_stay_within_their_tolerances(exported, tiny):
    out, float32, int8 = exported
    assert float32["largest_difference"] <= FLOAT32_TOLERANCE * float32["largest_output"]
    assert float32["agreement"] > 0.99999
    assert 1e-4 < int8["relative_difference"] <= INT8_TOLERANCE
    (agreement,) = [check for check in int8["checks"] if check["at_least"]]
    assert int8["agreement"] == agreement["value"] >= agreement["limit"] == LEAST_SIMILARITIES
    assert int8["bytes"] < 0.3 * float32["bytes"]
    assert json.loads((out / "model.int8.json").read_text())["sentences"] == 64
    assert sorted(path.name for path in out.glob("model*")) == [
        "model.int8.json", "model.int8.onnx", "model.json", "model.onnx"
    ]  # fmt: skip
    assert (out / "tokenizer.json").is_file()
    assert not list(out.parent.glob(".fsp-unfinished-*"))


def test_axes_are_dynamic_and_padding_has_no_say(exported, tiny):
    out, *_ = exported
    saved = load_saved(tiny.teacher)
    short, long = "A word.", "Many more words stand in this one than in the other. " * 5
    for texts in ([short], [short, long, short], [long] * 5):
        inputs = batch_of(saved, texts)
        with torch.inference_mode():
            expected = saved.serving(**inputs)[0].numpy()
        kept = inputs["attention_mask"].numpy().astype(bool)
        (found,) = outputs_of(out / "model.onnx", inputs)
        np.testing.assert_allclose(found[kept], expected[kept], atol=1e-5)
    for name, tolerance in (("model.onnx", 1e-5), ("model.int8.onnx", 0.3)):
        alone = outputs_of(out / name, batch_of(saved, [short]))[0][0]
        beside = outputs_of(out / name, batch_of(saved, [short, long]))[0][0, : len(alone)]
        np.testing.assert_allclose(alone, beside, atol=tolerance)


def test_types_of_two_texts_are_an_input(exported, tiny):
    out, *_ = exported
    saved = load_saved(tiny.teacher)
    inputs = dict(saved.tokenizer(["One text."], ["Another."], return_tensors="pt"))
    assert inputs["token_type_ids"].sum() > 0
    with torch.inference_mode():
        expected = saved.serving(**inputs)[0].numpy()
    np.testing.assert_allclose(outputs_of(out / "model.onnx", inputs)[0], expected, atol=1e-5)


def test_int8_has_fused_attention_and_nothing_of_this_machine(exported):
    out, *_ = exported
    model = onnx.load(out / "model.int8.onnx")
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("QAttention") == 3 and "Attention" not in kinds and "MatMul" not in kinds
    for name in ("model.onnx", "model.int8.onnx"):
        content = (out / name).read_bytes()
        assert b".py" not in content and str(Path(fsp.deploy.exporting.__file__).parent).encode() not in content


def test_a_head_gives_logits_and_their_agreement(classifier, tmp_path, tiny):
    facts = export(classifier, tmp_path / "out", corpus=[tiny.corpus])
    assert facts["outputs"] == ["logits"] and facts["agreement_of"] == "predictions" and facts["agreement"] == 1
    names = [value.name for value in onnx.load(facts["file"], load_external_data=False).graph.input]
    assert names == ["input_ids", "attention_mask"]  # RoBERTa has one type


def test_masked_tokens_and_a_directory_that_stays_loadable(tmp_path, tiny):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30522, hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, initializer_range=0.1,
    )  # fmt: skip
    network = BertForMaskedLM(config)
    torch.nn.init.eye_(network.cls.predictions.transform.dense.weight)  # a head that is sure of what it reads
    network.save_pretrained(tmp_path)
    load_saved(tiny.teacher).tokenizer.save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    inputs = {"input_ids": torch.arange(2000, 2030).reshape(2, 15)}
    with torch.inference_mode():
        expected = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()(**inputs).logits
    facts = export(tmp_path, int8=True, corpus=[tiny.corpus])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    with torch.inference_mode():  # the directory is what it was: it loads, and computes the same
        again = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()(**inputs).logits
    torch.testing.assert_close(again, expected, rtol=0, atol=0)
    assert AutoTokenizer.from_pretrained(tmp_path)("A word.").input_ids
    assert facts["outputs"] == ["logits"] and facts["agreement"] >= LEAST_PREDICTIONS
    assert Path(facts["file"]) == tmp_path / "onnx" / "model.int8.onnx"


@pytest.mark.parametrize(
    ("int8", "too_strict"), [(False, "FLOAT32_TOLERANCE"), (True, "INT8_TOLERANCE"), (True, "LEAST_PREDICTIONS")]
)
def test_what_differs_too_much_leaves_nothing(tmp_path, classifier, tiny, monkeypatch, int8, too_strict):
    monkeypatch.setattr(f"fsp.deploy.comparison.{too_strict}", 1.1 if too_strict == "LEAST_PREDICTIONS" else 0.0)
    out = tmp_path / "deep" / "out"
    with pytest.raises(RunFailed, match=r"too far from the original: .*nothing was kept"):
        export(classifier, out, int8=int8, corpus=[tiny.corpus])
    assert not out.exists() and not list(out.parent.iterdir())


def test_what_fails_leaves_an_earlier_export_as_it_was(tmp_path, classifier, tiny, monkeypatch):
    export(classifier, tmp_path / "out", corpus=[tiny.corpus])
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    monkeypatch.setattr("fsp.deploy.comparison.FLOAT32_TOLERANCE", 0.0)
    with pytest.raises(RunFailed):
        export(classifier, tmp_path / "out", corpus=[tiny.corpus])
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


LAYOUTS = {
    "mean": {},
    "cls": {"pooling": "cls"},
    "max": {"pooling": "max", "after": []},
    "mean and last, of different widths": {"pooling": ("mean", "lasttoken"), "after": [("Dense", 20, "Tanh", True)]},
    "weighted, two dense": {"pooling": "weightedmean", "after": [("Dense", 20, "ReLU", False), ("LayerNorm",)]},
    "cut to fewer numbers": {"truncate": 10, "after": []},
    "short": {"longest": 12},
    "prompt": {"prompts": {"query": "search for this: "}, "default": "query"},
    "prompt left out of pooling": {"prompts": {"query": "search: "}, "default": "query", "include_prompt": False},
    "lower case": {"lower_case": True},
    "roberta": {"roberta": True, "longest": 30},
}


def served(folder, name, facts, texts):
    """Embeddings as a server without torch makes them, from the files that were exported."""
    from tokenizers import Tokenizer

    encoded = Tokenizer.from_file(str(folder / "tokenizer.json")).encode_batch(
        [facts["prompt"] + text for text in texts]
    )
    session = onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
    given = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
    inputs = {i.name: np.array([getattr(text, given[i.name]) for text in encoded]) for i in session.get_inputs()}
    return session.run(["sentence_embedding"], inputs)[0]


@pytest.mark.parametrize("name", LAYOUTS)
def test_sentence_embeddings_are_those_of_sentence_transformers(tiny, tmp_path, name):
    from sentence_transformers import SentenceTransformer

    model = sentence_model(tiny, tmp_path / "T", **LAYOUTS[name])
    facts = export(model, tmp_path / "onnx", corpus=[tiny.corpus])
    assert facts["outputs"] == ["last_hidden_state", "sentence_embedding"]
    expected = SentenceTransformer(str(model), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(served(tmp_path / "onnx", "model.onnx", facts, TEXTS), expected, atol=1e-5)


def test_int8_embeddings_point_where_sentence_transformers_point(tiny, tmp_path):
    from sentence_transformers import SentenceTransformer

    model = sentence_model(tiny, tmp_path / "T", after=[("Dense", 40, "Identity", True), ("Normalize",)])
    facts = export(model, tmp_path / "onnx", int8=True, corpus=[tiny.corpus])
    expected = SentenceTransformer(str(model), device="cpu").encode(TEXTS)
    found = served(tmp_path / "onnx", "model.int8.onnx", facts, TEXTS)
    assert (found * expected).sum(axis=1).min() > 0.99
    assert "MatMul" in [node.op_type for node in onnx.load(tmp_path / "onnx" / "model.int8.onnx").graph.node]  # readout


def test_what_is_exported_is_compared_with_the_library_not_with_fsp(tiny, tmp_path, monkeypatch):
    model = sentence_model(tiny, tmp_path / "T", pooling="cls")
    monkeypatch.setattr(
        "fsp.distillation.models.sentence_layout.SentenceLayout.pool",
        lambda self, states, mask, prompt=0: states.mean(dim=1),
    )
    with pytest.raises(RunFailed, match=r"sentence_embedding: .*nothing was kept"):
        export(model, tmp_path / "onnx", corpus=[tiny.corpus])


def test_a_channel_ten_times_as_large_does_not_drown_the_others(tmp_path):
    """Equalised, the product is the same in float32 and far nearer to it in int8."""
    import onnx_ir as ir
    from onnxruntime.quantization import QuantType, quantize_dynamic

    random = np.random.default_rng(0)
    states = random.normal(size=(4, 16, 64)).astype(np.float32)
    states[..., 5] *= 40
    weight = random.normal(size=(64, 32)).astype(np.float32)
    weight[5] /= 40
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 16, 64])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 16, 32])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    opset = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "plain.onnx")
    model = ir.load(tmp_path / "plain.onnx")
    equalise(model, list(model.graph), [{"x": states[:2]}], tmp_path / "scratch.onnx")
    ir.save(model, tmp_path / "even.onnx")
    errors = {}
    for name in ("plain", "even"):
        quantize_dynamic(
            tmp_path / f"{name}.onnx", tmp_path / f"{name}8.onnx", weight_type=QuantType.QInt8, per_channel=True
        )
        for file in (name, f"{name}8"):
            session = onnxruntime.InferenceSession(tmp_path / f"{file}.onnx", providers=["CPUExecutionProvider"])
            errors[file] = np.linalg.norm(session.run(None, {"x": states})[0] - states @ weight)
    norm = np.linalg.norm(states @ weight)
    assert errors["even"] < 1e-6 * norm
    assert errors["even8"] < 0.3 * errors["plain8"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "is no model directory"),
        ({"model_type": "t5", "architectures": ["T5Model"]}, "model type 't5' belongs to no network family"),
        ({"model_type": "bert", "architectures": ["BertForQuestionAnswering"]}, "'BertForQuestionAnswering' is not"),
        ({"model_type": "bert", "architectures": ["BertModel"]}, "it has no weights"),
        ({"model_type": "no_such"}, "cannot load model"),
    ],
)
def test_unusable_directories(tmp_path, config, message):
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        export(tmp_path)
    assert not (tmp_path / "onnx").exists()


def test_missing_weights(tmp_path, classifier):
    from safetensors.torch import load_file, save_file

    for path in classifier.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if "classifier" not in k}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(InputError, match=r"lacks weights for classifier\.dense\.bias and 3 more"):
        export(tmp_path)


def test_a_directory_that_claims_more_tokens_than_it_has_positions_is_cut_there(tiny, tmp_path):
    model = sentence_model(tiny, tmp_path / "T", longest=4000)  # of 128 positions
    found = export(model, tmp_path / "out", corpus=[tiny.corpus])
    assert found["agreement"] > 0.9999
    assert load_saved(model).longest == 128
