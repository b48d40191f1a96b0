import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsp.base.errors import InputError
from fsp.search.coefficient import w_coefficient
from fsp.trust.ranking import rank, regret, w_regret


def problem(seed=0, rows=100, noise=0.2):
    generator = np.random.default_rng(seed)
    size = generator.uniform(1, 100, rows)
    speed = size * generator.uniform(0.5, 2, rows)
    truth = size**-0.3 * np.exp(generator.normal(0, 0.2, rows))
    return truth * np.exp(generator.normal(0, noise, rows)), truth, size, speed


def test_truth_itself_is_perfect_and_its_inverse_the_opposite():
    _, truth, size, speed = problem()
    found = rank({"same": truth, "power": truth**3, "inverse": 1 / truth}, truth, size, speed=speed, noise=0.1)
    for name in ("same", "power"):
        good = found[name]
        assert good.spearman == pytest.approx(1) and good.kendall == pytest.approx(1)
        assert good.in_bands == pytest.approx((1,) * 5)
        assert 0.99 < good.spearman_in_bands_interval[0] < good.spearman_in_bands_interval[1] <= 1
        assert good.top10_overlap == 1 and good.regrets == (0,) * 5
    assert found["same"].w_regret == 0
    bad = found["inverse"]
    assert (bad.spearman, bad.least_in_bands) == pytest.approx((-1, -1))
    assert bad.top10_overlap == 0
    for cap, lost in zip(bad.caps, bad.regrets, strict=True):
        met = truth[size <= cap]
        assert lost == pytest.approx(met.max() / met.min() - 1)
    assert bad.rows == 100 and bad.band_rows == (20,) * 5
    assert 0 < bad.ceiling_in_bands < bad.ceiling < 1


def test_regrets_by_brute_force():
    surrogate, truth, size, speed = problem(3)
    found = rank({"s": surrogate}, truth, size, speed=speed, maximum=(120, 250), resamples=0)["s"]
    for share, cap, lost in zip((0.2, 0.4, 0.6, 0.8, 1), found.caps, found.regrets, strict=True):
        assert np.mean(size <= cap) == pytest.approx(share)
        rows = [row for row in range(100) if size[row] <= cap]
        choice = min(rows, key=lambda row: surrogate[row])
        assert lost == pytest.approx(truth[choice] / min(truth[row] for row in rows) - 1)
    w = w_coefficient(size, speed, truth, maximum=(120, 250))
    choice = w_coefficient(size, speed, surrogate, maximum=(120, 250)).argmax()
    assert found.w_regret == pytest.approx(1 - w[choice] / w.max())


def test_ties_count_at_their_mean_and_undefined_w_is_nan():
    assert regret([1, 1, 2], [0.2, 0.4, 0.1]) == pytest.approx(2)
    assert w_regret([1, 1], [0.5, 0.25], [1, 1]) == pytest.approx(0.25)
    assert math.isnan(w_regret([0, 1], [0.5, 0.25], [1, 1]))
    assert math.isnan(w_regret([1, 1], [0.5, 0.25], [0, 0]))


@pytest.mark.parametrize("noise", [0.05, 0.2])
@pytest.mark.parametrize("rows", [40, 150])
def test_intervals_cover_the_correlation_of_a_large_sample(rows, noise):
    """Percentiles of resamples alone hold 71% where surrogate and truth nearly agree."""
    surrogate, truth, size, _ = problem(7, rows=50_000, noise=noise)
    exact = rank({"s": surrogate}, truth, size, resamples=0)["s"]
    inside = {"spearman": 0, "spearman_in_bands": 0}
    for seed in range(100):
        surrogate, truth, size, _ = problem(100 + seed, rows=rows, noise=noise)
        found = rank({"s": surrogate}, truth, size, resamples=200, seed=seed)["s"]
        for name in inside:
            low, high = getattr(found, f"{name}_interval")
            assert low < high
            inside[name] += low <= getattr(exact, name) <= high
    assert inside["spearman"] >= 91 and inside["spearman_in_bands"] >= 91


def test_the_same_seed_gives_the_same_and_inputs_are_not_changed():
    surrogate, truth, size, speed = problem()
    before = [column.copy() for column in (surrogate, truth, size, speed)]
    both = [rank({"s": surrogate, "p": -size}, truth, size, speed=speed, noise=0.1) for _ in range(2)]
    assert both[0]["s"] == both[1]["s"]
    assert both[0]["s"].spearman_interval != rank({"s": surrogate}, truth, size, seed=1)["s"].spearman_interval
    for column, copy in zip((surrogate, truth, size, speed), before, strict=True):
        np.testing.assert_array_equal(column, copy)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 25), st.booleans())
def test_any_sample_is_described_in_valid_json(seed, rows, constant):
    generator = np.random.default_rng(seed)
    size = generator.integers(1, 5, rows).astype(float)
    truth = generator.integers(1, 4, rows) / 4
    surrogate = np.ones(rows) if constant else generator.integers(0, 3, rows)
    found = rank({"s": surrogate}, truth, size, speed=size, noise=0.1, resamples=20)["s"]
    facts = json.loads(json.dumps(found.describe(), allow_nan=False))
    assert sum(facts["band_rows"]) == facts["rows"] == rows
    assert all(value >= 0 for value in facts["regrets"])
    order = generator.permutation(rows)
    again = rank({"s": surrogate[order]}, truth[order], size[order], speed=size[order], resamples=0)["s"].describe()
    for name in ("spearman", "kendall", "in_bands", "top10_overlap", "regrets", "w_regret"):
        assert again[name] == (facts[name] if facts[name] is None else pytest.approx(facts[name]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"surrogates": {"s": [1, 2]}}, "s has 2 rows and the truth 3"),
        ({"surrogates": {"s": [1, 2, math.nan]}}, "s must be finite in every row"),
        ({"surrogates": {"s": ["a", "b", "c"]}}, "s holds something that is no number"),
        ({"truth": [1, 2, 0]}, "truth must be finite and positive"),
        ({"truth": []}, "truth has no rows"),
        ({"size": [1, 2, math.inf]}, "size must be finite and positive"),
        ({"speed": [1, 2]}, "speed has 2 rows"),
        ({"noise": [0.1, 0.1]}, "noise has 2 rows"),
        ({"noise": -0.1}, "not negative"),
    ],
)
def test_bad_input_is_refused_with_one_line(change, message):
    given = {"surrogates": {"s": [1, 2, 3]}, "truth": [1, 2, 3], "size": [1, 2, 3], "speed": None, "noise": None}
    given |= change
    with pytest.raises(InputError, match=message) as refusal:
        rank(given["surrogates"], given["truth"], given["size"], speed=given["speed"], noise=given["noise"])
    assert "\n" not in str(refusal.value)
