"""The law that anchors give: exact where it holds, no worse than chance elsewhere, and its design."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsp.base.errors import InputError
from fsp.objectives.anchored import anchor_rows, anchored

SIZES = np.array([[d, h, i] for d in (1, 2, 3, 4, 6) for h in (128, 192, 256, 384) for i in (128, 512, 1536)])
TOP = np.array([6, 384, 1536])
SHORT = 0.7 * (SIZES / TOP).prod(axis=1) ** -0.1


def law(a, b, c):
    """Long errors that keep the law exactly; without terms of products with log e."""
    return SHORT * np.exp(a + b * np.log(SHORT) + (TOP / SIZES - 1) @ c)


@settings(max_examples=25, deadline=None)
@given(st.floats(-1, 0), st.floats(0, 0.5), st.lists(st.floats(0, 0.1), min_size=3, max_size=3))
def test_a_law_that_holds_is_found(a, b, c):
    long = law(a, b, np.array(c))
    rows = anchor_rows(SHORT, SIZES, TOP, np.ones(len(SIZES)), 16)
    told = anchored(SHORT, np.where(np.isin(np.arange(len(SIZES)), rows), long, np.nan), SIZES, TOP)
    assert np.allclose(np.log(told["error"]), np.log(long), atol=0.03)
    assert (told["low"] <= told["error"]).all()
    assert (told["error"] <= told["high"]).all()
    for column in told:
        assert np.allclose(told[column].to_numpy()[rows], long[rows], rtol=1e-12)


def test_few_anchors_shrink_towards_a_common_factor():
    long = SHORT * 0.8
    for rows in ([0, 7, 30, 59], [1, 2, 3, 4]):
        told = anchored(SHORT, np.where(np.isin(np.arange(len(SIZES)), rows), long, np.nan), SIZES, TOP)
        assert np.allclose(told["error"], long, rtol=1e-6)


def test_intervals_cover_what_noise_there_is_and_little_more():
    generator = np.random.default_rng(0)
    inside = []
    for _ in range(40):
        long = law(-0.3, 0.2, np.array([0.05, 0.02, 0.0])) * np.exp(0.02 * generator.standard_normal(len(SIZES)))
        rows = generator.choice(len(SIZES), 30, replace=False)
        told = anchored(SHORT, np.where(np.isin(np.arange(len(SIZES)), rows), long, np.nan), SIZES, TOP)
        others = np.setdiff1d(np.arange(len(SIZES)), rows)
        inside.append(((told["low"] <= long) & (long <= told["high"]))[others].mean())
    assert 0.93 <= np.mean(inside) <= 0.98


def test_what_failed_is_neither_an_anchor_nor_told():
    short = SHORT.copy()
    short[[0, 59]] = np.nan
    rows = anchor_rows(short, SIZES, TOP, np.ones(len(SIZES)), 6)
    assert not {0, 59} & set(rows)
    long = np.full(len(SIZES), np.nan)
    long[rows] = 0.8 * short[rows]
    told = anchored(short, long, SIZES, TOP)
    assert told.isna().any(axis=1).to_numpy().nonzero()[0].tolist() == [0, 59]


@pytest.mark.parametrize("price", ["equal", "size"])
def test_the_design_is_greedy(price):
    """Each anchor has the largest gain in log determinant per root of cost, computed here from the determinants."""
    cost = np.ones(len(SIZES)) if price == "equal" else SIZES.prod(axis=1).astype(float)
    rows = anchor_rows(SHORT, SIZES, TOP, cost, 6)
    x, r = np.log(SHORT), TOP / SIZES - 1
    features = np.column_stack([x, r, r * x[:, None]])
    design = np.column_stack([np.ones(len(x)), (features - features.mean(axis=0)) / features.std(axis=0)])
    information = 1e-2 * np.eye(design.shape[1])
    for k, row in enumerate(rows):
        grown = np.linalg.slogdet(information + design[:, :, None] * design[:, None, :])[1]
        gain = (grown - np.linalg.slogdet(information)[1]) / np.sqrt(cost)
        gain[rows[:k]] = -np.inf
        assert gain[row] == pytest.approx(gain.max(), rel=1e-9)
        information += np.outer(design[row], design[row])
    assert len(set(rows)) == 6


def test_a_size_that_never_varies_does_no_harm():
    one = SIZES[SIZES[:, 1] == 256]
    short = SHORT[SIZES[:, 1] == 256]
    long = np.full(len(one), np.nan)
    rows = anchor_rows(short, one, TOP, np.ones(len(one)), 5)
    long[rows] = 0.9 * short[rows]
    assert np.allclose(anchored(short, long, one, TOP)["error"], 0.9 * short)


@pytest.mark.parametrize("count", [0, 3, 61])
def test_too_few_or_too_many_anchors_are_refused(count):
    with pytest.raises(InputError, match="anchors"):
        anchor_rows(SHORT, SIZES, TOP, np.ones(len(SIZES)), count)


def test_three_known_errors_are_too_few():
    long = np.full(len(SIZES), np.nan)
    long[:3] = 0.5
    with pytest.raises(InputError, match="too few"):
        anchored(SHORT, long, SIZES, TOP)
