import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from fsp.objectives.hull import in_hull


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 14), st.integers(0, 2))
def test_it_is_what_weights_of_the_known_points_reach(seed, dimensions, count, flat):
    """By linear programming: a point is inside if and only if weights that sum to 1 make it of the known ones."""
    generator = np.random.default_rng(seed)
    known = np.log(generator.choice([1, 2, 3, 4, 6], (count, dimensions)))
    known[:, :flat] = 0.7  # sizes that never vary
    points = np.log(generator.choice([1, 2, 3, 4, 6], (20, dimensions)))
    points[:10, :flat] = 0.7
    points[0] = known[0]
    points[1] = known.mean(axis=0)
    told = in_hull(points, known)
    equations = np.vstack([known.T, np.ones(count)])
    for point, inside in zip(points, told, strict=True):
        reached = linprog(np.zeros(count), A_eq=equations, b_eq=np.append(point, 1.0), method="highs")
        assert inside == (reached.status == 0)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_tied_sizes_and_any_scale(scale):
    """Heads that follow the width: the hull is a line, and what lies beside it is outside."""
    known = scale * np.array([[1.0, 2.0], [2.0, 4.0], [4.0, 8.0]])
    asked = scale * np.array([[3.0, 6.0], [3.0, 5.0], [5.0, 10.0], [1.0, 2.0]])
    assert in_hull(asked, known).tolist() == [True, False, False, True]
