import json

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import fsp
from fsp.objectives.memory import peak_memory
from fsp.search.choice import choose
from fsp.search.planning import plan
from fsp.spaces.loading import load_space, shipped_spaces
from fsp.spaces.space import family_of

SPACE = load_space("minilm")


def allocated(space, shape, batch, length, file):
    """The peak of what torch's allocator reports of a real forward pass, weights and inputs besides, in bytes."""
    network = family_of(space).build(shape, space.constants).eval()
    inputs = family_of(space).inputs(space.constants, batch=batch, length=length)
    with torch.no_grad():
        network(**inputs)  # whatever is made once
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            network(**inputs)
    profiler.export_chrome_trace(str(file))
    changes = [e["args"]["Bytes"] for e in json.loads(file.read_text())["traceEvents"] if e.get("name") == "[memory]"]
    now = peak = 0
    for change in changes:
        now += change
        peak = max(peak, now)
    held = [*network.parameters(), *network.buffers(), *inputs.values()]
    return peak + sum(tensor.nbytes for tensor in held)


@pytest.mark.parametrize("name", shipped_spaces())
@pytest.mark.parametrize(("depth", "batch", "length"), [(1, 2, 32), (2, 1, 128), (5, 4, 64)])
def test_counts_what_torch_allocates(name, depth, batch, length, tmp_path):
    space = load_space(name)
    point = space.candidates[:1].copy()
    point[0, space.names.index("D")] = depth
    real = allocated(space, space.architectures(point)[0], batch, length, tmp_path / "trace.json")
    counted = int(peak_memory(space, point, batch=batch, length=length)[0])
    assert counted == pytest.approx(real, abs=64)  # a few numbers of 4 bytes that an operator allocates for itself


def test_limits_a_search():
    found = fsp.extract(SPACE, error=lambda a: 1 / a["D"], limits={"peak_memory": "25%"}, interval=1)
    assert (found.table["peak_memory"] <= found.limits["peak_memory"]).all()
    assert found.limits["peak_memory"] == found.maximum["peak_memory"] / 4
    assert len(found.table) == plan(SPACE, limits={"peak_memory": "25%"}, interval=1).feasible < len(SPACE.candidates)


def test_limits_a_choice(tmp_path):
    study = tmp_path / "toy.journal"
    found = fsp.extract(SPACE, error=lambda a: 1 / a["D"], interval=10, study=study)
    limit = float(peak_memory(SPACE, SPACE.point(found.selected))[0]) - 1
    again = choose(study, SPACE, limits={"peak_memory": limit})
    assert again.selected != found.selected
    assert (again.table["peak_memory"] <= limit).all()
