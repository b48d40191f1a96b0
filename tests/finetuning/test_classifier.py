from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DistilBertConfig, DistilBertModel

from fsp.base.errors import Diverged, InputError
from fsp.finetuning.classifier import Classifier, _batches
from fsp.finetuning.examples import Example
from fsp.finetuning.theta import Hyperparameters

LABELS = ("bad", "good")
FAST = Hyperparameters(1e-2, batch=16)


@pytest.fixture(scope="module")
def classifier(tiny):
    return Classifier(tiny.teacher, LABELS)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_fit_learns_the_task(classifier, task):
    model = classifier.fit(FAST, task.data.train, steps=40, seed=0)
    guesses = classifier.predict(model, task.data.final)
    assert np.mean(guesses == [one.label for one in task.data.final]) > 0.85


def test_a_fit_depends_on_its_arguments_alone(classifier, tiny, task):
    first = weights(classifier.fit(FAST, task.data.train, steps=3, seed=5))
    classifier.fit(FAST, task.data.dev, steps=2, seed=1)
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    assert same(first, weights(classifier.fit(FAST, task.data.train, steps=3, seed=5)))
    assert torch.equal(state, torch.random.get_rng_state())
    other = Classifier(tiny.teacher, LABELS)
    assert same(first, weights(other.fit(FAST, task.data.train, steps=3, seed=5)))
    assert not same(first, weights(classifier.fit(FAST, task.data.train, steps=3, seed=6)))


def test_every_fit_starts_from_the_checkpoint_with_a_head_of_its_seed(classifier, task, tiny):
    from transformers import AutoModel

    body = AutoModel.from_pretrained(tiny.teacher).state_dict()
    tiny_rate = replace(FAST, learning_rate=1e-30, weight_decay=0.0)
    one, other = (classifier.fit(tiny_rate, task.data.train, steps=1, seed=seed) for seed in (0, 1))
    changed = [name for name, value in body.items() if (one.bert.state_dict()[name] - value).abs().max() > 1e-20]
    assert changed == []
    assert not torch.equal(one.classifier.weight, other.classifier.weight)
    assert one.config.id2label == {0: "bad", 1: "good"}


def test_batches_take_each_row_once_before_any_again():
    batches = _batches(10, 4, np.random.default_rng(0))
    drawn = [i for _ in range(5) for i in next(batches)]
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert len(next(_batches(3, 16, np.random.default_rng(0)))) == 3


def test_soft_targets_are_trained_on(classifier, task):
    rows = [replace(one, target=(1 - one.label, one.label)) for one in task.data.train]
    hard = weights(classifier.fit(FAST, task.data.train, steps=3, seed=0))
    assert same(hard, weights(classifier.fit(FAST, rows, steps=3, seed=0)))
    even = [replace(one, target=(0.5, 0.5)) for one in task.data.train]
    assert not same(hard, weights(classifier.fit(FAST, even, steps=3, seed=0)))


def test_predictions_do_not_depend_on_the_other_rows(classifier, task):
    model = classifier.fit(FAST, task.data.train, steps=20, seed=0)
    rows = task.data.final
    alone = [int(classifier.predict(model, [one])[0]) for one in rows]
    assert classifier.predict(model, rows).tolist() == alone
    assert classifier.predict(model, []).shape == (0,)


def test_pairs_use_both_fields(classifier):
    rows = [Example(("who was it", f"number {i}"), i % 2) for i in range(20)]
    model = classifier.fit(FAST, rows, steps=3, seed=0)
    assert set(classifier._types[rows[0].fields]) == {0, 1}
    assert classifier.predict(model, rows).shape == (20,)


def test_rows_that_are_cut_off_are_counted(tiny):
    short = Classifier(tiny.teacher, LABELS, length=8)
    rows = [Example(("one two three four five six",), 0), Example(("one two three four five six seven",), 0)]
    assert short.truncated(rows) == 1
    assert Classifier(tiny.teacher, LABELS, length=1000).length == 128  # as many positions as T has


def test_divergence_is_no_result(classifier, task):
    with pytest.raises(Diverged, match="at step"):
        classifier.fit(replace(FAST, learning_rate=1e30), task.data.train, steps=5, seed=0)


def test_the_bort_head_is_new_has_dropout_and_is_saved_as_the_familys_own(tiny, task, tmp_path):
    bort = Classifier(tiny.teacher, LABELS, head="bort")
    assert bort.fingerprint == Classifier(tiny.teacher, LABELS).fingerprint
    still = replace(FAST, learning_rate=1e-30, weight_decay=0.0)
    one, other = (bort.fit(still, task.data.train, steps=1, seed=seed) for seed in (0, 1))
    assert not torch.equal(one.bert.pooler.dense.weight, other.bert.pooler.dense.weight)
    batch = bort._batch([task.data.train[0].fields])
    one.bert.embeddings.dropout.p = 0.0
    seen = []
    one.bert.pooler.dense.register_forward_hook(lambda module, inputs, output: seen.append(output))
    torch.manual_seed(0)
    one.bert.pooler.train()
    with torch.inference_mode():
        one(**batch), one(**batch)
        one.eval()
        one(**batch), one(**batch)
    assert not torch.equal(seen[0], seen[1]) and torch.equal(seen[2], seen[3])

    fitted = bort.fit(FAST, task.data.train, steps=30, seed=0)
    fitted.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert (bort.predict(loaded, task.data.final) == bort.predict(fitted, task.data.final)).all()


def test_the_bort_head_is_robertas_and_is_refused_where_it_does_not_fit(minilm_folder, tmp_path):
    from transformers import RobertaConfig, RobertaModel

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    size = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 16}
    RobertaModel(RobertaConfig(vocab_size=30522, pad_token_id=0, max_position_embeddings=64, **size)).save_pretrained(
        tmp_path / "roberta"
    )
    DistilBertModel(DistilBertConfig(n_layers=1, n_heads=2, dim=16, hidden_dim=16)).save_pretrained(tmp_path / "distil")
    for name in ("roberta", "distil"):
        tokenizer.save_pretrained(tmp_path / name)
    rows = [Example(("word " * 200,), 0), Example(("other",), 1)]
    roberta = Classifier(tmp_path / "roberta", LABELS, head="bort")
    assert roberta.length == 63  # it counts positions from behind the padding token, 0
    roberta.predict(roberta.fit(FAST, rows, steps=1, seed=0), rows)
    with pytest.raises(InputError, match="the Bort head fits BERT- and RoBERTa-like models, not distilbert"):
        Classifier(tmp_path / "distil", LABELS, head="bort")
    distil = Classifier(tmp_path / "distil", LABELS)
    distil.predict(distil.fit(FAST, rows, steps=1, seed=0), rows)


def test_a_decoder_without_padding_is_fitted_too(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2Model, PreTrainedTokenizerFast

    words = ["<end>", "<unk>", "good", "bad", "film"]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", unk_token="<unk>").save_pretrained(tmp_path)
    GPT2Model(GPT2Config(vocab_size=5, n_positions=32, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    rows = [Example(("good film",), 1), Example(("bad",), 0), Example(("film good",), 1), Example(("bad film",), 0)]
    classifier = Classifier(tmp_path, LABELS)
    model = classifier.fit(replace(FAST, learning_rate=0.05), rows, steps=40, seed=0)
    assert classifier.predict(model, rows).tolist() == [1, 0, 1, 0]
    assert [int(classifier.predict(model, [one])[0]) for one in rows] == [1, 0, 1, 0]


def test_a_head_for_other_classes_is_replaced(classifier, task, tmp_path):
    fitted = classifier.fit(FAST, task.data.train, steps=2, seed=0)
    fitted.save_pretrained(tmp_path)
    classifier.tokenizer.save_pretrained(tmp_path)
    three = Classifier(tmp_path, ("a", "b", "c"))
    model = three.fit(FAST, [Example(("x",), 2), Example(("y",), 0)], steps=1, seed=0)
    assert model.config.num_labels == 3


def test_models_that_cannot_be_used_are_refused(tmp_path, tiny, minilm_folder):
    with pytest.raises(InputError, match="no model directory"):
        Classifier(tmp_path, LABELS)
    with pytest.raises(InputError, match="no head 'big'"):
        Classifier(tiny.teacher, LABELS, head="big")
    from safetensors.torch import load_file, save_file

    AutoTokenizer.from_pretrained(minilm_folder).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text((tiny.teacher / "config.json").read_text())
    with pytest.raises(InputError, match="has no weights"):
        Classifier(tmp_path, LABELS)
    kept = {n: v for n, v in load_file(tiny.teacher / "model.safetensors").items() if "layer.1." not in n}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks weights for bert.encoder.layer.1.* and \d+ more; it is not trained"):
        Classifier(tmp_path, LABELS)
