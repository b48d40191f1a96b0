import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsp.base.errors import InputError
from fsp.search.certificates.bounds import Noise, Order, audit_bound, evidence, gap_of, log_error_bounds, transferred
from fsp.search.finalists import win_shares

shapes = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2)), min_size=2, max_size=12)
errors = st.floats(0.05, 2.0)


def order_of(points, *, neutral=True, tau=0.0, neutral_tau=0.0):
    points = np.array(points)
    nothing = np.empty((len(points), 0))
    if neutral:
        return Order(points[:, :2], nothing, points[:, 2:], tau, (neutral_tau,))
    return Order(points[:, :2], points[:, 2:], nothing, tau)


@given(shapes, st.booleans())
def test_order_is_the_definition(points, neutral):
    order = order_of(points, neutral=neutral)
    expected = [[a[0] <= b[0] and a[1] <= b[1] and (neutral or a[2] == b[2]) for b in points] for a in points]
    assert order.matrix().tolist() == expected
    assert [order.below(row).tolist() for row in range(len(points))] == np.array(expected).T.tolist()


@given(shapes, st.data())
def test_error_bounds_are_the_definition(points, data):
    tau, neutral_tau = data.draw(st.sampled_from([0.0, 0.1])), data.draw(st.sampled_from([0.0, 0.2]))
    order = order_of(points, tau=tau, neutral_tau=neutral_tau)
    rows = data.draw(st.lists(st.integers(0, len(points) - 1), unique=True, min_size=1))
    lower = [data.draw(errors) for _ in rows]
    bounds = np.exp(log_error_bounds(order, rows, np.log(lower), log_floor=np.log(0.01)))
    for candidate, (d, h, a) in enumerate(points):
        expected = [0.01]
        for row, low in zip(rows, lower, strict=True):
            if row == candidate:
                expected.append(low)
            if d <= points[row][0] and h <= points[row][1]:
                expected.append((1 - tau) * (1 - neutral_tau if points[row][2] != a else 1) * low)
        assert bounds[candidate] == pytest.approx(max(expected))


@given(st.lists(st.tuples(errors, errors), min_size=2, max_size=8))
def test_gap_is_the_definition(pairs):
    score, error = np.array(pairs).T
    gap, worst = gap_of(np.log(score), np.log(error), selected=0, log_value=np.log(score[0] / error[0]))
    values = score / error
    assert gap == pytest.approx(max(0, values[1:].max() / values[0] - 1), abs=1e-12)
    assert values[worst] == pytest.approx(values[1:].max())


def test_gap_without_rivals_or_value():
    assert gap_of([0.0, -np.inf], [-np.inf, -np.inf], selected=0, log_value=0.0) == (0.0, 0)
    with pytest.raises(InputError, match="not positive"):
        gap_of([0.0, 0.0], [0.0, 0.0], selected=0, log_value=-np.inf)


def test_tolerances_out_of_range():
    for tau in (-0.1, 1.0, np.nan):
        with pytest.raises(InputError, match="tolerance"):
            order_of([(1, 1, 1)], tau=tau)


def test_noise_pools_within_candidates():
    noise = Noise.pooled([[1.0, np.e], [np.e**2, np.e**2, np.e**5]])
    assert noise.freedom == 3
    assert noise.sigma == pytest.approx(np.sqrt((0.5 + 6) / 3))
    with pytest.raises(InputError, match="one seed"):
        Noise.pooled([[1.0], [2.0]])


def test_simultaneous_intervals_cover_all_at_once():
    rng = np.random.default_rng(0)
    pilot, seeds, candidates, repeats = 6, 3, 40, 2000
    missed = 0
    for _ in range(repeats):
        logs = 0.1 * rng.standard_normal((candidates, seeds))
        noise = Noise.pooled(np.exp(logs[:pilot]))
        missed += np.abs(logs.mean(axis=1)).max() > noise.half_width(seeds, alpha=0.1, comparisons=candidates)
    assert 0.04 < missed / repeats < 0.12  # at most 0.1, and not so wide as to say nothing


def test_evidence_refuses_falsely_at_most_alpha():
    rng = np.random.default_rng(1)
    points = [(d, h, 1) for d in range(1, 8) for h in range(1, 9)]  # all equal in truth: the hardest monotone case
    order, rows, ones = order_of(points), range(len(points)), np.ones(len(points))
    found = [
        evidence(order, rows, 0.03 * rng.standard_normal(len(points)), ones, Noise(0.03), alpha=0.05)
        for _ in range(400)
    ]
    assert sum(bool(f.violations) for f in found) / 400 <= 0.06
    assert found[0].pairs == (7 * 8 // 2) * (8 * 9 // 2) - 56


@given(shapes, st.data())
@settings(max_examples=50)
def test_evidence_finds_every_violation(points, data):
    points = list(dict.fromkeys(points))
    values = np.array([data.draw(errors) for _ in points])
    order = order_of(points, tau=0.1, neutral_tau=0.2)
    found = evidence(order, range(len(points)), np.log(values), np.ones(len(points)), Noise(0.0), alpha=0.05)
    below = order.matrix()
    expected, worst = set(), 0.0
    for i, a in enumerate(points):
        for j, b in enumerate(points):
            if i != j and below[i, j]:
                factor = 0.8 if a[2] != b[2] else 1.0
                worst = max(worst, 1 - values[i] / (factor * values[j]))
                if values[i] < 0.9 * factor * values[j] * (1 - 1e-9):
                    expected.add((i, j))
    assert set(found.violations) == expected
    assert found.least_tau == pytest.approx(worst, abs=1e-9)


def test_audit_bound():
    assert audit_bound(0, 20, alpha=0.05) == pytest.approx(1 - 0.05 ** (1 / 20))
    assert audit_bound(20, 20, alpha=0.05) == 1.0
    assert audit_bound(1, 20, alpha=0.05) > audit_bound(0, 20, alpha=0.05)


def test_transfer():
    assert transferred(0.05, low=1, high=1) == pytest.approx(0.05)
    assert transferred(0.0, low=0.5, high=1) == pytest.approx(1.0)


def test_win_shares():
    equal = win_shares([0.0, 0.0, 0.0], [[0.2, 0.21], [0.2, 0.21], [0.9, 0.9]])
    assert equal.sum() == pytest.approx(1)
    assert equal[0] == pytest.approx(0.5, abs=0.05)
    assert equal[2] == 0
    assert win_shares([0.0, 0.0], [[0.2], [0.3]]) is None
