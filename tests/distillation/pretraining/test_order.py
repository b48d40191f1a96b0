import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fsp.distillation.pretraining.order import shuffled


@given(st.integers(1, 700), st.integers(0, 2**31), st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_every_pass_holds_every_block_once(blocks, seed, epoch):
    places = np.arange(epoch * blocks, (epoch + 1) * blocks)
    found, epochs = shuffled(places, blocks, seed)
    assert sorted(found.tolist()) == list(range(blocks))
    assert (epochs == epoch).all()
    one_by_one = [int(shuffled(np.array([p]), blocks, seed)[0][0]) for p in places[:5]]
    assert one_by_one == found[:5].tolist()


def test_passes_and_seeds_differ_and_look_random():
    n = 5000
    orders = [shuffled(np.arange(n) + k * n, n, seed)[0] for k, seed in ((0, 0), (1, 0), (0, 1))]
    for i, a in enumerate(orders):
        assert abs(np.corrcoef(a, np.arange(n))[0, 1]) < 0.05
        assert abs(np.corrcoef(a[:-1], a[1:])[0, 1]) < 0.05
        for b in orders[:i]:
            assert (a == b).sum() < 10


def test_billions_of_blocks_need_no_memory():
    found, _ = shuffled(np.arange(1000), 80_000_000_000, seed=3)
    assert len(np.unique(found)) == 1000
    assert found.max() > 70_000_000_000
