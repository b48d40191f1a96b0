import subprocess
import sys

import pytest
import torch

from fsp.data import Corpus, read_corpus
from fsp.errors import Diverged
from fsp.objectives.error import E_MIN, Distillation, DistillationSettings, learning_rate_for
from fsp.space import Architecture
from fsp.training.blocks import Material
from fsp.training.teacher import load_teacher

SMALL = Architecture(D=1, A=2, H=16, I=16)
MEDIUM = Architecture(D=2, A=4, H=32, I=32)


@pytest.fixture(scope="module")
def parts(tiny, tmp_path_factory):
    torch.set_num_threads(1)
    teacher = load_teacher(tiny.teacher)
    folder = tmp_path_factory.mktemp("states")
    corpus = Corpus.of(read_corpus([tiny.corpus]))
    return teacher, Material.prepare(teacher, corpus, folder, length=64, train_tokens=20_000, held_out_tokens=4096)


def test_t_itself_has_no_error_before_and_after_training(parts):
    for steps in (0, 16):
        assert Distillation(*parts, DistillationSettings(steps=steps))(parts[0].architecture) <= 0.02


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


def test_another_process_gives_the_same_number(parts, tiny, tmp_path):
    here = Distillation(*parts, DistillationSettings(steps=2))(MEDIUM)
    code = f"""
import torch; torch.set_num_threads(1)
from pathlib import Path
from fsp.data import Corpus, read_corpus
from fsp.objectives.error import Distillation, DistillationSettings
from fsp.space import Architecture
from fsp.training.blocks import Material
from fsp.training.teacher import load_teacher
teacher = load_teacher({str(tiny.teacher)!r})
corpus = Corpus.of(read_corpus([{str(tiny.corpus)!r}]))
material = Material.prepare(teacher, corpus, Path({str(tmp_path)!r}), length=64, train_tokens=20_000, held_out_tokens=4096)
print(repr(Distillation(teacher, material, DistillationSettings(steps=2))(Architecture({dict(MEDIUM)!r}))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) == here


def test_settings_tell_apart_what_numbers_depend_on(parts):
    first = Distillation(*parts, DistillationSettings(steps=2)).settings
    second = Distillation(*parts, DistillationSettings(steps=3)).settings
    assert first != second
    assert first["teacher"] == parts[0].fingerprint


def test_good_cuts_take_small_steps():
    assert learning_rate_for(1e-3, 0.0) == 0
    assert learning_rate_for(1e-3, 0.5) == pytest.approx(2.5e-4)
    assert learning_rate_for(1e-3, 1.7) == 1e-3


def test_divergence_is_an_error_of_its_own(parts):
    with pytest.raises(Diverged):
        Distillation(*parts, DistillationSettings(steps=8, learning_rate=1e12))(SMALL)


def test_longer_is_the_same_error_with_more_steps(parts):
    short = Distillation(*parts, DistillationSettings(steps=2))
    assert short.longer(4)(SMALL) == Distillation(*parts, DistillationSettings(steps=8))(SMALL)
    assert short.longer(4).settings == {**short.settings, "steps": 8}
    assert short.settings["steps"] == 2
    assert Distillation(*parts, DistillationSettings(steps=0)).longer(4).settings["steps"] == 4
