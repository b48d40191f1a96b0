import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsp.base.errors import InputError
from fsp.search import methods
from fsp.search.certificates.certificate import verify
from fsp.trust.replay.search import replay_search
from fsp.trust.replay.settings import ReplaySettings
from fsp.trust.replay.table import Table

CHEAP = [name for name in methods.METHODS if name != "gp"]


def table(seed=0, count=30):
    generator = np.random.default_rng(seed)
    points = generator.uniform(1, 9, size=(count, 2))
    size = points.prod(axis=1)
    error = generator.uniform(0.5, 2, size=count)
    lines = np.arange(count) + 2
    return Table(("d", "h"), points, np.zeros(2, dtype=bool), size, size + 1, error, lines, count, 0, 0)


def scores(data, objective):
    if objective == "error":
        return -data.error
    return (1 - data.size / data.size.max()) * (1 - data.speed / data.speed.max()) / data.error


@pytest.mark.parametrize("method", CHEAP)
@pytest.mark.parametrize("objective", ["w", "error"])
@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 20), st.one_of(st.none(), st.floats(0.3, 1)))
def test_regret_equals_brute_force(method, objective, seed, evaluations, share):
    data = table(seed, 20)
    cap = None if share is None else float(np.quantile(data.size, share))
    replay = replay_search(
        data, ReplaySettings(objective=objective, max_size=cap, method=method, evaluations=evaluations, seeds=2)
    )
    score = scores(data, objective)
    met = np.ones(20, dtype=bool) if cap is None else data.size <= cap
    top = score[met].max()
    assert replay.feasible == met.sum()
    assert replay.optimum == np.flatnonzero(met & (score == top))[0]
    for regret, rows in zip(replay.regret, replay.evaluated, strict=True):
        assert met[rows].all()
        assert len(set(rows)) == len(rows) <= 20
        expected = [(top - score[rows[: k + 1]].max()) / abs(top) for k in range(len(rows))]
        np.testing.assert_allclose(regret[: len(rows)], expected, atol=1e-12)
        assert (regret[len(rows) :] == expected[-1]).all()
    found = [row for rows in replay.evaluated for row in rows]
    assert score[replay.best] == score[found].max()


def test_description_has_what_the_issue_names():
    facts = replay_search(table(), ReplaySettings(method="fitted", evaluations=12, seeds=3)).describe()
    assert {
        "method", "evaluations", "regret_mean", "regret_max", "best", "unique_evaluations", "seconds", "curve"
    } <= set(facts)  # fmt: skip
    assert facts["evaluations"] == facts["unique_evaluations"] == len(facts["curve"]) == 12
    assert facts["curve"][-1] == facts["regret_mean"] <= facts["regret_max"]
    assert facts["curve"] == sorted(facts["curve"], reverse=True)
    assert "certificate" not in facts


def test_exhaustive_evaluates_everything_and_interval_what_its_stride_allows():
    assert replay_search(table(), ReplaySettings(method="exhaustive", evaluations=1)).describe()["evaluations"] == 30
    facts = replay_search(table(), ReplaySettings(method="interval", evaluations=20)).describe()
    assert (facts["evaluations"], len(facts["curve"])) == (15, 20)


def test_maximal_evaluates_what_nothing_exceeds():
    facts = replay_search(
        table(), ReplaySettings(objective="error", method="maximal", evaluations=30, max_size=12)
    ).describe()
    points, size = table().parameters, table().size
    inside = points[size <= 12]
    top = [p for p in inside if not any((q >= p).all() and (q > p).any() for q in inside)]
    assert facts["evaluations"] == len(top)


def test_a_method_that_ends_with_a_certificate_has_it_described(monkeypatch):
    def proven(candidates, evaluations, seed):
        yield 0
        return {"gap": 0.1, "seed": seed}

    monkeypatch.setitem(methods.METHODS, "proven", proven)
    facts = replay_search(table(), ReplaySettings(method="proven", evaluations=5, seeds=2)).describe()
    assert facts["certificate"] == {"gap": 0.1, "seed": 0}
    assert facts["evaluations"] == 1
    assert replay_search(table(), ReplaySettings(method="proven", evaluations=1)).certificate == {"gap": 0.1, "seed": 0}


def law(neutral, count=80, seed=3):
    """A monotone table: e is a power of the two sizes, and of the third column too where it is said to be one."""
    generator = np.random.default_rng(seed)
    points = np.column_stack([generator.uniform(1, 9, size=(count, 2)), generator.choice([0.5, 1.5], size=count)])
    size = points[:, :2].prod(axis=1)
    error = size**-0.4 * (1 if neutral else points[:, 2] ** -0.1)
    lines = np.arange(count) + 2
    names, kinds = ("d", "h", "a"), np.array([False, False, neutral])
    return Table(names, points, kinds, size, 2 * size + points[:, 0], error, lines, count, 0, 0)


@pytest.mark.parametrize("neutral", [False, True])
@pytest.mark.parametrize("objective", ["w", "error"])
@pytest.mark.parametrize("cap", [None, 30.0])
def test_certified_proves_its_regret_on_a_monotone_table(neutral, objective, cap):
    data = law(neutral)
    facts = replay_search(
        data, ReplaySettings(objective=objective, max_size=cap, method="certified", evaluations=80)
    ).describe()
    certificate = json.loads(json.dumps(facts["certificate"]))
    assert verify(certificate).reasons == (
        "it names no search space, so its candidates, p and i cannot be computed again",
    )
    assert certificate["result"]["reached"]
    assert certificate["result"]["selected"] == facts["best"]["parameters"]
    assert certificate["equal"] == (["a"] if neutral else [])
    assert set(certificate["parameters"]) == {"d", "h", "a"}
    assert len(certificate["parameters"]["d"]) == facts["feasible"]
    assert facts["regret_max"] <= certificate["result"]["gap"] <= 0.05
    assert facts["evaluations"] == len(certificate["evaluations"]) < facts["feasible"]


def test_certified_keeps_to_its_budget_and_then_proves_less():
    facts = replay_search(law(neutral=False), ReplaySettings(method="certified", evaluations=3)).describe()
    assert facts["evaluations"] == 3
    assert not facts["certificate"]["result"]["reached"]


def test_certified_cut_short_at_the_table_s_largest_row_claims_nothing():
    data = law(neutral=False)
    data = dataclasses.replace(data, parameters=data.size[:, None], names=("d",), neutral=np.array([False]))
    facts = replay_search(data, ReplaySettings(method="certified", evaluations=1)).describe()
    assert facts["best"]["size"] == data.size.max()  # its W is 0
    assert facts["certificate"]["result"]["status"] == "vacuous"


def test_certified_claims_nothing_on_a_table_that_refutes_m():
    facts = replay_search(table(), ReplaySettings(method="certified", evaluations=30)).describe()
    assert facts["certificate"]["result"]["status"] == "refuted"
    assert not verify(facts["certificate"]).holds


def test_the_table_is_not_changed():
    data = table()
    for field in dataclasses.fields(data):
        value = getattr(data, field.name)
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
    for method in CHEAP:
        replay_search(data, ReplaySettings(method=method, evaluations=10))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objective": "size"}, "no objective 'size'; there are w and error"),
        ({"method": "magic"}, "no method 'magic'; there are maximal, interval, certified"),
        ({"evaluations": 0}, "evaluations 0 is out of range; choose 1 to 30, the table's rows"),
        ({"evaluations": 31}, "evaluations 31 is out of range"),
        ({"seeds": 0}, "seeds 0 is out of range"),
        ({"max_size": 0.001}, "no row meets the limits; the least size"),
        ({"max_speed": 0.001}, "no row meets the limits; the least speed"),
        ({"max_size": -1.0}, "the largest size allowed, -1.0, is no positive number"),
        ({"max_speed": math.nan}, "the largest speed allowed, nan, is no positive number"),
    ],
)
def test_bad_arguments_are_refused_with_one_line(arguments, message):
    with pytest.raises(InputError) as refusal:
        replay_search(table(), ReplaySettings(**{"method": "fitted", "evaluations": 5, **arguments}))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_w_of_a_single_row_is_refused():
    with pytest.raises(InputError, match="W is 0 in every row"):
        replay_search(table(count=1), ReplaySettings(method="fitted", evaluations=1))
