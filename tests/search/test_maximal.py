import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import experiment

from fsp.base.errors import InputError
from fsp.objectives.table import objectives_of
from fsp.run import _search_facts
from fsp.search.extraction import extract
from fsp.search.interval import every_kth, interval_for
from fsp.search.maximal import AUDIT, evidence_text, maximal, with_audit
from fsp.search.planning import plan
from fsp.spaces.loading import load_space

SPACE = load_space("minilm")
LARGE = load_space("bert_large")


def exceeds(one, other, neutral):
    """Whether a shape is another one than `other` and no smaller in any size, equal in what is none."""
    larger = all(a == b if same else a >= b for a, b, same in zip(one, other, neutral, strict=True))
    return larger and one != other


shapes = st.integers(1, 4).flatmap(
    lambda d: st.tuples(
        st.lists(st.tuples(*[st.integers(1, 5)] * d), min_size=1, max_size=40, unique=True),
        st.tuples(*[st.booleans()] * d),
    )
)


@settings(deadline=None)
@given(shapes)
def test_the_maximal_shapes_by_brute_force(given):
    points, neutral = given
    expected = [row for row, point in enumerate(points) if not any(exceeds(o, point, neutral) for o in points)]
    assert maximal(np.array(points), np.array(neutral)).tolist() == expected


@settings(deadline=None)
@given(shapes, st.integers(1, 40), st.integers(0, 99))
def test_what_is_evaluated_is_maximal_or_tests_that_larger_is_better(given, evaluations, seed):
    points, neutral = given
    size = np.prod(points, axis=1)
    top, audit, count = with_audit(np.array(points), np.array(neutral), size, size**2, evaluations, seed=seed)
    everything = maximal(np.array(points), np.array(neutral)).tolist()
    assert count == len(everything)
    assert set(top.tolist()) <= set(everything)
    assert len({*top.tolist(), *audit.tolist()}) == len(top) + len(audit) <= evaluations
    assert len(audit) <= AUDIT
    assert len(everything) > evaluations or len(top) == len(everything)  # none is left out for the audit
    assert len(points) > len(everything) or len(top) == min(evaluations, len(everything))
    left_out = set(everything) - set(top.tolist())
    assert not left_out or size[top].min() >= max(size[list(left_out)])
    assert size[top].tolist() == sorted(size[top])
    for row in audit.tolist():  # each can contradict M
        assert row not in everything
        assert any(exceeds(points[one], points[row], neutral) for one in top.tolist())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([SPACE, LARGE]), st.floats(0.1, 1), st.floats(0.1, 1))
def test_the_choice_is_the_best_where_larger_is_never_worse(seed, space, size, speed):
    """Any error that no larger shape exceeds: the best of all feasible candidates is found."""
    draw = np.random.default_rng(seed)
    tables = {
        name: dict(zip(c, np.sort(draw.uniform(1, 2, len(c))), strict=True)) for name, c in space.parameters.items()
    }
    heads = dict(zip(space.parameters["A"], draw.uniform(1, 1.1, len(space.parameters["A"])), strict=True))

    def error(a):
        sizes = [tables[name][a[name]] for name in space.sizes]
        return 1 / math.prod(sizes) + (heads[a["A"]] if "A" in space.neutral else 0)

    limits = {"encoder_parameters": f"{size:.0%}", "operations": f"{speed:.0%}"}
    try:
        planned = plan(space, limits=limits, interval=1)
    except InputError:  # nothing meets them
        return
    best = min(map(error, space.architectures(planned.table[list(space.names)].to_numpy())))
    found = extract(space, error=error, limits=limits, method="maximal", evaluations=300)
    assert error(found.selected) == best
    assert found.evidence().pairs >= found.audit
    assert not found.evidence().violations


@pytest.mark.parametrize("share", ["25%", "20%", "15%", "10%"])
def test_the_default_under_limits_is_maximal_and_planned(share):
    limits = {"encoder_parameters": share, "operations": share}
    planned = plan(SPACE, limits=limits)
    found = extract(SPACE, error=lambda a: 1 / a["D"] + 1 / a["H"], limits=limits)
    assert (found.method, found.maximal, found.audit) == ("maximal", planned.maximal, planned.audit)
    assert 11 <= planned.maximal <= 17
    assert len(found.table) == planned.candidates == planned.maximal + 3
    names = list(SPACE.names)
    assert found.table[names].equals(planned.table[names])


def test_the_default_of_w_and_of_the_papers_space_stays_the_interval():
    assert plan(SPACE, objective="w").method == "interval"
    assert plan(LARGE).method == "interval"
    assert plan(SPACE, interval=3).interval == 3
    assert extract(SPACE, error=lambda a: 1 / a["D"], interval=3).method == "interval"
    assert plan(LARGE, method="maximal").maximal == 20


def test_a_larger_error_of_a_larger_shape_is_told():
    """An error that falls with I up to 256 alone: the audit steps on it, and says so."""
    found = extract(SPACE, error=lambda a: 1 + abs(a["I"] - 128) / 1000)
    evidence = found.evidence()
    assert evidence.violations
    said = evidence_text(**evidence.describe())
    assert f"{len(evidence.violations)} against it" in said
    assert "--interval 1 evaluates all" in said
    assert "nothing here could have contradicted it" in evidence_text(0, 0, 0.0)
    alone = extract(SPACE, error=lambda a: 1 / a["D"], evaluations=3)
    assert alone.evidence().pairs == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"method": "maximal", "objective": "w"}, "need not be a maximal shape's"),
        ({"method": "maximal", "interval": 2}, "interval belongs"),
        ({"method": "interval", "evaluations": 2}, "does not belong to method 'interval'"),
        ({"evaluations": 2, "objective": "w"}, "does not belong to method 'interval'"),
        ({"evaluations": 0}, "evaluations 0 is out of range"),
    ],
)
def test_bad_arguments(arguments, says):
    with pytest.raises(InputError, match=says):
        extract(SPACE, error=lambda a: 1 / a["D"], **arguments)
    with pytest.raises(InputError, match=says):
        plan(SPACE, **arguments)


def test_a_number_of_evaluations_is_kept_and_takes_the_largest():
    full = objectives_of(SPACE, SPACE.candidates)
    found = extract(SPACE, error=lambda a: 1 / a["D"], evaluations=10)
    assert (len(found.table), found.maximal, found.audit) == (10, 17, 2)
    everything = plan(SPACE).table.iloc[:17]
    taken = found.table["encoder_parameters"].iloc[:8]
    assert sorted(taken) == sorted(everything["encoder_parameters"])[-8:]
    assert set(taken) <= set(full["encoder_parameters"])


@settings(deadline=None)
@given(st.integers(1, 10**6))
def test_the_default_interval_gives_about_16_and_the_largest(n):
    interval = interval_for(n, 16)
    ranks = every_kth(np.arange(n), interval)
    assert ranks[-1] == n - 1
    assert set(np.diff(ranks)) <= {interval}
    assert ranks[0] < interval
    assert len(ranks) == n if n < 16 else 11 <= len(ranks) <= 21


def test_the_recorded_regrets_are_the_computed_ones(monkeypatch):
    folder = Path(__file__).parents[2] / "experiments" / "ground_truth"
    monkeypatch.syspath_prepend(str(folder))
    regret = experiment("ground_truth/regret.py")
    recorded = json.loads((folder / "regret.json").read_text())
    assert recorded == json.loads(json.dumps(regret.computed()))
    assert (recorded["M"]["pairs"], recorded["M"]["against"]) == (2075, 0)
    of_maximal = recorded["searches"]["maximal"]
    assert {one["searched"] for one in of_maximal["fixed"]} == {of_maximal["drawn"]["largest"]["searched"]} == {0}
    table = regret.known()
    pairs = [(a, b) for a in table.itertuples() for b in table.itertuples() if a is not b]
    larger = [(a, b) for a, b in pairs if a[1:5] != b[1:5] and all(x >= y for x, y in zip(a[1:5], b[1:5], strict=True))]
    assert len(larger) == 2075
    assert not [1 for a, b in larger if a.long > b.long]


def test_a_run_records_how_it_searched():
    found = extract(SPACE, error=lambda a: 1 / (a["D"] * a["H"] * a["I"]) ** 0.2)
    facts = json.loads(json.dumps(_search_facts(found)))["search"]
    expected = {"method": "maximal", "interval": None, "evaluated": 20, "candidates": 209, "feasible": 139}
    assert facts.items() >= {**expected, "maximal": 17, "audit": 3}.items()
    assert facts["monotonicity"] == {"pairs": found.evidence().pairs, "against": 0, "least_tau": 0.0}
    assert facts["monotonicity"]["pairs"] >= 3
