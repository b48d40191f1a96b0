import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsp.base.errors import InputError
from fsp.distillation.masking import Masking, PassMasking

MASK, SPECIAL, VOCABULARY = 3, (0, 1, 2, 3), 500
MASKING = Masking(MASK, SPECIAL, VOCABULARY)


def blocks(n=400, length=64, seed=0):
    tokens = np.random.default_rng(seed).integers(4, VOCABULARY, (n, length)).astype(np.int32)
    tokens[:, 0], tokens[:, -1], tokens[:, 20] = 1, 2, 2
    return tokens


def test_rates():
    tokens = blocks()
    seen, chosen = MASKING(tokens, seed=0)
    assert (chosen.sum(axis=1) == round(0.15 * 61)).all()
    assert np.array_equal(seen[~chosen], tokens[~chosen])
    count = chosen.sum()
    masked = (seen == MASK).sum() / count
    kept = (seen[chosen] == tokens[chosen]).sum() / count
    assert masked == pytest.approx(0.8, abs=4 * np.sqrt(0.16 / count))
    assert kept == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / count) + 0.1 / VOCABULARY)
    randoms = seen[chosen & (seen != MASK) & (seen != tokens)]
    assert len(np.unique(randoms)) > 150  # of 360 draws from 496


def test_every_position_is_chosen_equally_often():
    _, chosen = MASKING(blocks(n=4000), seed=1)
    often = np.delete(chosen.mean(axis=0), [0, 20, 63])
    assert np.abs(often - 9 / 61).max() < 5 * np.sqrt(0.15 * 0.85 / 4000)


@given(st.lists(st.integers(0, 19), min_size=1, max_size=40), st.integers(0, 2**63))
@settings(max_examples=100, deadline=None)
def test_special_tokens_are_neither_chosen_nor_put_in(tokens, seed):
    masking = Masking(MASK, SPECIAL, 20)
    block = np.array([[*tokens, 19]], dtype=np.int32)
    seen, chosen = masking(block, seed)
    ordinary = ~np.isin(block, SPECIAL)
    assert not (chosen & ~ordinary).any()
    assert chosen.sum() == max(1, round(0.15 * ordinary.sum()))
    assert (np.isin(seen[chosen], masking.ordinary) | (seen[chosen] == MASK)).all()


def test_a_pure_function_of_block_and_seed():
    tokens = blocks(n=20)
    before = tokens.copy()
    seen, chosen = MASKING(tokens, seed=7)
    assert np.array_equal(tokens, before)
    order = np.random.default_rng(1).permutation(20)
    np.random.seed(5)  # noqa: NPY002 (it must not matter)
    again = Masking(MASK, SPECIAL, VOCABULARY)(tokens[order], seed=7)
    assert np.array_equal(again[0], seen[order]) and np.array_equal(again[1], chosen[order])
    alone = MASKING(np.asfortranarray(tokens)[3:4], seed=7)
    assert np.array_equal(alone[0][0], seen[3])
    assert not np.array_equal(MASKING(tokens, seed=8)[1], chosen)


def test_what_a_tokenizer_says(minilm_folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    masking = Masking.of(tokenizer)
    assert masking.mask_token == tokenizer.convert_tokens_to_ids("[MASK]")
    assert set(masking.special) == set(tokenizer.all_special_ids)
    assert len(masking.ordinary) == 30522 - 5
    tokenizer.mask_token = None
    with pytest.raises(InputError, match="no mask token"):
        Masking.of(tokenizer)


def test_a_block_without_an_ordinary_token():
    with pytest.raises(InputError, match="nothing but special tokens"):
        MASKING(np.array([[5, 6], [1, 2]], dtype=np.int32), seed=0)


def test_masks_depend_on_example_epoch_and_seed_alone():
    tokens, masking = blocks(6), PassMasking(MASKING, 0.15, seed=5)
    examples, epochs = np.arange(10, 16), np.array([0, 0, 1, 1, 2, 2])
    masked, positions = masking(tokens, examples, epochs)
    order = np.array([4, 2, 0, 5, 1, 3])
    again, again_positions = masking(tokens[order], examples[order], epochs[order])
    assert (again == masked[order]).all() and (again_positions == positions[order]).all()
    for other in (
        PassMasking(MASKING, 0.15, seed=6)(tokens, examples, epochs),
        masking(tokens, examples, epochs + 1),
    ):
        assert (other[1] != positions).any(axis=1).all()
    assert (tokens == blocks(6)).all()


def test_what_is_masked_how_often():
    tokens = blocks(800)
    masked, positions = PassMasking(MASKING, 0.15, seed=0)(tokens, np.arange(800), np.zeros(800, np.int64))
    assert positions.shape == (800, round(0.15 * 64))
    assert (np.diff(positions, axis=1) > 0).all()
    rows = np.arange(800)[:, None]
    before, after = tokens[rows, positions], masked[rows, positions]
    assert not np.isin(before, SPECIAL).any()
    assert (after == MASK).mean() == pytest.approx(0.8, abs=0.015)
    assert (after == before).mean() == pytest.approx(0.1, abs=0.015)
    assert not np.isin(after, (0, 1, 2)).any()
    untouched = np.ones_like(tokens, bool)
    untouched[rows, positions] = False
    assert (masked[untouched] == tokens[untouched]).all()
    share = np.bincount(positions.ravel(), minlength=64) / 800
    assert share[[0, 20, 63]].max() == 0
    assert share[1:20].min() > 0.08


def test_one_position_at_least():
    masked, positions = PassMasking(MASKING, 0.01, seed=0)(blocks(2, 24), np.arange(2), np.zeros(2, np.int64))
    assert positions.shape == (2, 1)
    assert masked.shape == (2, 24)
