import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsp.base.errors import InputError
from fsp.families.architecture import Architecture
from fsp.objectives.table import objectives_of
from fsp.search.baselines import largest, layer_drop
from fsp.search.coefficient import w_coefficient
from fsp.search.interval import every_kth, order
from fsp.search.limits import resolve_limits, within
from fsp.search.pareto import pareto_front
from fsp.spaces.loading import load_space

positive = st.floats(1e-3, 1e3)


@given(st.lists(st.tuples(positive, positive, positive), min_size=1, max_size=20))
def test_w_by_definition(rows):
    p, i, e = map(np.array, zip(*rows, strict=True))
    kept = [x.copy() for x in (p, i, e)]
    w = w_coefficient(p, i, e, maximum=(1e3, 1e3))
    assert w == pytest.approx([(1000 - a) / 1000 * (1000 - b) / 1000 / c for a, b, c in rows])
    assert all(np.array_equal(a, b) for a, b in zip(kept, (p, i, e), strict=True))


def test_w_of_t_in_either_size_is_zero():
    assert w_coefficient([2, 1, 1], [1, 2, 1], 1, maximum=(2, 2)).tolist() == [0, 0, 0.25]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ((0, 1, 1), "parameters holds others"),
        ((1, -1, 1), "speed holds others"),
        ((1, 1, 0), "error holds others"),
        ((np.nan, 1, 1), "parameters holds others"),
        ((1, 1, np.inf), "error holds others"),
        ((3, 1, 1), "^W needs p and i no larger"),
        ((1, 3, 1), "^W needs p and i no larger"),
    ],
)
def test_w_refuses_what_has_no_meaning(bad, says):
    with pytest.raises(InputError, match=says):
        w_coefficient(*bad, maximum=(2, 2))


@pytest.mark.parametrize("exponents", [(-1, 1), (1, np.nan), (np.inf, 1)])
def test_w_refuses_exponents_out_of_range(exponents):
    with pytest.raises(InputError, match=r"^exponents .* are out of range; give numbers from 0"):
        w_coefficient(1, 1, 1, maximum=(2, 2), exponents=exponents)


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=30),
    st.integers(0, 5),
)
def test_order_sorts_by_size_speed_and_point(rows, seed):
    size, speed, point = (np.array(column) for column in zip(*rows, strict=True))
    ranked = order(size, speed, point[:, None], seed=seed)
    assert sorted(ranked.tolist()) == list(range(len(rows)))
    assert [rows[k] for k in ranked] == sorted(rows)


@given(st.integers(1, 200), st.data())
def test_every_kth_counts_from_the_last(n, data):
    k = data.draw(st.integers(1, n))
    assert every_kth(np.arange(1, n + 1), k).tolist() == [j for j in range(1, n + 1) if (n - j) % k == 0]
    for outside in (0, n + 1):
        with pytest.raises(InputError, match="out of range"):
            every_kth(np.arange(n), outside)


def test_limits_as_numbers_and_shares():
    maximum = {"operations": 200.0, "parameters": 10.0}
    assert resolve_limits({"operations": "12.5%", "parameters": 3}, maximum) == {"operations": 25.0, "parameters": 3.0}
    for bad in ({"speed": 1}, {"operations": "x"}, {"operations": "-5%"}, {"operations": 0}, {"operations": "nan"}):
        with pytest.raises(InputError):
            resolve_limits(bad, maximum)


def test_impossible_limits_name_the_nearest():
    table = pd.DataFrame({"operations": [10.0, 20.0], "parameters": [9.0, 4.0]})
    assert within(table, {"operations": 15}).tolist() == [True, False]
    with pytest.raises(InputError, match="operations=10, parameters=9"):
        within(table, {"operations": 6, "parameters": 6})
    with pytest.raises(InputError, match="operations=10, parameters=9"):
        within(table[::-1], {"operations": 6, "parameters": 6})


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=25))
def test_pareto_front_against_brute_force(rows):
    table = pd.DataFrame(rows, columns=list("pie"), dtype=float)
    beaten = [any(all(a <= b for a, b in zip(o, r, strict=True)) and o != r for o in rows) for r in rows]
    assert sorted(pareto_front(table, list("pie")).index) == [k for k, b in enumerate(beaten) if not b]


def test_pareto_front_leaves_failures_out():
    table = pd.DataFrame({"p": [1.0, 2.0], "e": [np.nan, 1.0]})
    assert pareto_front(table, ["p", "e"]).index.tolist() == [1]
    assert pareto_front(table.iloc[:1], ["p", "e"]).empty


def test_the_largest_has_the_most_encoder_parameters():
    space = load_space("minilm")
    table = objectives_of(space, space.candidates)
    within = table[table["operations"] <= 7e8]
    found = largest(space, within)
    sizes = dict(zip(space.architectures(space.candidates), table["encoder_parameters"], strict=True))
    assert sizes[found] == within["encoder_parameters"].max()


def test_layer_drop_is_the_nearest():
    space = load_space("minilm")
    full = objectives_of(space, np.array([[d, 12, 384, 1536] for d in range(1, 6)]))["encoder_parameters"]
    for target, d in itertools.chain(zip(full, range(1, 6), strict=True), [(1, 1), (10**9, 5)]):
        assert layer_drop(space, target) == Architecture(D=d, A=12, H=384, I=1536)
