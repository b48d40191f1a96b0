import functools
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from distillation.pretraining.conftest import CAUSAL, SHAPE, TYPES, losses, shape_of
from fsp.base.errors import InputError
from fsp.base.run_folder import working_in
from fsp.distillation.pretraining.settings import PRESETS, PretrainingSettings
from fsp.distillation.pretraining.watching import read_log


@pytest.mark.parametrize("kind", TYPES)
def test_the_directory_is_an_ordinary_model_with_the_same_logits(run, kind, tmp_path):
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

    from fsp.distillation.pretraining import run as module

    kept = {}
    original = module.write_model

    def write(student, *rest):
        with torch.no_grad():
            kept["logits"] = student.network.eval()(input_ids=torch.arange(4, 24)[None]).logits
        original(student, *rest)

    module.write_model = write
    try:
        found = run(teacher=kind, shape=shape_of(kind, **SHAPE))
    finally:
        module.write_model = original
    assert found["finished"]
    assert found["results"].keys() == {"accuracy", "agreement", "perplexity"}
    loader = AutoModelForCausalLM if kind in CAUSAL else AutoModelForMaskedLM
    model, info = loader.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    with torch.no_grad():
        assert torch.equal(model.eval()(input_ids=torch.arange(4, 24)[None]).logits, kept["logits"])
    assert AutoTokenizer.from_pretrained(tmp_path / "out").vocab_size == 2000
    facts = json.loads((tmp_path / "out" / "fsp.json").read_text())
    assert facts["data"]["tokens_seen"] == 4 * 4 * 24
    card = (tmp_path / "out" / "README.md").read_text()
    for expected in ("perplexity", "learning rate", "distilled from", "tokens seen"):
        assert expected in card
    assert (tmp_path / "out" / "run.png").stat().st_size > 1000


def test_states_alone_make_a_headless_model(run, tmp_path):
    from transformers import AutoModel

    found = run(teacher="headless", kl=0.0, mlm=0.0, cosine=1.0, mse=0.5)
    assert found["results"].keys() == {"hidden_cosine"}
    assert AutoModel.from_pretrained(tmp_path / "out").config.hidden_size == 16
    with pytest.raises(InputError, match=r"no vocabulary head.*--kl 0 with --cosine 1"):
        run("other", teacher="headless")


def test_without_teacher_only_the_text_counts(run, tmp_path):
    found = run(use_teacher=False, init="random")
    assert found["teacher"] is None and found["settings"]["kl"] == 0
    assert found["results"].keys() == {"accuracy", "perplexity"}
    assert "without a teacher" in (tmp_path / "out" / "README.md").read_text()


def test_the_cache_is_filled_once_and_then_asked(run, tmp_path, monkeypatch):
    cache = {"cache_teacher": tmp_path / "cache"}
    run("a", cosine=1.0, top_k=2000, options=cache)
    from fsp.distillation.pretraining.teacher_cache import CachedTeacher

    monkeypatch.setattr(CachedTeacher, "_add", None)
    run("b", cosine=1.0, top_k=2000, options=cache)
    run("c", cosine=1.0)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert np.allclose(losses(tmp_path / "a"), losses(tmp_path / "c"), rtol=2e-3)
    with pytest.raises(InputError, match="caches something else"):
        run("d", cosine=1.0, top_k=2000, seed=1, options=cache)


def test_a_finished_run_is_not_made_again_and_a_foreign_directory_is_refused(run, tmp_path):
    found = run()
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.name != ".lock"}
    assert run() == found
    assert {path: path.stat().st_mtime_ns for path in files} == files
    with pytest.raises(InputError, match=r"holds another run \(its steps differ"):
        run(steps=5)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine").touch()
    with pytest.raises(InputError, match="already holds other files"):
        run("other")


def test_a_directory_in_which_another_process_works_is_refused(run, tmp_path):
    with working_in(tmp_path / "out"), pytest.raises(InputError, match="another process is working"):
        run()
    assert not (tmp_path / "out").exists()
    run()


def test_an_unfinished_run_with_other_settings_is_refused(run, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(
            "fsp.distillation.pretraining.run.write_model", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            run()
    with pytest.raises(InputError, match="its learning_rate differ"):
        run(learning_rate=0.1)
    with pytest.raises(InputError, match="its teacher, student differ: made with another T"):
        run(teacher="electra")
    assert run()["finished"]
    assert [r["step"] for r in read_log(tmp_path / "out" / "log.jsonl") if "loss" in r] == [1, 2, 3, 4]


def test_a_student_can_be_a_model_that_is_there(run, tmp_path):
    run("first")
    found = run("second", init=str(tmp_path / "first"), shape=None)
    assert found["architecture"] == "D=2 A=2 H=16 I=24"
    with pytest.raises(InputError, match="is D=2 A=2 H=16 I=24, not"):
        run("third", init=str(tmp_path / "first"), shape={**SHAPE, "D": 1})
    with pytest.raises(InputError, match="tokenizers differ"):
        run("third", teacher="roberta", init=str(tmp_path / "first"), shape=None)
    with pytest.raises(InputError, match="name an architecture"):
        run("third", shape=None)


def test_relations_of_shared_keys_and_values_are_learned(run, tmp_path):
    found = run(teacher="llama", shape=shape_of("llama", **SHAPE), kl=0.0, mlm=0.0, relation=1.0)
    assert found["finished"] and found["architecture"] == "D=2 A=2 H=16 I=24 K=1"
    assert all(loss > 0 for loss, _ in losses(tmp_path / "out"))
    again = run("again", init=str(tmp_path / "out"), shape=None, teacher="llama", kl=0.0, mlm=0.0, relation=1.0)
    assert again["architecture"] == "D=2 A=2 K=1 H=16 I=24"


def test_gradient_checkpointing_changes_nothing(run, tmp_path):
    run("a", relation=1.0)
    run("b", relation=1.0, gradient_checkpointing=True)
    assert np.allclose(losses(tmp_path / "a"), losses(tmp_path / "b"), rtol=1e-5)


def test_a_compiled_body_learns_the_same(run, tmp_path, monkeypatch):
    """By a backend that needs no compiler of C++."""
    graphs = []

    def backend(graph, example):
        graphs.append(graph)
        return graph

    run("a")
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    run("b", compile=True)
    torch._dynamo.reset()
    assert graphs
    assert np.allclose(losses(tmp_path / "a"), losses(tmp_path / "b"), rtol=1e-5)


def test_tensorboard_gets_every_step_and_evaluation(run, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run("out", options={"tensorboard": True, "evaluate_every": 2})
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard")).Reload()
    assert [one.step for one in events.Scalars("train/loss")] == [1, 2, 3, 4]
    logged = [one["loss"] for one in read_log(tmp_path / "out" / "log.jsonl") if "loss" in one]
    assert [one.value for one in events.Scalars("train/loss")] == pytest.approx(logged, rel=1e-6)
    assert [one.step for one in events.Scalars("held_out/accuracy")] == [2, 4]


@pytest.mark.slow  # processors without bfloat16 instructions take two minutes
def test_bfloat16_learns_the_same(run, tmp_path):
    run("a", cosine=1.0)
    run("b", cosine=1.0, precision="bfloat16")
    a, b = losses(tmp_path / "a"), losses(tmp_path / "b")
    assert a != b and np.allclose(a, b, rtol=0.1)
    weights = load_file(tmp_path / "b" / "model.safetensors")
    assert {w.dtype for w in weights.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(length=65), "--length from 8 to 64"),
        (dict(shape={"D": 1, "A": 3, "H": 16, "I": 8}), "A=3 does not divide H=16"),
        (dict(teacher="modernbert", shape={"D": 1, "A": 4, "H": 16, "I": 8}), "head size.*--init random"),
        (dict(shape={"D": 1}), "no shape of a bert; give D, A, H, I"),
        (dict(batch=5, accumulate=2), "multiple of 2"),
        (dict(relation=1.0, relation_heads=3), "3 relation heads do not divide the student's queries.*16 numbers"),
        (
            dict(teacher="llama", shape=shape_of("llama", **SHAPE), relation=1.0, relation_heads=16),
            "16 relation heads do not divide the student's queries, keys or values, which have 8 numbers",
        ),
        (dict(precision="float16"), "needs a GPU"),
        (dict(kl=0.0, mlm=0.0), "every loss has weight 0"),
        (dict(schedule="step"), "linear, cosine or constant, not 'step'"),
        (dict(learning_rate=float("nan")), "learning_rate must be a number"),
        (dict(steps=0), "steps must be at least 1"),
        (dict(mask_rate=0.9), "mask_rate must be at most 0.5"),
        (dict(relation=1.0, options={"cache_teacher": "c"}), "cannot hold attention relations"),
    ],
)
def test_bad_settings_are_refused_before_any_work(run, settings, message, tmp_path):
    with pytest.raises(InputError, match=message):
        run(**settings)
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_the_preset_is_the_papers():
    bort = PretrainingSettings(**PRESETS["bort"])
    assert (bort.kl, bort.mlm, bort.temperature, bort.learning_rate, bort.warmup) == (0.5, 0.1, 2.0, 1e-4, 0.01)
    assert (bort.weight_decay, bort.epsilon, bort.clip, bort.length, bort.mask_rate) == (0.01, 1e-6, 1.0, 512, 0.15)
    assert (bort.init, bort.dropout, bort.schedule) == ("random", 0.1, "linear")
