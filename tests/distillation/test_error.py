import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from materials import masked_model, material_of

from fsp.base.errors import Diverged, InputError
from fsp.distillation.error import E_MIN, Distillation, DistillationSettings, learning_rate_for
from fsp.distillation.teacher import load_teacher
from fsp.distillation.text.corpus import Corpus, read_corpus
from fsp.families.architecture import Architecture

SMALL = Architecture(D=1, A=2, H=16, I=16)
MEDIUM = Architecture(D=2, A=4, H=32, I=32)


@pytest.fixture(scope="module")
def parts(tiny, tmp_path_factory):
    torch.set_num_threads(1)
    teacher = load_teacher(tiny.teacher)
    folder = tmp_path_factory.mktemp("states")
    corpus = Corpus.of(read_corpus([tiny.corpus]))
    return material_of(teacher, corpus, folder, length=64)


def test_t_itself_has_no_error_before_and_after_training(parts):
    for steps in (0, 16):
        assert Distillation(*parts, DistillationSettings(steps=steps))(parts[0].teacher.architecture) == E_MIN


def test_smaller_shapes_have_larger_errors_and_training_helps(parts):
    untrained = Distillation(*parts, DistillationSettings(steps=0))
    trained = Distillation(*parts, DistillationSettings(steps=16))
    assert E_MIN < untrained(MEDIUM) < untrained(SMALL) < 1.05
    assert trained(SMALL) < untrained(SMALL)


def test_a_value_depends_on_architecture_and_seed_alone(parts):
    error = Distillation(*parts, DistillationSettings(steps=4))
    alone = error(MEDIUM, seed=3)
    error(SMALL, seed=0)
    torch.manual_seed(99)
    assert error(MEDIUM, seed=3) == alone
    assert Distillation(*parts, DistillationSettings(steps=4))(MEDIUM, seed=3) == alone
    assert error(MEDIUM, seed=4) != alone


def test_workers_side_by_side_give_the_numbers_of_one_process(parts, tiny, tmp_path):
    shapes = [SMALL, MEDIUM, Architecture(D=3, A=2, H=16, I=64), Architecture(D=1, A=4, H=32, I=16)]
    error = Distillation(*parts, DistillationSettings(steps=2))
    alone = [error(shape) for shape in shapes]
    code = f"""
import sys, torch; torch.set_num_threads(1)
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from fsp.distillation.text.corpus import Corpus, read_corpus
from fsp.distillation.error import Distillation, DistillationSettings
from fsp.families.architecture import Architecture
from fsp.distillation.teacher import load_teacher
from materials import material_of
teacher = load_teacher({str(tiny.teacher)!r})
corpus = Corpus.of(read_corpus([{str(tiny.corpus)!r}]))
error = Distillation(*material_of(teacher, corpus, Path({str(tmp_path)!r}), length=64), DistillationSettings(steps=2))
print([error(Architecture(shape)) for shape in {[dict(shape) for shape in shapes]!r}[int(sys.argv[1])::2]])
"""
    call = [sys.executable, "-c", code]
    workers = [subprocess.Popen([*call, str(first)], stdout=subprocess.PIPE, text=True) for first in (1, 0)]
    said = [worker.communicate()[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert json.loads(said[1]) == alone[0::2]
    assert json.loads(said[0]) == alone[1::2]


def test_settings_tell_apart_what_numbers_depend_on(parts):
    first = Distillation(*parts, DistillationSettings(steps=2)).settings
    second = Distillation(*parts, DistillationSettings(steps=3)).settings
    assert first != second
    assert first["teacher"] == parts[0].teacher.fingerprint
    assert (first["task"], first["device"], first["dtype"]) == ("states", "cpu", "float32")


def test_good_cuts_take_small_steps():
    assert learning_rate_for(1e-3, 0.0) == 0
    assert learning_rate_for(1e-3, 0.5) == pytest.approx(2.5e-4)
    assert learning_rate_for(1e-3, 1.7) == 1e-3


def test_divergence_is_an_error_of_its_own(parts):
    with pytest.raises(Diverged):
        Distillation(*parts, DistillationSettings(steps=8, learning_rate=1e12))(SMALL)


@pytest.fixture(scope="module")
def masked_parts(tiny, tmp_path_factory):
    """T with a head for masked language modelling, and the text masked for it."""
    torch.set_num_threads(1)
    folder = masked_model(tiny, tmp_path_factory.mktemp("masked"))
    corpus = Corpus.of(read_corpus([tiny.corpus]))
    return material_of(load_teacher(folder), corpus, folder, length=64)


def test_a_head_is_loaded_and_decides_what_is_compared(masked_parts, parts):
    task, material = masked_parts
    batch = material.test.take(np.arange(1))
    assert task.wanted(batch).shape == (int(batch.sites.sum()), 30522)
    assert material.train.sites.mean() == pytest.approx(0.15, abs=0.02)
    assert (Distillation(*masked_parts).settings["task"], Distillation(*parts).settings["task"]) == ("masked", "states")
    assert parts[1].train.sites is None


def test_divergence_orders_shapes_and_t_has_none(masked_parts):
    for steps in (0, 8):
        error = Distillation(*masked_parts, DistillationSettings(steps=steps))
        assert error(masked_parts[0].teacher.architecture) == E_MIN
    untrained = error.with_steps(0)
    controls = error.controls()
    assert E_MIN < untrained(MEDIUM) < untrained(SMALL) < controls["mean"]
    assert error(SMALL) < untrained(SMALL)


def test_weights_of_the_head_count_in_the_fingerprint(masked_parts, tmp_path):
    from transformers import AutoModelForMaskedLM

    teacher = masked_parts[0].teacher
    model = AutoModelForMaskedLM.from_pretrained(teacher.folder)
    model.cls.predictions.transform.dense.bias.data += 1
    model.save_pretrained(tmp_path)
    teacher.tokenizer.save_pretrained(tmp_path)
    assert load_teacher(tmp_path).fingerprint != teacher.fingerprint


def test_controls_bound_the_errors(parts):
    error = Distillation(*parts, DistillationSettings(steps=0))
    controls = error.controls()
    assert controls["mean"] == pytest.approx(1, abs=0.01)
    assert error(MEDIUM) < controls["D=0"] < controls["mean"]


def test_equal_flops_give_small_shapes_more_steps(parts):
    error = Distillation(*parts, DistillationSettings(flops=1e9))
    small, medium = error.steps_of(SMALL), error.steps_of(MEDIUM)
    assert small > medium >= 1
    assert error(MEDIUM) == Distillation(*parts, DistillationSettings(steps=medium))(MEDIUM)
    assert error.settings["flops"] == 1e9
    assert error.longer(2).steps_of(SMALL) == pytest.approx(2 * small, abs=1)
    with pytest.raises(InputError, match="positive"):
        Distillation(*parts, DistillationSettings(flops=0.0))


def test_longer_is_the_same_error_with_more_steps(parts):
    short = Distillation(*parts, DistillationSettings(steps=2))
    assert short.longer(4)(SMALL) == Distillation(*parts, DistillationSettings(steps=8))(SMALL)
    assert short.longer(4).settings == {**short.settings, "steps": 8}
    assert short.settings["steps"] == 2
    assert Distillation(*parts, DistillationSettings(steps=0)).longer(4).settings["steps"] == 4
