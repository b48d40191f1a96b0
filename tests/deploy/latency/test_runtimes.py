import functools

import pytest
import torch

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


def test_a_network_stays_where_it_is_while_a_copy_moves(space_file):
    (one,) = loaded(space_file, TEN[:1])
    inputs, waits = one.inputs(1, 8), []
    eager = call_in("eager", one, inputs, None)
    on_meta = runtimes._call_on("meta", one.network, inputs, lambda: waits.append(1))  # `cuda` without a device
    on_meta()
    eager()
    assert {parameter.device.type for parameter in one.network.parameters()} == {"cpu"}
    assert inputs["input_ids"].device.type == "cpu" and waits == [1]


def test_memory_on_cuda_is_the_devices(space_file, monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 3e6)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 2e6)
    monkeypatch.setattr(runtimes, "call_in", lambda *arguments: lambda: None)
    settings = {"words": [str(space_file), "T"], "runtime": "cuda", "batch": 1, "length": 8, "path": None}
    assert memory._measure({**settings, "threads": torch.get_num_threads()}) == {"peak": 3, "network": 2}
