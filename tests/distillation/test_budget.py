"""What a budget allows: tokens and epochs as given, or what minutes buy at measured costs."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsp.base.errors import InputError
from fsp.distillation.budget import Cost, affordable, extended, trained_tokens
from fsp.distillation.inputs import prepare
from fsp.distillation.settings import Budget, SurrogateSettings
from fsp.distillation.tasks.task import Making
from fsp.distillation.text.corpus import Corpus, read_corpus

seconds = st.floats(1e-7, 1e-1)


@pytest.mark.parametrize("bad", [{"tokens": 0}, {"epochs": 0}, {"minutes": 0.0}, {"minutes": float("nan")}])
def test_bad_budgets(bad):
    with pytest.raises(InputError):
        Budget(**bad)


@given(st.floats(0.01, 1000), st.integers(1, 9), seconds, seconds, st.floats(0.01, 4))
def test_minutes_are_spent_and_not_exceeded(minutes, epochs, outputs, training, share):
    """Text shorter than what is affordable is seen more often; text as long as that exactly `epochs` times."""
    budget, cost = Budget(epochs=epochs, minutes=minutes), Cost(outputs, training)
    text = affordable(budget, cost)
    has = max(1, min(text, round(share * text)))
    trained = trained_tokens(budget, has, cost)
    assert trained >= has
    spent = cost.outputs * has + cost.training * trained
    most = (cost.outputs + cost.training) * max(1, has)
    assert spent == pytest.approx(max(60 * minutes, most), abs=2 * (outputs + epochs * training))


def test_tokens_are_those_asked_for_at_most():
    assert trained_tokens(Budget(tokens=100, epochs=3), 1000, None) == 300
    assert trained_tokens(Budget(tokens=5000, epochs=3), 1000, None) == 3000


@pytest.fixture(scope="module")
def searched(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    settings = SurrogateSettings(steps=0, tokens=20_000, threads=1)
    space, error = prepare(tiny.space, teacher=str(tiny.teacher), corpus=[tiny.corpus], settings=settings, cache=folder)
    return space, error, settings, Corpus.of(read_corpus([tiny.corpus]))


def test_minutes_are_turned_into_tokens_once(searched, tmp_path):
    space, error, settings, data = searched
    budget, making = Budget(minutes=0.02, epochs=2), Making(tmp_path)
    longer, trained = extended(error, space.maximum, data, settings, budget, making)
    kept = json.loads((tmp_path / "budget.json").read_text())
    assert kept["outputs"] > 0 and kept["training"] > 0
    assert trained == trained_tokens(budget, longer.material.train.tokens, Cost(**kept))
    (tmp_path / "budget.json").write_text(json.dumps({"outputs": 1e-5, "training": 1.5e-5}))
    longer, trained = extended(error, space.maximum, data, settings, budget, making)
    assert longer.material.train.tokens == pytest.approx(30_000, abs=64) and trained == pytest.approx(60_000, abs=64)
    assert longer.cutter is error.cutter and error.material.train.tokens < 20_100


def test_text_is_added_only_where_the_budget_asks_for_more(searched, tmp_path):
    space, error, settings, data = searched
    same, trained = extended(
        error, space.maximum, data, settings, Budget(tokens=20_000, epochs=2), Making(tmp_path / "a")
    )
    assert same is error and trained == 2 * error.material.train.tokens
    more, _ = extended(error, space.maximum, data, settings, Budget(tokens=25_000), Making(tmp_path / "b"))
    assert more.material.train.tokens == pytest.approx(25_000, abs=64)
    assert Budget(tokens=500).first(settings) == replace(settings, tokens=500)
    assert Budget(tokens=500, minutes=1).first(settings) == settings
