import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsp.base.errors import InputError
from fsp.search.pareto import hypervolume, pareto_front

NAMES = ["p", "i", "e"]
small = st.integers(0, 6).map(float)
tables = st.lists(st.tuples(small, small, small), min_size=1, max_size=12).map(
    lambda rows: pd.DataFrame(rows, columns=NAMES)
)


@settings(deadline=None)
@given(tables)
def test_front_equals_brute_force(table):
    values = table.to_numpy()
    kept = [not any((b <= a).all() and (b < a).any() for b in values) for a in values]
    assert sorted(pareto_front(table, NAMES).index) == np.flatnonzero(kept).tolist()


@settings(deadline=None)
@given(tables, st.integers(1, 7))
def test_hypervolume_counts_the_dominated_unit_cells(table, limit):
    cells = np.indices((limit,) * 3).reshape(3, -1).T
    dominated = (table.to_numpy()[:, None] <= cells[None]).all(axis=2).any(axis=0)
    assert hypervolume(table, NAMES, reference=[limit] * 3) == pytest.approx(dominated.sum())


def test_missing_values_add_nothing_and_the_table_stays():
    table = pd.DataFrame({"p": [1.0, 0.0, 9.0], "i": [1.0, 0.0, 9.0], "e": [1.0, math.nan, 9.0]})
    before = table.copy()
    assert hypervolume(table, NAMES, reference=[2, 2, 2]) == 1
    assert hypervolume(table, ["p", "i"], reference=[2, 2]) == 4
    pd.testing.assert_frame_equal(table, before)


@pytest.mark.parametrize("reference", [[1, 1], [1, 1, math.inf], [1, 1, math.nan]])
def test_a_reference_that_does_not_fit_is_refused(reference):
    with pytest.raises(InputError, match="one finite number for each of p, i, e"):
        hypervolume(pd.DataFrame([[0, 0, 0]], columns=NAMES), NAMES, reference=reference)
