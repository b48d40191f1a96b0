import numpy as np
import pytest
import torch
from sentence_models import sentence_model
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from fsp.base.errors import InputError, RunFailed
from fsp.deploy.comparison import Tolerances, compare
from fsp.deploy.serving import LOGITS, SENTENCE, STATES, Saved, TextServing, load_saved

SENTENCES = [f"The {noun} has {count} parts." for noun in ("net", "layer", "word", "head") for count in range(2, 10)]


class Session:
    """torch's own outputs, one of them damaged."""

    def __init__(self, saved, name="", damage=lambda output: output):
        self.saved, self.name, self.damage = saved, name, damage

    def run(self, names, feed):
        with torch.inference_mode():
            outputs = self.saved.serving(**{key: torch.from_numpy(value) for key, value in feed.items()})
        return [
            self.damage(output.numpy()) if name == self.name else output.numpy()
            for name, output in zip(names, outputs, strict=True)
        ]


def config(**more):
    return BertConfig(
        vocab_size=30522, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=128, **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return AutoTokenizer.from_pretrained(tiny.teacher)


@pytest.fixture(scope="module")
def student(tiny, tmp_path_factory):
    """An encoder with pooling and a dense module: token states and sentence embeddings."""
    layout = [("Dense", 24, "Identity", True), ("Normalize",)]
    return load_saved(sentence_model(tiny, tmp_path_factory.mktemp("sentences") / "model", after=layout))


@pytest.fixture(scope="module")
def classifier(tokenizer):
    torch.manual_seed(0)
    return Saved(TextServing(BertForSequenceClassification(config(initializer_range=0.2))).eval(), tokenizer)


def random_units(output):
    vectors = np.random.default_rng(0).normal(size=output.shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("name", [STATES, SENTENCE])
def test_exact_outputs_agree_and_random_ones_are_refused_whatever_the_others_do(student, name, int8):
    found = compare(student, Session(student), SENTENCES, int8=int8)
    assert found["agreement"] == pytest.approx(1) and found["largest_difference"] < 1e-5
    assert set(found["differences"]) == {STATES, SENTENCE}
    noise = np.random.default_rng(0)
    damage = random_units if name == SENTENCE else lambda output: noise.normal(size=output.shape).astype(np.float32)
    with pytest.raises(RunFailed, match=rf"{name}: .*nothing was kept"):
        compare(student, Session(student, name, damage), SENTENCES, int8=int8)


def test_embeddings_near_the_librarys_but_in_another_order_are_refused(student):
    with pytest.raises(RunFailed, match=r"Spearman's correlation of similarities 0\.\d+ \(at least 0\.95\)"):
        compare(student, Session(student, SENTENCE, lambda output: output[::-1]), SENTENCES, int8=True)


def test_embeddings_are_judged_by_direction_and_order_whatever_their_size(student):
    found = compare(student, Session(student, SENTENCE, lambda output: output * 3), SENTENCES, int8=True)
    assert found["differences"][SENTENCE]["relative_difference"] == pytest.approx(2, rel=1e-4)
    assert {check["measure"]: check["limit"] for check in found["checks"] if check["output"] == SENTENCE} == {
        "Spearman's correlation of similarities": 0.95,
        "mean cosine": 0.95,
    }
    turned = Session(student, SENTENCE, lambda output: -output)  # the same similarities
    with pytest.raises(RunFailed, match=r"similarities 1 \(at least 0\.95\); .*mean cosine -1 \(at least 0\.95\)"):
        compare(student, turned, SENTENCES, int8=True)


def test_a_refusal_tells_each_outputs_figure_and_limit_and_limits_can_be_set(student):
    def rounded(output):
        return (output * (1 + 0.26 * np.sign(output))).astype(np.float32)

    damaged = Session(student, STATES, rounded)
    with pytest.raises(
        RunFailed, match=r"last_hidden_state: relative difference 0\.26 \(at most 0\.2\); sentence_"
    ) as told:
        compare(student, damaged, SENTENCES, int8=True)
    assert "--tolerance" in str(told.value) and "\n" not in str(told.value)
    assert compare(student, damaged, SENTENCES, int8=True, limits=Tolerances(tolerance=0.3))["agreement"] > 0.99
    with pytest.raises(RunFailed, match=r"at most 0\.0001"):  # of float32 there are none to set
        compare(student, damaged, SENTENCES, int8=False, limits=Tolerances(tolerance=0.3))
    turned = Session(student, SENTENCE, lambda output: output[::-1])
    assert compare(student, turned, SENTENCES, int8=True, limits=Tolerances(agreement=1e-9))["agreement"] < 0.95


@pytest.mark.parametrize(
    "limits", [{"tolerance": 0.0}, {"tolerance": float("nan")}, {"agreement": 0.0}, {"agreement": 1.1}]
)
def test_limits_that_are_none(limits):
    with pytest.raises(InputError, match=r"tolerance|agreement"):
        Tolerances(**limits)


def test_predictions_that_change_are_refused_though_logits_are_near(classifier):
    with torch.inference_mode():
        batch = dict(classifier.tokenizer(SENTENCES, padding=True, return_tensors="pt"))
        margin = classifier.serving(**batch)[0].diff(dim=-1).squeeze().numpy()

    def shifted(output):  # all texts then are of one class
        return output + np.float32([0, -2 * margin.min() if margin.mean() < 0 else -2 * margin.max()])

    assert compare(classifier, Session(classifier), SENTENCES, int8=True)["agreement"] == 1
    with pytest.raises(RunFailed, match=r"share of equal predictions 0 \(at least 0\.9\)"):
        compare(classifier, Session(classifier, LOGITS, shifted), SENTENCES, int8=True, limits=Tolerances(tolerance=10))


def test_what_int8_may_do_float32_may_not(student):
    def rounded(output):
        return (output * (1 + 0.01 * np.sign(output))).astype(np.float32)

    found = compare(student, Session(student, STATES, rounded), SENTENCES, int8=True)
    assert found["relative_difference"] == pytest.approx(0.01, rel=0.01)
    assert found["differences"][SENTENCE]["relative_difference"] < 1e-5
    with pytest.raises(RunFailed, match=r"last_hidden_state: .* 0\.01 \(at most 0\.0001\)"):
        compare(student, Session(student, STATES, rounded), SENTENCES, int8=False)


def test_no_numbers_are_refused(student):
    with pytest.raises(RunFailed, match="no finite number"):
        compare(student, Session(student, SENTENCE, lambda output: output * np.nan), SENTENCES, int8=True)
