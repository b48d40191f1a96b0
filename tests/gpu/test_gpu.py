"""The journey on a GPU: every number is that of the CPU, within what float32 products in another order make of it.

Run by `make test-gpu`; skipped without CUDA. Without a GPU nothing here runs, and what is then not covered is that tensors
meet on one device: on a CPU they cannot miss each other.
"""

import numpy as np
import pytest
import torch
from tiny_networks import given
from tiny_networks import tiny as tiny_network

from fsp.base.device import Device
from fsp.distillation.cutting import Cutter
from fsp.distillation.inputs import prepare
from fsp.families.architecture import Architecture
from fsp.families.family import load_family

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use (CUDA)"),
]
SHAPE = Architecture(D=2, A=2, H=16, I=32)


def prepared(tiny, device, **options):
    return prepare(
        tiny.space, teacher=str(tiny.teacher), corpus=[tiny.corpus], threads=1, tokens=16_384, device=device, **options
    )[1]


@pytest.mark.parametrize("task", ["states", "embedding"])
@pytest.mark.parametrize("steps", [0, 2])
def test_an_error_is_that_of_the_cpu(tiny, task, steps):
    found = {device: prepared(tiny, device, task=task, steps=steps)(SHAPE, seed=0) for device in ("cpu", "cuda")}
    assert found["cuda"] == pytest.approx(found["cpu"], rel=0.02)


def test_bfloat16_is_near_float32(tiny):
    found = {dtype: prepared(tiny, "cuda", steps=0, dtype=dtype)(SHAPE, seed=0) for dtype in ("float32", "bfloat16")}
    assert found["bfloat16"] == pytest.approx(found["float32"], rel=0.05)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "modernbert"])
def test_a_cut_is_that_of_the_cpu(family):
    network, inputs = tiny_network(family), given(family)
    full = load_family(family).architecture_of(network.config)
    shape = {**full, "D": 1, "I": full["I"] // 2}
    placed = {place: {name: value.to(place) for name, value in inputs.items()} for place in ("cpu", "cuda")}
    found = []
    for place, given_there in placed.items():
        cut = Cutter(network.to(place), load_family(family), given_there).cut(shape).network
        with torch.no_grad():
            found.append(cut(**given_there)[0].cpu())
    np.testing.assert_allclose(found[1], found[0], atol=0.02)


def test_a_batch_that_does_not_fit_is_halved(tiny):
    torch.cuda.set_per_process_memory_fraction(0.02)
    try:
        assert prepared(tiny, "cuda", steps=1)(SHAPE, seed=0) > 0
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_the_device_is_part_of_what_an_error_depends_on(tiny):
    settings = prepared(tiny, "cuda", steps=0).settings
    assert settings["device"] == Device.chosen("cuda").kind
    assert settings["device"] != "cpu"
