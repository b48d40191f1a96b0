"""Saved models, classifiers and timings on a GPU: every number is that of the CPU, within rounding; see `test_gpu`."""

import json

import numpy as np
import pytest
import torch
from text_networks import saved

from fsp.base.device import Device
from fsp.deploy.latency.measuring import measure
from fsp.deploy.latency.settings import MeasurementSettings
from fsp.deploy.latency.targets import parse_targets
from fsp.distillation.inputs import prepare
from fsp.distillation.teacher import load_teacher
from fsp.families.architecture import Architecture
from fsp.finetuning.classifier import Classifier
from fsp.finetuning.examples import Example
from fsp.finetuning.labellers import load_labeller
from fsp.finetuning.theta import Hyperparameters

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use (CUDA)"),
]
GPU = "cuda"
SHAPE = Architecture(D=2, A=2, H=16, I=32)
LABELS = ("bad", "good")
ROWS = [
    Example((f"the {noun} of this film is {word}{more}",), int(word == "good"))
    for noun in ("story", "plot", "music")
    for word in LABELS
    for more in ("", " and that is the ending of it")
]


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama", "modernbert", "vit"])
def test_outputs_of_a_loaded_network_are_those_of_the_cpu(kind, tmp_path):
    folder = saved(kind, "", tmp_path)
    found = []
    for place in ("cpu", GPU):
        teacher = load_teacher(folder, task="states", device=Device.chosen(place))
        inputs = teacher.family.inputs(teacher.constants, batch=2, length=12)
        with torch.no_grad():
            states = teacher.network(**{name: value.to(place) for name, value in inputs.items()})[0]
        assert states.device.type == place
        found.append(states.cpu().numpy())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3, atol=1e-3 * np.abs(found[0]).max())


def test_losses_and_the_error_after_training_are_those_of_the_cpu(tiny):
    found = []
    for place in ("cpu", GPU):
        _, error = prepare(
            tiny.space, teacher=str(tiny.teacher), corpus=[tiny.corpus], threads=1, tokens=16_384, device=place
        )
        student = error.student(SHAPE)
        losses = error.train(student, steps=2, seed=0)
        found.append((losses, error.measure(student, error.material.test)))
        with torch.inference_mode():
            assert all(call() is not None for call in error.task.calls({"choice": student}, 16).values())
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=0.02)
    assert found[1][1] == pytest.approx(found[0][1], rel=0.02)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])
def test_a_classifier_predicts_the_same_and_learns(kind, tmp_path):
    folder = saved(kind, "", tmp_path / "model", noise=0.1)
    here, there = (Classifier(folder, LABELS, device=Device.chosen(place)) for place in ("cpu", GPU))
    theta = Hyperparameters(1e-2, batch=8)
    model = here.fit(theta, ROWS, steps=3, seed=0)
    expected = here.predict(model, ROWS)
    model.save_pretrained(tmp_path / "fitted")
    here.tokenizer.save_pretrained(tmp_path / "fitted")
    moved = there.load_fitted(tmp_path / "fitted")
    assert next(moved.parameters()).device.type == GPU
    np.testing.assert_array_equal(there.predict(moved, ROWS), expected)
    spread = [
        load_labeller(str(tmp_path / "fitted"), ROWS, LABELS, Device.chosen(place))([one.fields for one in ROWS])
        for place in ("cpu", GPU)
    ]
    np.testing.assert_allclose(*spread, atol=1e-3)
    learned = there.fit(theta, ROWS, steps=120, seed=0)
    assert (there.predict(learned, ROWS) == [one.label for one in ROWS]).mean() > 0.9


def test_a_fit_leaves_the_random_state_as_it_was_and_depends_on_its_seed(tmp_path):
    there = Classifier(saved("bert", "", tmp_path), LABELS, device=Device.chosen(GPU))
    state = torch.random.get_rng_state(), torch.cuda.get_rng_state()
    fits = [there.fit(Hyperparameters(1e-2, batch=8), ROWS, steps=3, seed=0) for _ in range(2)]
    assert torch.equal(state[0], torch.random.get_rng_state())
    assert torch.equal(state[1], torch.cuda.get_rng_state())
    for one, two in zip(fits[0].parameters(), fits[1].parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


def test_a_fine_tuning_ends_with_a_model(tmp_path, in_process):
    for name, rows in (("train", ROWS[:8]), ("dev", ROWS[8:])):
        lines = [json.dumps({"text": f"{one.fields[0]} {name}", "label": one.label}) for one in rows]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    code, printed, said = in_process(
        "finetune", saved("distilbert", "", tmp_path / "model"), "--train", tmp_path / "train.jsonl", "--dev",
        tmp_path / "dev.jsonl", "--method", "grid", "--fits", 2, "--steps", 3, "--threads", 1, "--device", GPU,
        "--dtype", "bfloat16", "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert code == 0, said
    assert json.loads(printed)["search"]["failed"] == []
    config = json.loads((tmp_path / "out" / "run.json").read_text())["config"]
    assert (config["device"], config["dtype"]) == (Device.chosen(GPU).kind, "bfloat16")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_latency_is_of_the_device(dtype, tmp_path):
    targets = parse_targets(["mlp", "D=2,H=64", str(saved("gpt2", "LMHeadModel", tmp_path))])
    settings = MeasurementSettings(rounds=6, threads=1, length=16, memory=True, device=GPU, dtype=dtype)
    facts = measure(targets, ["eager", "compile"], settings).describe()
    assert (facts["device"], facts["dtype"]) == (Device.chosen(GPU).kind, dtype)
    assert facts["runtimes"]["eager"] == f"torch eager, {dtype}, on {Device.chosen(GPU).kind}"
    for entry in facts["latencies"]:
        assert entry["median_ms"] > 0
        assert 0 < entry["network_memory_mb"] <= entry["peak_memory_mb"]
