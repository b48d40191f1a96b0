"""The readout of pooled sentences: what it gains, what it does with little text, and what is saved with it."""

import json

import numpy as np
import pytest
import torch
from fsp.distillation.sentence_readout import _STRENGTHS, SentenceSample, readout_of, ridge, spread
from fsp.families.bert.cutter import Cutter
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_models import sentence_model
from torch import nn

from fsp.distillation.inputs import prepare
from fsp.distillation.measuring import SentenceFigures, pooled_states, similarity_agreement
from fsp.distillation.saving import distill, save_student
from fsp.distillation.student import Student
from fsp.distillation.teacher import load_teacher
from fsp.distillation.text.corpus import Corpus, read_corpus

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
}


@pytest.fixture(scope="module")
def corpus(tiny):
    return Corpus.of(read_corpus([tiny.corpus]))


@pytest.fixture(scope="module")
def texts(corpus):
    long = " ".join(corpus.test_sentences[:30])
    return [*corpus.test_sentences[:60], long]


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_full_size_copy_saved_as_a_student_gives_ts_own_embeddings(tiny, tmp_path, corpus, texts, name):
    from sentence_transformers import SentenceTransformer

    folder = sentence_model(tiny, tmp_path / "T", **LAYOUTS[name])
    space, error = prepare(tiny.space, teacher=str(folder), corpus=[tiny.corpus], steps=0, tokens=16384, threads=1)
    sample = SentenceSample.of(error.teacher, corpus.train[:60])
    student, _ = distill(space.maximum, error, tokens=1024, sample=sample)
    save_student(student, error.teacher, tmp_path / "copy", {"architecture": str(space.maximum)})
    theirs, ours = (SentenceTransformer(str(path), device="cpu") for path in (folder, tmp_path / "copy"))
    wanted, found = theirs.encode(texts), ours.encode(texts)
    assert wanted.shape == found.shape
    norms = np.linalg.norm(wanted, axis=1), np.linalg.norm(found, axis=1)
    assert np.allclose(*norms, rtol=0.03)
    assert ((wanted * found).sum(axis=1) / (norms[0] * norms[1])).min() > 0.999
    for attribute in ("max_seq_length", "prompts", "default_prompt_name", "similarity_fn_name"):
        assert getattr(theirs, attribute) == getattr(ours, attribute)


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_measured_is_what_the_saved_model_gives(tiny, tmp_path, texts, name):
    from sentence_transformers import SentenceTransformer

    teacher = load_teacher(sentence_model(tiny, tmp_path / "T", **LAYOUTS[name]))
    student = cut(teacher)
    readout = spread(student.readout, len(teacher.layout.modes))
    student.sentence_readout = readout
    figures = SentenceFigures.of(
        teacher.layout, teacher.layout.pooled(teacher.model, texts), pooled_states(student, teacher.layout, texts)
    )
    save_student(student, teacher, tmp_path / "student", {})
    wanted, found = (
        SentenceTransformer(str(tmp_path / folder), device="cpu").encode(texts) for folder in ("T", "student")
    )
    norms = np.linalg.norm(wanted, axis=1) * np.linalg.norm(found, axis=1)
    assert figures.spearman == pytest.approx(similarity_agreement(wanted, found), abs=1e-4)
    assert figures.cosine == pytest.approx(((wanted * found).sum(axis=1) / norms).mean(), abs=1e-5)
    listed = [one["type"].rpartition(".")[2] for one in json.loads((tmp_path / "student/modules.json").read_text())]
    own = [one["type"].rpartition(".")[2] for one in json.loads((tmp_path / "T/modules.json").read_text())]
    assert listed == [*own[:2], "Dense", *own[2:]]


def test_the_card_says_how_sentences_are_embedded(tiny, tmp_path):
    teacher = load_teacher(
        sentence_model(tiny, tmp_path / "T", pooling="cls", prompts={"query": "find: "}, default="query", longest=40)
    )
    save_student(cut(teacher), teacher, tmp_path / "student", {"error": 0.5})
    card = (tmp_path / "student" / "README.md").read_text()
    for says in ("first 40 tokens", "'find: '", "cls pooling", "Normalize", "| error | 0.5 |"):
        assert says in card


def cut(teacher, seed=0):
    tokens = torch.randint(5, 30522, (64, 16), generator=torch.Generator().manual_seed(seed))
    torch.manual_seed(seed)
    return Student(Cutter(teacher.model, tokens).cut({"D": 2, "A": 2, "H": 16, "I": 32}), 32).eval()


@pytest.fixture(scope="module")
def distilled(tiny, corpus):
    """A student of the tiny T whose token readout is fitted on packed blocks, as the search does."""
    from fsp.families.architecture import Architecture

    _, error = prepare(tiny.space, teacher=str(tiny.teacher), corpus=[tiny.corpus], steps=0, tokens=16384, threads=1)
    student = error.student(Architecture({"D": 2, "A": 2, "H": 16, "I": 32}))
    error.train(student, steps=0, seed=0)
    return error.teacher, student


def unexplained(teacher, student, texts):
    wanted = teacher.layout.pooled(teacher.model, texts)
    return SentenceFigures.of(teacher.layout, wanted, pooled_states(student, teacher.layout, texts))


@pytest.mark.parametrize("passages", [0, 1, 2, 5, 20, 100, 400])
def test_sentences_the_readout_has_not_seen_gain_and_little_text_does_not_overfit(distilled, corpus, passages):
    teacher, student = distilled
    student.sentence_readout = None
    tokens = unexplained(teacher, student, corpus.test_sentences[:300])
    sample = SentenceSample.of(teacher, corpus.train[:passages])
    sample.fit(student)
    found = unexplained(teacher, student, corpus.test_sentences[:300])
    assert found.pooled_error < 1
    assert found.pooled_error < tokens.pooled_error * 1.02
    if len(sample.sentences) >= 500:
        assert found.pooled_error < 0.9 * tokens.pooled_error
        assert found.cosine > tokens.cosine


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

    found = ridge(prior, *draw(rows))
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
    found = ridge(prior, own, target)
    assert np.allclose(found.weight.detach() - prior.weight.detach(), weights.T, atol=1e-4)
    assert np.allclose(found.bias.detach() - prior.bias.detach(), level, atol=1e-4)


def test_a_token_readout_stands_for_several_modes():
    readout = nn.Linear(3, 2)
    states = torch.randn(4, 6)
    expected = torch.cat([readout(states[:, :3]), readout(states[:, 3:])], dim=1)
    assert torch.allclose(spread(readout, 2)(states), expected)


def test_the_readout_is_a_function_of_the_text_alone(distilled, corpus):
    teacher, student = distilled
    fitted = []
    for _ in range(2):
        SentenceSample.of(teacher, corpus.train[:50]).fit(student)
        fitted.append(readout_of(student, teacher.layout).weight)
    assert torch.equal(*fitted)
