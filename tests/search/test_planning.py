import json
from functools import partial

import pytest

import fsp.families.bert as bert
from fsp.base.errors import InputError
from fsp.search.certificates.settings import CertifiedSettings
from fsp.search.cost import EFFICIENCY, achieved_gflops, training_cost
from fsp.search.extraction import extract
from fsp.search.planning import plan
from fsp.spaces.loading import load_space

SPACE = load_space("bert_large")


@pytest.fixture
def run(monkeypatch, in_process):
    """Run `fsp extract` in this process, where no teacher can be loaded and no text read."""
    monkeypatch.setattr("fsp.distillation.inputs.load_inputs", None)
    return partial(in_process, "extract")


def flops(shapes, steps):
    """3 x forward FLOPs a token x tokens, by hand: 16 blocks of 64 tokens a step."""
    return sum(3 * int(bert.operations(shape, {}, batch=1, length=64)) * 16 * steps for shape in shapes)


def test_json_without_a_teacher(run):
    code, out, err = run(
        "bert_large", "--objective", "w", "--interval", 10, "--steps", 5, "--threads", 1, "--plan", "--json"
    )
    facts = json.loads(out)
    assert (code, err) == (0, "")
    assert set(facts) == {
        "candidates", "evaluations", "flops", "seconds", "gflops", "method", "interval", "feasible", "maximal", "audit",
    }  # fmt: skip
    assert (facts["method"], facts["interval"], facts["maximal"]) == ("interval", 10, None)
    found = extract(SPACE, error=lambda a: 1 / a["D"], objective="w", interval=10)
    assert facts["candidates"] == found.table[list(SPACE.names)].to_dict("records")
    assert facts["evaluations"] == 30
    assert facts["flops"] == flops(facts["candidates"], 5)
    assert facts["seconds"] == pytest.approx(facts["flops"] / (EFFICIENCY * facts["gflops"] * 1e9))


def test_text_names_candidates_flops_and_time(run):
    code, out, _ = run("bert_large", "--plan")  # its default is the interval
    assert code == 0
    planned = plan(SPACE)
    assert len(out.splitlines()) == len(planned.table) + 5
    assert f"candidates: {len(planned.table)} of {planned.feasible} feasible" in out
    assert "FLOPs, about " in out
    assert "on this machine" in out


def test_certified_says_at_most(run):
    code, out, _ = run("bert_large", "--method", "certified", "--objective", "w", "--plan")
    assert code == 0
    assert "candidates: at most 300 of 300 feasible" in out
    assert "evaluations: at most 909, each of 16 training steps" in out
    assert "stops earlier" in out


def test_a_teacher_brings_the_constants_of_a_planned_space(run, tiny):
    code, out, _ = run(tiny.space_file, "--plan", "--teacher", tiny.teacher, "--limit", "encoder_parameters=100%")
    assert code == 0
    assert "feasible" in out


def test_a_certified_search_never_evaluates_more_than_planned():
    calls = []

    def error(architecture, seed):
        calls.append(architecture)
        return 1 / architecture["D"] + 1e-3 * (architecture["I"] % 7) + 1e-6 * seed

    settings = CertifiedSettings(seeds=2, evaluations=20, audit=3)
    planned = plan(SPACE, method="certified", objective="w", certified=settings)
    extract(SPACE, error=error, method="certified", objective="w", certified=settings)
    assert len(set(calls)) <= planned.candidates == 23
    cost = training_cost(SPACE, planned, steps=2, batch=16, length=64, gflops=1.0)
    assert len(calls) <= cost.evaluations == 2 * (23 + 3)
    assert flops(calls, 2) <= cost.flops


def test_certified_without_noise_evaluates_each_once():
    planned = plan(SPACE, method="certified", certified=CertifiedSettings(sigma=0, seeds=1))
    assert (planned.candidates, planned.seeds, planned.again) == (planned.feasible, 1, 0)


def test_no_steps_cost_nothing():
    cost = training_cost(SPACE, plan(SPACE), steps=0, batch=16, length=64, gflops=1.0)
    assert (cost.flops, cost.seconds) == (0, 0)
    assert cost.evaluations == len(plan(SPACE).table)


def test_the_machine_is_timed():
    assert 0 < achieved_gflops() < 1e6


def test_a_certified_plan_has_no_interval():
    with pytest.raises(InputError, match="interval belongs"):
        plan(SPACE, method="certified", interval=2)


def test_finalists_are_planned_for_at_their_longest(run):
    code, out, _ = run("bert_large", "--plan", "--interval", 30, "--objective", "w", "--finalists", 2, "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["evaluations"] == 12
    largest = sorted(facts["candidates"], key=lambda shape: flops([shape], 16))[-2:]
    assert facts["flops"] == flops(facts["candidates"], 16) + flops(largest, 128)
    _, out, _ = run("bert_large", "--plan", "--interval", 30, "--objective", "w", "--finalists", 2)
    assert "evaluations: at most 12, each of 16 training steps, 128 of a finalist" in out
