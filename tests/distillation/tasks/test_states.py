import numpy as np
import pytest
import torch
from materials import material_of
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModel, AutoTokenizer

from fsp.base.errors import Diverged
from fsp.distillation.error import E_MIN, Distillation, DistillationSettings
from fsp.distillation.examples import Examples
from fsp.distillation.fitting import fit
from fsp.distillation.saving import save_student
from fsp.distillation.student import Student
from fsp.distillation.tasks.comparing import UnexplainedVariance
from fsp.distillation.tasks.states import READOUT, StatesTask, fit_readout
from fsp.distillation.teacher import Teacher, load_teacher
from fsp.distillation.text.corpus import Corpus, read_corpus
from fsp.families import bert

TABLES = {"vocabulary": 100, "positions": 16, "token_types": 1}
SMALL = {"D": 1, "A": 2, "H": 16, "I": 16}


def student(seed=0):
    torch.manual_seed(seed)
    return Student(bert.build({"D": 1, "A": 2, "H": 8, "I": 16}, TABLES).eval(), bert, nn.Linear(8, 6))


def task_with(variance):
    task = StatesTask(Teacher(student(9).network, bert, "states", "T", "0"))
    task.comparison = UnexplainedVariance(variance)
    return task


def examples(network, n=64):
    """Targets that are an affine function of the student's own states, plus noise."""
    generator = np.random.default_rng(0)
    tokens = generator.integers(0, 100, (n, 8)).astype(np.int32)
    with torch.no_grad():
        own = network.network(input_ids=torch.from_numpy(tokens).long()).last_hidden_state.numpy()
    states = own @ generator.normal(size=(8, 6)) + 2 + 0.3 * generator.normal(size=(n, 8, 6))
    return Examples({"input_ids": tokens}, states.astype(np.float16))


def test_readout_is_the_least_squares_map():
    network = student()
    data = examples(network)
    fit_readout(network.readout, network.network, data)
    batch = data.take(np.arange(len(data)))
    with torch.no_grad():
        own = network.network(**batch.inputs).last_hidden_state
    design = np.c_[own.flatten(0, 1).double().numpy(), np.ones(own[..., 0].numel())]
    target = batch.target.flatten(0, 1).double().numpy()
    expected, *_ = np.linalg.lstsq(design, target, rcond=1e-5)
    fitted = np.c_[network.readout.weight.detach().numpy(), network.readout.bias.detach().numpy()].T
    best = ((target - design @ expected) ** 2).sum() / ((target - target.mean(axis=0)) ** 2).sum()
    assert np.allclose(design @ fitted, design @ expected, atol=2e-3)
    assert task_with(1.0).error(network, data) == pytest.approx(best, rel=1e-3)
    again = student()
    fit_readout(again.readout, None, data, own)  # from states that are known
    assert torch.allclose(again.readout.weight, network.readout.weight, atol=1e-5)


def test_a_readout_of_states_that_are_no_numbers_is_refused():
    network = student()
    data = examples(network)
    with pytest.raises(Diverged, match="not finite"):
        fit_readout(network.readout, None, data, torch.full((64, 8, 8), torch.nan))


def trained(network, data, task, **options):
    return fit(network, task.loss, data.shuffled(16, 0), **options)


def test_training_lowers_the_error_and_repeats_exactly():
    errors, curves = [], []
    for _ in range(2):
        network = student()
        data = examples(student(5))
        fit_readout(network.readout, network.network, data)
        task = task_with(data.variance())
        before = task.error(network, data)
        curves.append(trained(network, data, task, steps=30, learning_rate=1e-2))
        errors.append(task.error(network, data))
        assert errors[-1] < before
    assert errors[0] == errors[1]
    assert curves[0] == curves[1]


def test_divergence_stops_at_once():
    network = student()
    data = examples(network)
    network.readout.bias.data[0] = torch.nan
    with pytest.raises(Diverged, match="step 1 of 5"):
        trained(network, data, task_with(1.0), steps=5, learning_rate=1e-3)


@pytest.fixture(scope="module")
def error(tiny, tmp_path_factory):
    torch.set_num_threads(1)
    corpus = Corpus.of(read_corpus([tiny.corpus]))
    made = material_of(load_teacher(tiny.teacher), corpus, tmp_path_factory.mktemp("states"))
    return Distillation(*made, DistillationSettings(steps=0))


def finished(error, shape):
    found = error.student(shape)
    error.train(found, steps=0, seed=0)
    return found


def test_t_has_no_error_and_a_small_student_that_of_its_definition(error):
    assert error(error.teacher.architecture) == E_MIN
    test, found = error.material.test, finished(error, SMALL)
    tokens = torch.from_numpy(test.inputs["input_ids"]).long()
    with torch.no_grad():
        wanted = error.teacher.network(input_ids=tokens).last_hidden_state.flatten(0, 1).double().numpy()
        own = found.network(input_ids=tokens).last_hidden_state.flatten(0, 1).double().numpy()
    predicted = own @ found.readout.weight.detach().double().numpy().T + found.readout.bias.detach().double().numpy()
    expected = ((predicted - wanted) ** 2).sum() / ((wanted - wanted.mean(axis=0)) ** 2).sum()
    assert error.measure(found, test) == pytest.approx(expected, rel=1e-3)
    assert expected > 0.05


def test_a_saved_student_predicts_with_its_readout_what_was_measured(error, tmp_path):
    found = finished(error, SMALL)
    save_student(found, error.task, tmp_path / "student", {"error": 0.5})
    network, info = AutoModel.from_pretrained(tmp_path / "student", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert AutoTokenizer.from_pretrained(tmp_path / "student").vocab_size == 30522
    readout = load_file(tmp_path / "student" / READOUT)
    batch = error.material.test.take(np.arange(8))
    with torch.no_grad():
        states = network.eval()(**batch.inputs).last_hidden_state.flatten(0, 1)
        expected = error.task.predicted(found, batch)
    assert torch.allclose(states @ readout["weight"].T + readout["bias"], expected, atol=1e-5)
    card = (tmp_path / "student" / "README.md").read_text()
    assert READOUT in card and "| error | 0.5 |" in card
