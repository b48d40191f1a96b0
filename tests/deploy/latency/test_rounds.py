import gc
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from fsp.base.errors import InputError
from fsp.deploy.latency.rounds import median_of, ratio_of, time_rounds, told_apart
from fsp.deploy.latency.settings import LEAST_ROUNDS


@given(st.integers(LEAST_ROUNDS, 400))
def test_the_interval_covers_95_percent_and_no_narrower_one_does(n):
    found = median_of(np.arange(1.0, n + 1))
    k = round(found.low)
    assert found.high == n + 1 - k
    assert 1 - 2 * binom.cdf(k - 1, n, 0.5) >= 0.95
    assert 1 - 2 * binom.cdf(k, n, 0.5) < 0.95


def test_coverage_on_skewed_noise():
    generator = np.random.default_rng(0)
    samples = generator.exponential(size=(2000, 25))
    covered = sum(m.low <= np.log(2) <= m.high for m in map(median_of, samples))
    assert 0.94 <= covered / 2000 <= 0.98


def test_ratios_within_rounds_survive_a_drifting_machine():
    generator = np.random.default_rng(0)
    machine = np.geomspace(1, 10, 40)  # gets ten times slower
    first, second = (machine * level * generator.lognormal(0, 0.02, 40) for level in (10.0, 11.0))
    assert told_apart(first, second)
    ratio = ratio_of(second, first)
    assert ratio.low <= 1.1 <= ratio.high and ratio.uncertainty < 0.02
    assert not told_apart(first, machine * 10 * generator.lognormal(0, 0.02, 40))


def test_each_timed_call_follows_an_untimed_one_of_the_same_network():
    made = []
    taken = time_rounds({name: lambda name=name: made.append(name) for name in "abc"}, rounds=6, warmup=1)
    assert made[0::2] == made[1::2]
    assert len(made) == 2 * 3 * 7
    rounds = [made[i : i + 6 : 2] for i in range(0, len(made), 6)]
    assert all(sorted(order) == list("abc") for order in rounds) and len({order[0] for order in rounds}) == 3
    assert {len(samples) for samples in taken.values()} == {6}


def test_milliseconds_and_the_collector():
    seen = []

    def wait():
        seen.append(gc.isenabled())
        time.sleep(0.002)

    assert (time_rounds({"wait": wait}, rounds=6)["wait"] >= 2).all()
    assert not any(seen) and gc.isenabled()


def test_too_few_rounds():
    with pytest.raises(InputError, match="5 rounds give no interval"):
        median_of(np.ones(5))
