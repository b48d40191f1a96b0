import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fsp.families.cutting import cut_weights, spread


@given(st.integers(1, 30), st.data())
def test_layers_are_spread_evenly_and_end_with_the_last(full, data):
    kept = data.draw(st.integers(1, full))
    layers = spread(full, kept)
    assert layers == sorted(set(layers))
    assert 0 <= layers[0] <= layers[-1] == full - 1
    assert max(b - a for a, b in zip([-1, *layers], layers, strict=False)) <= -(-full // kept) + 1


def test_groups_repeated_on_an_axis_are_kept_together():
    full, small = nn.Linear(1, 12), nn.Linear(1, 6)  # three times two heads of two values
    with torch.no_grad():
        full.weight.copy_(torch.arange(12.0)[:, None])
        full.bias.zero_()
    axes = {"weight": ("3A", None), "bias": ("3A",)}
    kept = cut_weights(full, small, axes, {"A": 2}, {"A": 1}, []).weight.flatten().tolist()
    assert kept == [2, 3, 6, 7, 10, 11]


def test_each_weight_has_the_same_say():
    full, small = nn.Sequential(nn.Linear(1, 3), nn.Linear(3, 1)), nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    with torch.no_grad():
        full[0].weight.copy_(torch.tensor([[1e6], [1.1e6], [0.0]]))
        full[1].weight.copy_(torch.tensor([[9.0, 1.0, 1.0]]))
        full[0].bias.zero_()
    axes = {"0.weight": ("H", None), "0.bias": ("H",), "1.weight": (None, "H"), "1.bias": (None,)}
    kept = cut_weights(full, small, axes, {"H": 3}, {"H": 1}, [])
    assert kept[0].weight.item() == pytest.approx(1e6)
    assert torch.equal(kept[1].bias, full[1].bias)
