"""Networks of every family in ONNX, compared with transformers' own classes on inputs that the export has not seen."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
import transformers
from text_networks import saved
from tiny_networks import tiny as network_of

from fsp import export
from fsp.base.errors import InputError, RunFailed
from fsp.deploy.serving import load_saved
from fsp.distillation.models.own import save_own
from fsp.families import mlp


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, tiny):
    path = tmp_path_factory.mktemp("corpus") / "docs.txt"
    path.write_text((tiny.corpus / "docs.txt").read_text(encoding="utf-8")[:60_000], encoding="utf-8")
    return path


def run(file, inputs):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {i.name: inputs[i.name].numpy() for i in session.get_inputs()})[0]


TEXT = [
    ("xlm-roberta", "ForMaskedLM", "AutoModelForMaskedLM"),
    ("electra", "ForTokenClassification", "AutoModelForTokenClassification"),
    ("distilbert", "ForSequenceClassification", "AutoModelForSequenceClassification"),
    ("modernbert", "", "AutoModel"),
    ("gpt2", "LMHeadModel", "AutoModelForCausalLM"),
    ("llama", "ForCausalLM", "AutoModelForCausalLM"),
    ("qwen3", "ForSequenceClassification", "AutoModelForSequenceClassification"),
]


@pytest.mark.parametrize(("kind", "head", "loader"), TEXT, ids=[f"{kind} {head}" for kind, head, _ in TEXT])
def test_texts(kind, head, loader, tmp_path, corpus):
    folder = saved(kind, head, tmp_path / "model")
    facts = export(folder, tmp_path / "onnx", corpus=[corpus])
    assert facts["outputs"] == ["logits" if head else "last_hidden_state"]
    generator = torch.Generator().manual_seed(7)
    lengths = torch.tensor([30, 1, 17])
    mask = (torch.arange(30) < lengths[:, None]).long()
    tokens = torch.randint(5, 100, (3, 30), generator=generator) * mask  # the padding is token 0
    inputs = {"input_ids": tokens, "attention_mask": mask}
    network = getattr(transformers, loader).from_pretrained(folder).eval()
    with torch.no_grad():
        expected = network(**inputs)[0].numpy()
    found = run(facts["file"], {**inputs, "token_type_ids": torch.zeros_like(tokens)})
    kept = mask.numpy().astype(bool) if expected.ndim == 3 else slice(None)
    np.testing.assert_allclose(found[kept], expected[kept], rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert (tmp_path / "onnx" / "tokenizer.json").is_file()


def test_a_decoders_classifier_that_pads_otherwise_than_its_tokenizer_is_refused(tmp_path, corpus):
    folder = saved("llama", "ForSequenceClassification", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": 7}))
    with pytest.raises(InputError, match="pads with token 0 and its model with 7"):
        export(folder, tmp_path / "onnx", corpus=[corpus])


@pytest.mark.parametrize(("kind", "head"), [("vit", "ForImageClassification"), ("deit", "")])
def test_images(kind, head, tmp_path, in_process):
    folder = saved(kind, head, tmp_path / "model")
    (folder / "preprocessor_config.json").write_text('{"image_processor_type": "ViTImageProcessor"}')
    code, printed, said = in_process("export", folder, "--out", tmp_path / "onnx")
    assert code == 0, said
    assert "on 12 random images" in printed and "tokenizer" not in printed
    inputs = {"pixel_values": torch.randn(5, 3, 24, 24, generator=torch.Generator().manual_seed(7))}
    with torch.no_grad():
        expected = network_of(kind, head)(**inputs)[0].numpy()
    found = run(tmp_path / "onnx" / "model.onnx", inputs)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert json.loads((tmp_path / "onnx" / "model.json").read_text())["images"] == 12
    assert (tmp_path / "onnx" / "preprocessor_config.json").is_file()
    code, _, said = in_process("export", folder, "--int8", "--out", tmp_path / "int8")
    assert code == 2 and "int8 is for networks that take text" in said and not (tmp_path / "int8").exists()


@pytest.mark.parametrize("kind", ["distilbert", "modernbert", "llama"])
def test_int8(kind, tmp_path, corpus):
    folder = saved(kind, "", tmp_path / "model", noise=0.1)
    facts = export(folder, tmp_path / "onnx", int8=True, corpus=[corpus])
    assert 1e-4 < facts["relative_difference"] < 0.2


def test_int8_that_onnx_runtime_cannot_run_is_refused_in_one_line(tmp_path, corpus):
    folder = saved("gpt2", "LMHeadModel", tmp_path / "model")
    with pytest.raises(RunFailed, match=r"cannot run this network in int8: .*export it without --int8"):
        export(folder, tmp_path / "onnx", int8=True, corpus=[corpus])
    assert not (tmp_path / "onnx").exists()


def test_tokens_that_do_not_see_all_others_have_no_fused_mask(tmp_path):
    """The int8 kernel of fused attention takes no other mask than that of padding."""
    for kind, sees in (
        ("roberta", True),
        ("distilbert", True),
        ("modernbert", False),
        ("gpt2", False),
        ("llama", False),
    ):
        assert load_saved(saved(kind, "", tmp_path / kind)).text.attends_to_all is sees


def test_networks_that_transformers_does_not_know_are_refused(tmp_path):
    save_own(mlp.build({"D": 2, "H": 8}, {"inputs": 3, "outputs": 2}), mlp, tmp_path)
    with pytest.raises(InputError, match="have no export; time them with --runtime eager or compile"):
        export(tmp_path)
