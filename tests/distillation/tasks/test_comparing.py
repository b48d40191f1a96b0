import numpy as np
import pytest
import torch

from fsp.distillation.blocks import Blocks
from fsp.distillation.losses import divergence
from fsp.distillation.matching import LogitMatching, StateMatching
from fsp.distillation.student import Student
from fsp.families import bert

TABLES = {"vocabulary": 50, "positions": 16, "token_types": 1}


@pytest.fixture
def parts():
    torch.manual_seed(0)
    student = Student(bert.build({"D": 1, "A": 2, "H": 8, "I": 16}, TABLES).eval(), width=6)
    generator = np.random.default_rng(0)
    tokens = generator.integers(0, 50, (70, 8)).astype(np.int32)  # more than one batch
    states = generator.normal(size=(70, 8, 6)).astype(np.float16)
    masked = generator.random((70, 8)) < 0.2
    return student, Blocks(tokens, states, masked), torch.nn.Linear(6, 50).requires_grad_(False)


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


def test_logits_are_compared_at_masked_positions_only(parts):
    student, blocks, head = parts
    tokens, states, masked = blocks.take(np.arange(len(blocks)))
    with torch.no_grad():
        ours, theirs = head(student(tokens)).numpy(), head(states).numpy()
    expected = reference_kl(theirs[masked], ours[masked]) / int(masked.sum())
    assert LogitMatching(head).error(student, blocks) == pytest.approx(expected, rel=1e-4)
    batch = blocks.take(np.arange(len(blocks)))
    assert float(LogitMatching(head).loss(student(tokens), batch).detach()) == pytest.approx(expected, rel=1e-4)


def test_t_itself_diverges_from_nothing(parts):
    _, blocks, head = parts
    batch = blocks.take(np.arange(5))
    assert float(LogitMatching(head).loss(batch.states, batch)) == pytest.approx(0, abs=1e-6)
    assert float(StateMatching(1.0).loss(batch.states, batch)) == 0


def test_only_masked_positions_get_a_gradient(parts):
    student, blocks, head = parts
    batch = blocks.take(np.arange(4))
    predicted = student(batch.tokens).detach().requires_grad_(True)
    LogitMatching(head).loss(predicted, batch).backward()
    touched = predicted.grad.abs().sum(dim=-1) > 0
    assert torch.equal(touched, batch.masked)


def test_blocks_without_masks_have_no_logits_to_match(parts):
    student, blocks, head = parts
    with pytest.raises(ValueError, match="masked"):
        LogitMatching(head).error(student, Blocks(blocks.tokens, blocks.states))


def test_the_loss_on_the_scale_of_the_error(parts):
    student, blocks, _ = parts
    matching = StateMatching(blocks.variance())
    batch = blocks.take(np.arange(len(blocks)))
    assert float(matching.loss(student(batch.tokens), batch).detach()) == pytest.approx(
        matching.error(student, blocks), rel=1e-4
    )
