import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsp.base.errors import InputError
from fsp.families.anatomy import Anatomy, spread
from fsp.families.family import family_of_type, load_family

FULL = {"D": 2, "A": 4, "H": 32, "I": 24}  # head size 8
MERGED = {"D": 2, "A": 2, "H": 32, "I": 24}


@given(st.integers(1, 30), st.data())
def test_layers_are_spread_evenly_and_end_with_the_last(full, data):
    kept = data.draw(st.integers(1, full))
    layers = spread(full, kept)
    assert layers == sorted(set(layers))
    assert 0 <= layers[0] <= layers[-1] == full - 1
    assert max(b - a for a, b in zip([-1, *layers], layers, strict=False)) <= -(-full // kept) + 1


@pytest.mark.parametrize("name", ["bert", "distilbert", "gpt2", "vit"])
def test_heads_of_another_size_can_be_cut(name):
    anatomy = load_family(name).anatomy
    assert anatomy.resizes_heads(FULL, MERGED)
    assert not anatomy.resizes_heads(FULL, {**MERGED, "H": 16})
    anatomy.check(FULL, MERGED)


def test_heads_of_another_size_are_refused_under_rotary_positions():
    with pytest.raises(InputError, match=r"head size 16.* 8, .*rotary.*choose H = 8 \* A .*'H == 8 \* A'"):
        load_family("modernbert").anatomy.check(FULL, MERGED)


def test_a_llama_has_heads_of_one_size_whatever_its_width():
    anatomy, full = load_family("llama").anatomy, {"D": 2, "A": 6, "K": 3, "H": 24, "I": 8}
    for shape in ({"A": 2, "K": 1}, {"A": 2, "K": 2}, {"A": 3, "K": 3}, {"A": 4, "K": 2, "H": 12}):
        assert not anatomy.resizes_heads(full, {**full, **shape})
        anatomy.check(full, {**full, **shape})
    for shape, says in (
        ({"A": 3, "K": 1}, r"each of the K must serve the same number of the A, at most 2 .*'A <= 2 \* K'"),
        ({"A": 3, "K": 2}, r"'A % K == 0'"),
        ({"A": 4, "K": 2, "H": 22}, "A=4 does not divide H=22"),
    ):
        with pytest.raises(InputError, match=says):
            anatomy.check(full, {**full, **shape})


def test_without_heads_there_are_none_to_change():
    assert not Anatomy("layers", {}, ()).resizes_heads({"H": 8}, {"H": 4})


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ({**FULL, "D": 3}, "only smaller shapes"),
        ({"D": 1}, "no shape of this family; give D"),
        ({**FULL, "A": 3}, "A=3 does not divide H=32"),
    ],
)
def test_what_cannot_be_cut_is_refused(shape, says):
    with pytest.raises(InputError, match=says):
        load_family("bert").anatomy.check(FULL, shape)


def test_every_model_type_has_one_family():
    types = [
        kind
        for name in ("bert", "distilbert", "gpt2", "llama", "mlp", "modernbert", "vit")
        for kind in load_family(name).MODEL_TYPES
    ]
    assert len(types) == len(set(types))
    for kind in types:
        assert kind in family_of_type(kind).MODEL_TYPES
    with pytest.raises(
        InputError,
        match=r"'t5' belongs to no network family; there are bert \(bert, roberta.*llama \(llama, mistral, qwen2, qwen3\)",
    ):
        family_of_type("t5")
