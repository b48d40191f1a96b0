import numpy as np
import pytest
from running import experiment


@pytest.fixture(scope="module")
def solve():
    module = experiment("agora/annuli.py")
    return lambda right: np.array([module.solve(right, seed)[:2] for seed in range(4)])


def test_a_labeller_that_is_right_three_times_in_four_fills_the_gap_and_a_coin_does_not(solve):
    coin, fair = solve(0.5), solve(0.75)
    assert (coin[:, 0] < 0.5).all()  # the learner knows nothing of the missing arc
    assert (fair[:, 1] > 0.9).all()
    assert (coin[:, 1] < 0.8).all() and coin[:, 1].mean() < 0.7
