import functools

import pytest
import torch

from fsp.base.device import Device
from fsp.base.errors import RunFailed
from fsp.deploy.latency import memory, runtimes
from fsp.deploy.latency.runtimes import call_in
from fsp.deploy.latency.targets import parse_targets

TEN = [f"D={depth},A=2,H=16,I={inner}" for depth in (1, 2, 3) for inner in (16, 32, 64)] + ["T"]


class Backend:
    """A compiler that counts how often what it compiled runs, and compiles nothing."""

    def __init__(self):
        self.runs = 0

    def __call__(self, graph, example):
        def run(*arguments):
            self.runs += 1
            return graph(*arguments)

        return run


@pytest.fixture
def backend(monkeypatch):
    backend = Backend()
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    yield backend
    torch._dynamo.reset()


def loaded(space_file, words=TEN):
    return [target.load() for target in parse_targets([str(space_file), *words])]


def test_all_of_ten_networks_are_compiled(space_file, backend):
    calls = [call_in("compile", one, one.inputs(1, 8), None) for one in loaded(space_file)]
    for call in calls:
        before = backend.runs
        call()
        assert backend.runs > before


def test_where_the_limit_is_reached_it_fails_rather_than_run_uncompiled(space_file, backend, monkeypatch):
    monkeypatch.setattr(runtimes, "_NETWORKS", 2)
    with pytest.raises(RunFailed, match="torch cannot compile the network: FailOnRecompileLimitHit"):
        for one in loaded(space_file, TEN[:4]):
            call_in("compile", one, one.inputs(1, 8), None)


def test_a_call_on_a_device_ends_when_the_device_is_done(space_file, monkeypatch):
    (one,) = loaded(space_file, TEN[:1])
    waits = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waits.append)
    on_meta = call_in("eager", one, one.inputs(1, 8), None, Device("meta"))  # a GPU's place without a GPU
    assert {parameter.device.type for parameter in one.network.parameters()} == {"meta"}
    for _ in range(2):
        on_meta()
    assert waits == [torch.device("meta")] * 2


def test_weights_are_in_the_type_of_numbers_too(space_file):
    (one,) = loaded(space_file, TEN[:1])
    call_in("eager", one, one.inputs(1, 8), None, Device("cpu", "bfloat16"))()
    assert {parameter.dtype for parameter in one.network.parameters()} == {torch.bfloat16}


def test_memory_on_cuda_is_the_devices(space_file, monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 3e6)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 2e6)
    monkeypatch.setattr(memory, "call_in", lambda *arguments: lambda: None)
    monkeypatch.setattr(Device, "chosen", lambda name, dtype: Device(name, dtype))
    settings = {"words": [str(space_file), "T"], "runtime": "eager", "batch": 1, "length": 8, "path": None}
    settings |= {"device": "cuda", "dtype": "float32"}
    assert memory._measure({**settings, "threads": torch.get_num_threads()}) == {"peak": 3, "network": 2}
