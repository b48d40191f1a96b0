import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from fsp.base.errors import InputError
from fsp.trust.agreement import (
    kendall,
    mean,
    noise_ceiling,
    row_spearman,
    size_bands,
    spearman,
    spearman_in_bands,
    top_overlap,
)

columns = st.integers(3, 30).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 12), min_size=n, max_size=n)] * 2))


def ranks(values):
    return np.array([sum(v < w for v in values) + (sum(v == w for v in values) + 1) / 2 for w in values])


@settings(deadline=None)
@given(columns)
def test_correlations_equal_their_definitions(pair):
    a, b = pair
    if len(set(b)) == 1:
        assert math.isnan(spearman(a, b)) and math.isnan(kendall(a, b))
    elif len(set(a)) == 1:
        assert spearman(a, b) == kendall(a, b) == 0
    else:
        assert spearman(a, b) == pytest.approx(np.corrcoef(ranks(a), ranks(b))[0, 1])
        signs = [(np.sign(a[i] - a[j]), np.sign(b[i] - b[j])) for i, j in combinations(range(len(a)), 2)]
        untied = math.prod(sum(s[k] != 0 for s in signs) for k in (0, 1))
        assert kendall(a, b) == pytest.approx(sum(x * y for x, y in signs) / math.sqrt(untied))
    np.testing.assert_allclose(row_spearman(np.array([a, b]), np.array([b, b])), [spearman(a, b), spearman(b, b)])


@settings(deadline=None)
@given(columns, st.randoms())
def test_monotone_transforms_and_permutations_change_nothing(pair, random):
    a, b = (np.array(values, float) for values in pair)
    bands = size_bands(np.arange(len(a)) % 7)
    order = np.array(random.sample(range(len(a)), len(a)))
    for measure, extra in ((spearman, ()), (kendall, ()), (spearman_in_bands, (bands,)), (top_overlap, ())):
        value = measure(a, b, *extra)
        assert measure(np.exp(a / 3) - 5, b, *extra) == pytest.approx(value, nan_ok=True)
        assert measure(a[order], b[order], *[e[order] for e in extra]) == pytest.approx(value, nan_ok=True)


def test_two_rows_correlate_with_nothing():
    assert math.isnan(spearman([1, 2], [1, 2])) and math.isnan(kendall([], []))


def test_bands_are_quintiles_and_never_part_equal_sizes():
    assert np.bincount(size_bands(np.random.default_rng(0).permutation(100))).tolist() == [20] * 5
    sizes = np.repeat([1, 2, 3], [10, 80, 10])
    for size in (1, 2, 3):
        assert len(set(size_bands(sizes)[sizes == size])) == 1
    assert set(size_bands([7.0] * 4)) == {4}


def test_bands_too_small_or_of_one_truth_are_left_out():
    bands = np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3])
    truth = [1, 2, 3, 9, 1, 4, 4, 4, 1, 2, 3]
    surrogate = [1, 2, 3, 1, 9, 1, 2, 3, 3, 2, 1]
    assert spearman_in_bands(surrogate, truth, bands) == 0  # the mean of 1 and -1
    assert math.isnan(spearman_in_bands([1, 2], [1, 2], np.array([0, 1])))
    assert math.isnan(mean([]))


@settings(deadline=None, max_examples=30)
@given(columns, st.integers(0, 10**6))
def test_top_overlap_is_what_breaking_ties_at_random_gives(pair, seed):
    a, b = (np.array(values, float) for values in pair)
    generator = np.random.default_rng(seed)
    count = max(1, round(0.1 * len(a)))

    def top(values):
        return set(np.lexsort((generator.random(len(values)), values))[:count].tolist())

    expected = np.mean([len(top(a) & top(b)) / count for _ in range(3000)])
    assert top_overlap(a, b) == pytest.approx(expected, abs=0.05)


def test_the_ceiling_is_what_two_measurements_of_a_simulated_truth_give():
    generator = np.random.default_rng(1)
    noise, measured, again = 0.4, [], []
    for seed in range(60):
        true = generator.normal(0, 0.6, 80)
        first, second = true + generator.normal(0, noise, (2, 80))
        measured.append(spearmanr(first, second).statistic)
        again.append(noise_ceiling(np.exp(first), noise, seed=seed))
    assert np.mean(again) == pytest.approx(np.mean(measured), abs=0.02)


def test_the_ceiling_at_its_ends():
    truth = np.exp(np.linspace(0, 1, 50))
    assert noise_ceiling(truth, 0.0) == 1
    assert abs(noise_ceiling(truth, 100.0)) < 0.05
    assert noise_ceiling(truth, 0.1) > noise_ceiling(truth, np.full(50, 0.2)) > noise_ceiling(truth, 0.3)
    assert math.isnan(noise_ceiling([0.1, 0.2], 0.1)) and math.isnan(noise_ceiling([0.1] * 5, 0.1))
    with pytest.raises(InputError, match="not negative"):
        noise_ceiling(truth, -1.0)


def test_kendall_agrees_with_scipy_on_a_large_column():
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 500))
    assert kendall(a, b) == kendalltau(a, b).statistic
