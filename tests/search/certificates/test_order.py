import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsp.search.interval import order

rows = st.lists(st.tuples(*[st.integers(0, 3)] * 4), max_size=40)


@given(rows, st.integers(0, 5))
def test_order_is_by_size_then_speed_then_architecture_then_chance(found, seed):
    table = np.array(found, dtype=np.int64).reshape(-1, 4)
    size, speed, points = table[:, 0], table[:, 1] / 2, table[:, 2:]
    ties = np.random.default_rng(seed).permutation(len(points))
    expected = sorted(range(len(table)), key=lambda k: (size[k], speed[k], *points[k], ties[k]))
    assert order(size, speed, points, seed=seed).tolist() == expected


@pytest.mark.parametrize("shape", [(0, 2), (1, 2)])
def test_few_rows(shape):
    nothing = np.zeros(shape[0])
    assert order(nothing, nothing, np.zeros(shape, dtype=np.int64), seed=0).tolist() == list(range(shape[0]))
