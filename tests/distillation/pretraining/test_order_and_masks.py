import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsp.distillation.pretraining.masking import Masking
from fsp.distillation.pretraining.order import shuffled

SPECIAL = (0, 1, 2, 3)


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


def blocks(n, length=64, seed=0):
    tokens = np.random.default_rng(seed).integers(4, 1000, size=(n, length))
    tokens[:, 0], tokens[:, -1], tokens[:, 20] = 1, 2, 2
    return tokens


def test_masks_depend_on_example_epoch_and_seed_alone():
    tokens, masking = blocks(6), Masking(0.15, 3, 1000, SPECIAL, seed=5)
    examples, epochs = np.arange(10, 16), np.array([0, 0, 1, 1, 2, 2])
    masked, positions = masking(tokens, examples, epochs)
    order = np.array([4, 2, 0, 5, 1, 3])
    again, again_positions = masking(tokens[order], examples[order], epochs[order])
    assert (again == masked[order]).all() and (again_positions == positions[order]).all()
    for other in (
        Masking(0.15, 3, 1000, SPECIAL, seed=6)(tokens, examples, epochs),
        masking(tokens, examples, epochs + 1),
    ):
        assert (other[1] != positions).any(axis=1).all()
    assert (tokens == blocks(6)).all()


def test_what_is_masked_how_often():
    tokens = blocks(800)
    masked, positions = Masking(0.15, 3, 1000, SPECIAL, seed=0)(tokens, np.arange(800), np.zeros(800, np.int64))
    assert positions.shape == (800, round(0.15 * 64))
    assert (np.diff(positions, axis=1) > 0).all()
    rows = np.arange(800)[:, None]
    before, after = tokens[rows, positions], masked[rows, positions]
    assert not np.isin(before, SPECIAL).any()
    assert (after == 3).mean() == pytest.approx(0.8, abs=0.015)
    assert (after == before).mean() == pytest.approx(0.1, abs=0.015)
    assert not np.isin(after, (0, 1, 2)).any()
    untouched = np.ones_like(tokens, bool)
    untouched[rows, positions] = False
    assert (masked[untouched] == tokens[untouched]).all()
    share = np.bincount(positions.ravel(), minlength=64) / 800
    assert share[[0, 20, 63]].max() == 0
    assert share[1:20].min() > 0.08


def test_one_position_at_least():
    masked, positions = Masking(0.01, 3, 1000, SPECIAL, seed=0)(blocks(2, 24), np.arange(2), np.zeros(2, np.int64))
    assert positions.shape == (2, 1)
    assert masked.shape == (2, 24)
