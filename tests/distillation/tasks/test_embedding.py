"""The task `embedding`: what is compared is what sentence-transformers encodes, of T and of the saved student."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from materials import material_of
from sentence_models import TEXTS, sentence_model
from torch import nn

from fsp.base.errors import Diverged, InputError
from fsp.distillation.error import E_MIN, Distillation, DistillationSettings
from fsp.distillation.inputs import prepare
from fsp.distillation.saving import distill, save_student
from fsp.distillation.settings import SurrogateSettings
from fsp.distillation.similarity import similarity_agreement
from fsp.distillation.tasks.choice import task_of
from fsp.distillation.tasks.embedding import _STRENGTHS, fit_ridge
from fsp.distillation.tasks.task import Making
from fsp.distillation.teacher import load_teacher
from fsp.distillation.text.corpus import Corpus, read_corpus

SMALL = {"D": 2, "A": 2, "H": 16, "I": 32}

LAYOUTS = {
    "mean, normalised": {},
    "cls": {"pooling": "cls"},
    "max": {"pooling": "max"},
    "by length": {"pooling": "mean_sqrt_len_tokens"},
    "weighted": {"pooling": "weightedmean"},
    "last": {"pooling": "lasttoken"},
    "two modes": {"pooling": ("cls", "max")},
    "dense": {"after": [("Dense", 48, "Tanh", True)]},
    "dense, normalised": {"after": [("Dense", 16, "ReLU", False), ("Normalize",)]},
    "not normalised, short": {"after": [], "longest": 10},
    "prompt": {"prompts": {"query": "search for this: "}, "default": "query"},
    "prompt not pooled": {"prompts": {"query": "search: "}, "default": "query", "include_prompt": False},
    "two modes, dense": {"pooling": ("mean", "lasttoken"), "after": [("Dense", 24, "Tanh", True), ("Normalize",)]},
    "layer norm": {"after": [("LayerNorm",)]},
    "two modes, prompt not pooled": {
        "pooling": ("weightedmean", "max"),
        "prompts": {"query": "search for all of these: "},
        "default": "query",
        "include_prompt": False,
    },
    "lower case": {"lower_case": True},
    "cut to fewer numbers": {"truncate": 10, "after": []},
}


@pytest.fixture(scope="module")
def corpus(tiny):
    return Corpus.of(read_corpus([tiny.corpus]))


@pytest.fixture(scope="module")
def texts(corpus):
    long = " ".join(corpus.test_sentences[:30])
    return [*corpus.test_sentences[:60], long]


def library(folder):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


def batch_of(task, texts):
    """The inputs that the task makes of texts."""
    examples = task._examples(texts, 10**9, 10**9)
    return examples.take(np.arange(len(texts)))


@pytest.fixture(scope="module", params=LAYOUTS)
def made(request, tiny, corpus, tmp_path_factory):
    """T in a layout, its folder, and the error of untrained cuts."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("embedding")
    given = sentence_model(tiny, folder / "T", **LAYOUTS[request.param])
    parts = material_of(load_teacher(given), corpus, folder / "cache", tokens=16_384, held_out_tokens=2048)
    return given, Distillation(*parts, DistillationSettings(steps=0))


def finished(error, shape=None):
    student = error.student(shape or error.teacher.architecture)
    error.train(student, steps=0, seed=0)
    return student


def test_ts_outputs_are_what_the_library_encodes(made, texts):
    given, error = made
    task, wanted = error.task, library(given).encode([*texts, *TEXTS])
    batch = batch_of(task, [*texts, *TEXTS])
    with torch.inference_mode():
        pooled = task.pooled(error.teacher.network, batch.inputs)
        assert np.allclose(task.wanted(replace(batch, target=pooled)), wanted, atol=1e-5)


def test_lower_case_leaves_special_tokens_as_the_library_does(tiny, tmp_path):
    folder, text = sentence_model(tiny, tmp_path / "T"), "Words [SEP] and MORE words."
    path = folder / "sentence_bert_config.json"  # of earlier versions; this one writes it into the tokenizer
    path.write_text(json.dumps({**json.loads(path.read_text()), "do_lower_case": True}))
    wanted = library(folder).preprocess([text])["input_ids"]
    assert batch_of(task_of(load_teacher(folder)), [text]).inputs["input_ids"].tolist() == wanted.tolist()


def test_ts_own_copy_has_no_error_and_a_small_student_that_of_its_definition(made):
    _, error = made
    assert error(error.teacher.architecture) == E_MIN
    student, test = finished(error, SMALL), error.material.test
    found, wanted = [], []
    with torch.inference_mode():
        for rows in test.rows(0):
            batch = test.take(rows)
            found.append(error.task.predicted(student, batch).double().numpy())
            wanted.append(error.task.wanted(batch).double().numpy())
    found, wanted = np.concatenate(found), np.concatenate(wanted)
    expected = ((found - wanted) ** 2).sum() / ((wanted - wanted.mean(axis=0)) ** 2).sum()
    assert error.measure(student, test) == pytest.approx(expected, rel=1e-4)
    assert error(SMALL) > 10 * E_MIN


def test_the_full_size_copy_saved_as_a_student_gives_ts_own_embeddings(made, texts, tmp_path):
    given, error = made
    save_student(finished(error), error.task, tmp_path / "copy", {"architecture": "T's"})
    theirs, ours = library(given), library(tmp_path / "copy")
    wanted, found = theirs.encode(texts), ours.encode(texts)
    assert wanted.shape == found.shape
    norms = np.linalg.norm(wanted, axis=1), np.linalg.norm(found, axis=1)
    assert np.allclose(*norms, rtol=0.03)
    assert ((wanted * found).sum(axis=1) / (norms[0] * norms[1])).min() > 0.999
    for attribute in ("max_seq_length", "prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim"):
        assert getattr(theirs, attribute) == getattr(ours, attribute)


def test_what_is_predicted_and_measured_is_what_the_saved_model_gives(made, texts, tmp_path):
    given, error = made
    student = finished(error, SMALL)
    save_student(student, error.task, tmp_path / "student", {})
    wanted, found = (library(folder).encode(texts) for folder in (given, tmp_path / "student"))
    with torch.inference_mode():
        assert np.allclose(error.task.predicted(student, batch_of(error.task, texts)), found, atol=1e-5)
    answers = {"T": error.task.answers_of_t(), "s": error.task.answers(student)}
    measured = error.task.measured(answers, replace(error.material, texts=tuple(texts)))
    assert measured["T"] == pytest.approx({"spearman": 1.0, "neighbours": 1.0, "cosine": 1.0}, abs=1e-6)
    norms = np.linalg.norm(wanted, axis=1) * np.linalg.norm(found, axis=1)
    assert measured["s"]["spearman"] == pytest.approx(similarity_agreement(wanted, found), abs=1e-4)
    assert measured["s"]["cosine"] == pytest.approx(((wanted * found).sum(axis=1) / norms).mean(), abs=1e-5)
    listed = [one["type"].rpartition(".")[2] for one in json.loads((tmp_path / "student/modules.json").read_text())]
    own = [one["type"].rpartition(".")[2] for one in json.loads((given / "modules.json").read_text())]
    assert listed == [*own[:2], "Dense", *own[2:]]


def test_an_encoder_without_a_layout_is_embedded_by_its_mean(tiny, corpus, tmp_path, texts):
    """Whatever T, `--task embedding` gives a directory of sentence-transformers."""
    teacher = load_teacher(tiny.teacher, task="embedding")
    error = Distillation(*material_of(teacher, corpus, tmp_path / "cache"), DistillationSettings(steps=0))
    student = finished(error, SMALL)
    save_student(student, error.task, tmp_path / "student", {})
    with torch.inference_mode():
        predicted = error.task.predicted(student, batch_of(error.task, texts))
    assert np.allclose(predicted, library(tmp_path / "student").encode(texts), atol=1e-5)


def test_a_layout_that_would_be_encoded_in_another_way_is_refused(tiny, corpus, tmp_path, monkeypatch):
    task = task_of(load_teacher(sentence_model(tiny, tmp_path / "T", pooling="cls")))
    monkeypatch.setattr(type(task.layout), "pool", lambda self, states, mask, prompt=0: states.mean(dim=1))
    with pytest.raises(InputError, match=r"another way than sentence-transformers does; use --task states") as told:
        task.material(corpus, SurrogateSettings(tokens=16_384), Making(tmp_path / "cache"))
    assert "\n" not in str(told.value)
    assert not list((tmp_path / "cache").glob("*.npy"))


def test_outputs_of_another_layout_are_computed_anew(tiny, corpus, tmp_path):
    """Pooling is no part of the network, and T's pooled states depend on it."""
    wanted = []
    for pooling in ("cls", "mean"):
        teacher = load_teacher(sentence_model(tiny, tmp_path / pooling, pooling=pooling))
        wanted.append(material_of(teacher, corpus, tmp_path / "cache", tokens=16_384)[1].test.target)
    assert not np.allclose(*wanted, atol=0.1)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
@pytest.mark.parametrize("kept", [0, 1, 3])
def test_too_little_text_is_told_by_its_part(part, kept, tiny, corpus, tmp_path):
    task = task_of(load_teacher(sentence_model(tiny, tmp_path / "T")))
    texts = {name: getattr(corpus, name) for name in ("train", "validation", "test")}
    few = Corpus(**{**texts, part: texts[part][:kept]})
    says = rf"its {'training' if part == 'train' else part} part has [\d,]+ tokens in \d+ sentences and needs"
    with pytest.raises(InputError, match=says):
        task.material(few, SurrogateSettings(), Making(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def test_the_card_says_how_sentences_are_embedded(tiny, corpus, tmp_path):
    prompts = {"prompts": {"query": "find: "}, "default": "query"}
    given = sentence_model(tiny, tmp_path / "T", pooling="cls", longest=40, **prompts)
    error = Distillation(*material_of(load_teacher(given), corpus, tmp_path / "cache"), DistillationSettings(steps=0))
    save_student(error.student(SMALL), error.task, tmp_path / "student", {"error": 0.5})
    card = (tmp_path / "student" / "README.md").read_text()
    for says in ("first 40 tokens", "'find: '", "cls pooling", "Normalize", "| error | 0.5 |"):
        assert says in card


def test_training_lowers_the_error_of_embeddings(tiny, corpus, tmp_path):
    teacher = load_teacher(sentence_model(tiny, tmp_path / "T", pooling="cls", after=[("Dense", 24, "Tanh", True)]))
    error = Distillation(*material_of(teacher, corpus, tmp_path / "cache"), DistillationSettings(steps=0))
    assert error.with_steps(16)(teacher.architecture) == E_MIN
    values = [error.with_steps(steps)(SMALL) for steps in (0, 4, 16, 64)]
    assert min(values) > E_MIN and values[0] < error.controls()["mean"] == 1
    assert values[1] < 1.02 * values[0]  # few steps may not do harm
    assert values[0] > values[2] > values[3]


def test_the_readout_is_fitted_on_sentences_and_never_much_worse_than_what_healing_suggests(tiny, corpus, tmp_path):
    """Measured on sentences that it has not seen."""
    teacher = load_teacher(tiny.teacher, task="embedding")
    error = Distillation(*material_of(teacher, corpus, tmp_path / "cache"), DistillationSettings(steps=0))
    for shape in (SMALL, {"D": 1, "A": 2, "H": 16, "I": 16}, {"D": 3, "A": 4, "H": 32, "I": 16}):
        student = error.student(shape)
        suggested = error.measure(student, error.material.test)
        error.task.fit(student, error.material)
        found = error.measure(student, error.material.test)
        assert found < 1
        assert found < (0.95 if shape["H"] == 16 else 1.02) * suggested


def test_the_readout_is_a_function_of_the_text_alone(tiny, corpus, tmp_path):
    _, error = prepare(
        tiny.space, teacher=str(tiny.teacher), corpus=[tiny.corpus], steps=0, tokens=16_384, threads=1, task="embedding"
    )
    readouts = [distill(SMALL, error, tokens=1)[0].readout.weight for _ in range(2)]
    assert torch.equal(*readouts)


def test_several_modes_begin_with_the_rendering_of_states_for_each(tiny, corpus, tmp_path):
    teacher = load_teacher(sentence_model(tiny, tmp_path / "T", pooling=("mean", "max")))
    error = Distillation(*material_of(teacher, corpus, tmp_path / "cache"), DistillationSettings(steps=0))
    cut = error.cutter.cut(SMALL)
    readout = error.task.fresh(cut).readout
    pooled = torch.randn(4, 32)
    each = [part @ cut.rendering.weight.T + cut.rendering.bias for part in (pooled[:, :16], pooled[:, 16:])]
    assert torch.allclose(readout(pooled), torch.cat(each, dim=1), atol=1e-5)


def test_states_that_are_no_numbers_diverge(tiny, corpus, tmp_path):
    teacher = load_teacher(tiny.teacher, task="embedding")
    error = Distillation(*material_of(teacher, corpus, tmp_path / "cache"), DistillationSettings(steps=0))
    student = error.student(SMALL)
    student.network.encoder.layer[0].output.dense.bias.data[0] = torch.nan
    with pytest.raises(Diverged, match="not finite"):
        error.task.fit(student, error.material)


def fitted(prior, own, target):
    """The readout that `fit_ridge` makes of another."""
    readout = nn.Linear(prior.in_features, prior.out_features)
    readout.load_state_dict(prior.state_dict())
    fit_ridge(readout, own, target)
    return readout


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(32, 200),
    inputs=st.integers(1, 60),
    outputs=st.integers(48, 96),  # with a few, leaving rows out says too little where there are as many inputs as rows
    noise=st.floats(0, 3),
    seed=st.integers(0, 2**31),
)
def test_a_ridge_is_never_much_worse_than_its_prior_and_finds_a_true_map(rows, inputs, outputs, noise, seed):
    """On fresh rows of a linear law, against the prior and against the best that any map can do."""
    generator = np.random.default_rng(seed)
    true = generator.normal(size=(inputs, outputs))
    prior = nn.Linear(inputs, outputs)

    def draw(count):
        own = generator.normal(size=(count, inputs)).astype(np.float32)
        return own, (own @ true + 1 + noise * generator.normal(size=(count, outputs))).astype(np.float32)

    found = fitted(prior, *draw(rows))
    own, target = draw(1000)
    with torch.no_grad():
        mine, theirs = (float(((m(torch.from_numpy(own)).numpy() - target) ** 2).mean()) for m in (found, prior))
    assert mine <= 1.1 * theirs
    if rows >= 2 * inputs + 10:
        assert mine <= 2.5 * noise**2 + 1e-6


def test_the_ridge_is_the_one_that_leaving_every_row_out_says():
    generator = np.random.default_rng(0)
    own = generator.normal(size=(12, 4)).astype(np.float32)
    target = (own @ generator.normal(size=(4, 2)) + 2 * generator.normal(size=(12, 2)) + 5).astype(np.float32)
    prior = nn.Linear(4, 2)
    with torch.no_grad():
        left = target - prior(torch.from_numpy(own)).numpy()

    def fit(rows, strength):
        x, y = own[rows].astype(np.float64), left[rows]
        middle, level = x.mean(axis=0), y.mean(axis=0)
        weights = np.linalg.solve((x - middle).T @ (x - middle) + strength * np.eye(4), (x - middle).T @ (y - level))
        return weights, level - middle @ weights

    def left_out(strength):
        error = 0.0
        for row in range(12):
            weights, level = fit(np.arange(12) != row, strength)
            error += ((left[row] - own[row] @ weights - level) ** 2).sum()
        return error

    strengths = 12 * own.var(axis=0).mean() * _STRENGTHS
    weights, level = fit(np.arange(12), min(strengths, key=left_out))
    found = fitted(prior, own, target)
    assert np.allclose(found.weight.detach() - prior.weight.detach(), weights.T, atol=1e-4)
    assert np.allclose(found.bias.detach() - prior.bias.detach(), level, atol=1e-4)
