import numpy as np
import pytest
import torch
from torch import nn

from fsp.distillation.examples import Examples
from fsp.distillation.fitting import fit
from fsp.distillation.losses import divergence
from fsp.distillation.student import Student
from fsp.distillation.tasks import comparing
from fsp.distillation.tasks.comparing import Divergence, UnexplainedVariance
from fsp.distillation.tasks.language import MaskedTask
from fsp.distillation.teacher import Teacher
from fsp.families import bert

SHAPE = {"D": 1, "A": 2, "H": 8, "I": 16}


def language_model(shape, seed):
    from transformers import BertForMaskedLM

    torch.manual_seed(seed)
    config = bert.config_for(shape, {"vocabulary": 50, "positions": 16, "token_types": 1})
    config.initializer_range = 0.5
    return BertForMaskedLM(config).eval()


@pytest.fixture
def parts():
    """A masked language model, a student of half its width, and blocks with T's states; more than one batch."""
    network = language_model(SHAPE, 0).requires_grad_(False)
    task = MaskedTask(Teacher(network, bert, "masked", "T", "0"))
    generator = np.random.default_rng(0)
    tokens = generator.integers(0, 50, (70, 8)).astype(np.int32)
    with torch.no_grad():
        states = network.bert(torch.from_numpy(tokens).long()).last_hidden_state.numpy()
    examples = Examples({"input_ids": tokens}, states, generator.random((70, 8)) < 0.2)
    return task, Student(language_model({**SHAPE, "H": 4}, 1), bert), examples


def reference_kl(p_logits, q_logits):
    p_logits, q_logits = p_logits.astype(np.float64), q_logits.astype(np.float64)
    log_p = p_logits - np.log(np.exp(p_logits).sum(axis=-1, keepdims=True))
    log_q = q_logits - np.log(np.exp(q_logits).sum(axis=-1, keepdims=True))
    return (np.exp(log_p) * (log_p - log_q)).sum()


def test_divergence_against_float64():
    generator = np.random.default_rng(1)
    target, logits = 3 * generator.normal(size=(2, 5, 7, 11))
    total, count = divergence(torch.from_numpy(logits).float(), torch.from_numpy(target).float())
    assert count == 35
    assert float(total) == pytest.approx(reference_kl(target, logits), rel=1e-5)


def test_divergence_of_other_shapes_is_refused():
    with pytest.raises(ValueError, match="shapes differ"):
        divergence(torch.zeros(2, 3), torch.zeros(3, 3))


def whole_logits(network, examples):
    with torch.no_grad():
        return network(torch.from_numpy(examples.inputs["input_ids"]).long()).logits.numpy()


def test_logits_are_compared_at_masked_positions_only(parts):
    task, student, examples = parts
    ours, theirs = (whole_logits(network, examples) for network in (student.network, task.teacher.network))
    expected = reference_kl(theirs[examples.sites], ours[examples.sites]) / int(examples.sites.sum())
    assert task.error(student, examples) == pytest.approx(expected, rel=1e-4)
    batch = examples.take(np.arange(len(examples)))
    assert float(task.loss(student, batch).detach()) == pytest.approx(expected, rel=1e-4)


def test_the_error_does_not_depend_on_how_many_rows_are_compared_at_once(parts, monkeypatch):
    task, student, examples = parts
    expected = task.error(student, examples)
    monkeypatch.setattr(comparing, "_ROWS", 3)
    assert task.error(student, examples) == pytest.approx(expected, rel=1e-5)


def test_t_itself_diverges_from_nothing(parts):
    task, _, examples = parts
    copy, batch = Student(task.teacher.network, bert), examples.take(np.arange(5))
    assert float(task.loss(copy, batch)) == pytest.approx(0, abs=1e-6)
    outputs = torch.randn(5, 3)
    assert float(UnexplainedVariance(1.0).loss(outputs, outputs)) == 0
    assert UnexplainedVariance(1.0).error([(outputs, outputs)]) == 0


def test_only_masked_positions_get_a_gradient(parts):
    """Of the student's last states."""
    task, student, examples = parts
    batch, seen = examples.take(np.arange(4)), []

    def keep(module, inputs, states):
        states.last_hidden_state.retain_grad()
        seen.append(states.last_hidden_state)

    student.network.bert.register_forward_hook(keep)
    task.loss(student, batch).backward()
    touched = seen[0].grad.abs().sum(dim=-1) > 0
    assert torch.equal(touched, batch.sites)


def test_where_memory_does_not_suffice_the_training_at_masked_positions_is_the_same(parts):
    """Blocks have different numbers of masked positions, so parts of a batch have not the weight of their size."""
    task, _, examples = parts
    batch, gradients, losses = examples.take(np.arange(9)), [], []
    for most in (9, 2):
        student = Student(language_model({**SHAPE, "H": 4}, 1), bert)

        def loss(student, batch, most=most):
            if len(batch) > most:
                raise MemoryError
            return task.loss(student, batch)

        def look(step, loss, student=student):
            gradients.append(torch.cat([p.grad.flatten() for p in student.parameters() if p.grad is not None]))

        losses += fit(student, loss, [batch], steps=1, learning_rate=1e-2, after_step=look)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert float((gradients[0] - gradients[1]).norm()) < 1e-5 * float(gradients[0].norm())


def test_the_loss_on_the_scale_of_the_error():
    generator = torch.Generator().manual_seed(0)
    predicted, wanted = torch.randn(2, 70, 6, generator=generator)
    comparison = UnexplainedVariance(float(wanted.var(dim=0, correction=0).sum()))
    assert float(comparison.loss(predicted, wanted)) == pytest.approx(comparison.error([(predicted, wanted)]), rel=1e-4)


def test_unexplained_variance_in_batches_against_float64():
    generator = np.random.default_rng(0)
    wanted = 3 + generator.normal(size=(50, 4))
    predicted = wanted + 0.5 * generator.normal(size=wanted.shape)
    expected = ((predicted - wanted) ** 2).sum() / ((wanted - wanted.mean(axis=0)) ** 2).sum()
    pairs = [
        (torch.from_numpy(predicted[k : k + 8]).float(), torch.from_numpy(wanted[k : k + 8]).float())
        for k in range(0, 50, 8)
    ]
    assert UnexplainedVariance(7.0).error(pairs) == pytest.approx(expected, rel=1e-5)


def test_the_reference_is_the_error_of_the_best_constant():
    """No constant distribution is nearer on average than the mean, and the mean is as far as the reference says."""
    wanted = 2 * torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    comparison = Divergence()

    def error_of(constant):
        return comparison.error([(constant.expand_as(wanted), wanted)])

    mean = wanted.softmax(dim=-1).mean(dim=0).log()
    reference = comparison.reference(wanted)
    assert error_of(mean) == pytest.approx(reference, rel=1e-5)
    constant = nn.Parameter(torch.zeros(6))
    optimiser = torch.optim.LBFGS([constant], max_iter=100)

    def closure():
        optimiser.zero_grad()
        loss = comparison.loss(constant.expand_as(wanted), wanted)
        loss.backward()
        return loss

    optimiser.step(closure)
    assert error_of(constant.detach()) == pytest.approx(reference, abs=1e-4)
    assert UnexplainedVariance(1.0).reference(wanted) == 1
    assert UnexplainedVariance(1.0).error([(wanted.mean(dim=0).expand_as(wanted), wanted)]) == pytest.approx(1)


@pytest.mark.parametrize("comparison", [Divergence(), UnexplainedVariance(1.0)])
def test_outputs_that_are_no_numbers_have_an_error_that_is_none(comparison):
    wanted = torch.randn(4, 3)
    predicted = wanted.clone()
    predicted[1, 1] = torch.nan
    assert np.isnan(comparison.error([(wanted, wanted), (predicted, wanted)]))
