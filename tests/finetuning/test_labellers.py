import numpy as np
import pytest

from fsp.base.errors import InputError
from fsp.finetuning.examples import Example
from fsp.finetuning.labellers import judge, load_labeller

LABELS = ("bad", "good")


def texts(rows):
    return [one.fields for one in rows]


@pytest.mark.parametrize("kind", ["tfidf", "probe"])
def test_fitted_labellers_learn_the_task_and_give_probabilities(task, minilm_folder, kind):
    labeller = load_labeller("tfidf" if kind == "tfidf" else f"probe:{minilm_folder}", task.data.train, LABELS)
    spread = labeller(texts(task.data.dev))
    assert spread.shape == (48, 2)
    assert spread.min() >= 0 and spread.sum(axis=1) == pytest.approx(np.ones(48))
    verdict = judge(labeller, task.data.dev)
    assert verdict.level == "enough" and verdict.accuracy > 0.8 and verdict.rows == 48
    assert "above the 2/3" in str(verdict)
    assert labeller([]).shape == (0, 2)
    again = load_labeller("tfidf" if kind == "tfidf" else f"probe:{minilm_folder}", task.data.train, LABELS)
    assert (again(texts(task.data.dev)) == spread).all()


def test_pairs_are_labelled_too(task, minilm_folder):
    pairs = [Example((one.fields[0], "so they say"), one.label) for one in task.data.train]
    for source in ("tfidf", f"probe:{minilm_folder}"):
        assert judge(load_labeller(source, pairs, LABELS), pairs).accuracy > 0.9


def test_classes_that_are_rare_or_missing_get_their_columns():
    rows = [Example((f"text {word}",), label) for label, word in enumerate(["one", "two"])]
    spread = load_labeller("tfidf", rows, ("a", "b", "c"))([("text two",)])
    assert spread.shape == (1, 3) and spread[0, 2] == 0 and spread.argmax() == 1


@pytest.mark.parametrize(
    ("right", "rows", "share", "level"),
    [(140, 200, 0.5, "enough"), (125, 200, 0.5, "weak"), (108, 200, 0.5, "chance"), (165, 200, 0.8, "chance"),
     (190, 200, 0.8, "enough"), (100, 200, 0.5, "chance"), (7, 10, 0.5, "chance"), (200, 200, 1.0, "chance")],
)  # fmt: skip
def test_the_verdict_is_against_chance_first_and_then_against_two_thirds(right, rows, share, level):
    dev = [Example((str(i),), int(i >= share * rows)) for i in range(rows)]

    def labeller(texts):
        guesses = [one.label if i < right else 1 - one.label for i, one in enumerate(dev)]
        return np.eye(2)[guesses]

    verdict = judge(labeller, dev)
    assert verdict.accuracy == right / rows and verdict.chance == share and verdict.level == level


def test_a_classifier_labels_by_the_names_of_its_classes(task, tmp_path, minilm_folder):
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    def saved(name, labels, **settings):
        torch.manual_seed(0)
        config = BertConfig(
            num_hidden_layers=1, num_attention_heads=2, hidden_size=16, intermediate_size=16, **settings
        )
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: i for i, label in enumerate(labels)}
        model = BertForSequenceClassification(config)
        model.classifier.bias.data = torch.tensor([5.0] + [0.0] * (len(labels) - 1))  # always the first
        model.save_pretrained(tmp_path / name)
        AutoTokenizer.from_pretrained(minilm_folder).save_pretrained(tmp_path / name)
        return str(tmp_path / name)

    def first(source):
        return load_labeller(source, task.data.train, LABELS)([("any text",)])[0]

    assert first(saved("other-order", ["good", "bad"])).argmax() == 1
    assert first(saved("nameless", ["LABEL_0", "LABEL_1"])).argmax() == 0
    with pytest.raises(InputError, match="knows the labels x, y; the data has bad, good"):
        first(saved("others", ["x", "y"]))
    with pytest.raises(InputError, match="its problem_type is multi_label_classification"):
        first(saved("together", ["good", "bad"], problem_type="multi_label_classification"))
    with pytest.raises(InputError, match=r"is no trained classifier: it lacks classifier.bias; or use probe:"):
        first(str(minilm_folder))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "name a labeller"),
        ("probe:/no/such/folder", "model /no/such/folder: there is no such folder"),
        ("/no/such/folder", "labeller /no/such/folder: there is no such folder"),
    ],
)
def test_labellers_that_do_not_exist_are_refused(task, source, message):
    with pytest.raises(InputError, match=message):
        load_labeller(source, task.data.train, LABELS)


def test_texts_without_words_are_no_ground_for_tfidf():
    with pytest.raises(InputError, match="hold no words"):
        load_labeller("tfidf", [Example(("!",), 0), Example(("?",), 1)], LABELS)
