"""Classifiers of every family that reads text: fitted, saved, loaded by transformers, and the same with any padding."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from text_networks import saved
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from fsp.base.device import Device
from fsp.base.errors import InputError
from fsp.base.run_folder import join
from fsp.distillation.models.own import save_own
from fsp.families import mlp
from fsp.finetuning import classifier as module
from fsp.finetuning.classifier import Classifier
from fsp.finetuning.examples import Example
from fsp.finetuning.finetune import _fixed
from fsp.finetuning.labellers import load_labeller
from fsp.finetuning.settings import FinetuningSettings
from fsp.finetuning.theta import Hyperparameters

LABELS = ("bad", "good")
FAST = Hyperparameters(1e-2, batch=8)
ROWS = [
    Example((f"the {noun} of this film is {word}{more}",), int(word == "good"))
    for noun in ("story", "plot", "music")
    for word in LABELS
    for more in ("", " and that is the ending of it")
]
KINDS = (
    *("bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "modernbert"),
    *("gpt2", "llama", "mistral", "qwen3"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_and_is_saved_as_transformers_loads_it(kind, tmp_path):
    ours = Classifier(saved(kind, "", tmp_path / "model", noise=0.1), LABELS)
    model = ours.fit(FAST, ROWS, steps=120, seed=0)
    found = ours.predict(model, ROWS)
    assert (found == [one.label for one in ROWS]).mean() > 0.9
    assert [int(ours.predict(model, [one])[0]) for one in ROWS] == found.tolist()  # without padding
    model.save_pretrained(tmp_path / "fitted")
    ours.tokenizer.save_pretrained(tmp_path / "fitted")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "fitted").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "fitted")
    batch = tokenizer([one.fields[0] for one in ROWS], padding=True, return_tensors="pt")
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        assert theirs(**inputs).logits.argmax(dim=1).tolist() == found.tolist()
    labels = load_labeller(str(tmp_path / "fitted"), ROWS, LABELS)([one.fields for one in ROWS])
    assert labels.argmax(axis=1).tolist() == found.tolist()


@pytest.mark.parametrize("kind", ["gpt2", "llama", "distilbert"])
def test_texts_are_padded_on_the_right_whatever_the_tokenizer_says(kind, tmp_path):
    folder = saved(kind, "", tmp_path / "right")
    left = saved(kind, "", tmp_path / "left")
    tokenizer = AutoTokenizer.from_pretrained(left)
    tokenizer.padding_side = "left"
    tokenizer.save_pretrained(left)
    found = []
    for one in (folder, left):
        ours = Classifier(one, LABELS)
        model = ours.fit(FAST, ROWS, steps=2, seed=0)
        found.append(model.state_dict())
        vectors = load_labeller(f"probe:{one}", ROWS, LABELS)([row.fields for row in ROWS])
        found.append({"probe": torch.from_numpy(vectors)})
    for first, second in zip(found[:2], found[2:], strict=True):
        for name, value in first.items():
            torch.testing.assert_close(second[name], value)


@pytest.mark.parametrize("kind", ["gpt2", "roberta", "distilbert"])
def test_token_types_of_a_tokenizer_go_only_to_networks_that_have_them(kind, tmp_path):
    """GPT-2 would take them for words, and RoBERTa's table has a single row."""
    settings = {"type_vocab_size": 1} if kind == "roberta" else {}
    folder = saved(kind, "", tmp_path / "model", **settings)
    pairs = [Example((one.fields[0], "a film"), one.label) for one in ROWS]
    ours = Classifier(folder, LABELS)
    ours.tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    assert ours.tokenizer(*pairs[0].fields)["token_type_ids"]
    model = ours.fit(FAST, pairs, steps=1, seed=0)
    seen = []
    model.register_forward_pre_hook(lambda module, args, given: seen.append(sorted(given)), with_kwargs=True)
    ours.predict(model, pairs)
    assert seen == [["attention_mask", "input_ids"]]


def test_the_head_of_an_electra_is_not_borts(tmp_path):
    with pytest.raises(InputError, match="fits BERT- and RoBERTa-like models, not electra"):
        Classifier(saved("electra", "", tmp_path), LABELS, head="bort")


def test_networks_that_read_no_text_are_refused(tmp_path):
    save_own(mlp.build({"D": 1, "H": 4}, {"inputs": 2, "outputs": 2}), mlp, tmp_path / "mlp")
    with pytest.raises(InputError, match="transformers does not know its networks, and they read no text"):
        Classifier(tmp_path / "mlp", LABELS)
    for refused in (lambda folder: Classifier(folder, LABELS), lambda folder: load_labeller(str(folder), ROWS, LABELS)):
        with pytest.raises(InputError, match="a vit reads no text"):
            refused(saved("vit", "", tmp_path / "vit"))


def test_a_batch_in_parts_has_the_gradient_of_the_whole(tmp_path, monkeypatch):
    """Dropout is off, so that parts and the whole differ by rounding alone."""
    folder = saved("llama", "", tmp_path)
    whole = Classifier(folder, LABELS).fit(FAST, ROWS, steps=3, seed=0)
    failed, loss = [], module.Classifier._loss

    def loss_of(self, model, rows):
        if len(rows) > 3:
            failed.append(len(rows))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(self, model, rows)

    monkeypatch.setattr(module.Classifier, "_loss", loss_of)
    parts = Classifier(folder, LABELS).fit(FAST, ROWS, steps=3, seed=0)
    assert failed == [8, 4]  # once found, the number of parts stays
    for one, two in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


def test_predictions_that_do_not_fit_are_made_in_parts(tmp_path):
    ours = Classifier(saved("distilbert", "", tmp_path), LABELS)
    model = ours.fit(FAST, ROWS, steps=1, seed=0)
    expected, sizes = ours.predict(model, ROWS), []

    def refuse(module, args, given):
        sizes.append(len(given["input_ids"]))
        if sizes[-1] > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(refuse, with_kwargs=True)
    np.testing.assert_array_equal(ours.predict(model, ROWS), expected)
    assert sizes == [12, 12, 12, 8, 4, 4, 4]  # 64 rows at a time, then halves


def test_numbers_are_what_a_fit_depends_on(tmp_path, task):
    folder = saved("distilbert", "", tmp_path / "model")
    settings = FinetuningSettings(threads=1)
    float32, bfloat16 = (
        Classifier(folder, LABELS, device=Device.chosen("cpu", kind)) for kind in ("float32", "bfloat16")
    )
    models = [one.fit(FAST, ROWS, steps=3, seed=0) for one in (float32, bfloat16)]
    weights = [model.classifier.weight for model in models]
    assert weights[0].dtype == weights[1].dtype == torch.float32
    assert not torch.equal(*weights)
    torch.testing.assert_close(*weights, rtol=0.2, atol=0.02)
    join(tmp_path / "out", _fixed(float32, task.data, settings))
    with pytest.raises(InputError, match="its dtype, training_dtype differ"):
        join(tmp_path / "out", _fixed(bfloat16, task.data, replace(settings, dtype="bfloat16")))


def test_a_device_that_is_not_there_is_refused_before_data_are_read(tmp_path, in_process):
    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    words = ["--train", "none.csv", "--dev", "none.csv", "--out", tmp_path / "out", "--method", "grid"]
    code, _, said = in_process("finetune", "none", *words, "--device", "cuda")
    assert code == 2 and "has no device cuda" in said
    assert not (tmp_path / "out").exists()
