import numpy as np
import pytest
import torch
from fsp.distillation.blocks import Blocks
from fsp.distillation.matching import StateMatching

from fsp.base.errors import Diverged
from fsp.distillation.fitting import fit
from fsp.distillation.student import Student
from fsp.families import bert

TABLES = {"vocabulary": 100, "positions": 16, "token_types": 1}


def student(seed=0):
    torch.manual_seed(seed)
    return Student(bert.build({"D": 1, "A": 2, "H": 8, "I": 16}, TABLES).eval(), width=6)


def blocks(network, n=64):
    """Targets that are an affine function of the student's own states, plus noise."""
    generator = np.random.default_rng(0)
    tokens = generator.integers(0, 100, (n, 8)).astype(np.int32)
    with torch.no_grad():
        own = network.encoder(input_ids=torch.from_numpy(tokens).long()).last_hidden_state.numpy()
    states = own @ generator.normal(size=(8, 6)) + 2 + 0.3 * generator.normal(size=(n, 8, 6))
    return Blocks(tokens, states.astype(np.float16))


def test_readout_is_the_least_squares_map():
    network = student()
    data = blocks(network)
    in_sample = network.fit_readout(data)
    tokens, states, _ = data.take(np.arange(len(data)))
    with torch.no_grad():
        own = network.encoder(input_ids=tokens).last_hidden_state.flatten(0, 1).double().numpy()
    design = np.c_[own, np.ones(len(own))]
    expected, *_ = np.linalg.lstsq(design, states.flatten(0, 1).double().numpy(), rcond=1e-5)
    fitted = np.c_[network.readout.weight.detach().numpy(), network.readout.bias.detach().numpy()].T
    target = states.flatten(0, 1).double().numpy()
    best = ((target - design @ expected) ** 2).sum() / ((target - target.mean(axis=0)) ** 2).sum()
    assert np.allclose(design @ fitted, design @ expected, atol=2e-3)
    assert in_sample == pytest.approx(best, rel=1e-3)
    assert StateMatching(1.0).error(network, data) == pytest.approx(best, rel=1e-3)


def test_shuffled_batches_are_a_function_of_the_seed():
    data = blocks(student())
    first = [batch.tokens for batch in (next(it) for it in [data.shuffled(16, 3)] for _ in range(4))]
    again = data.shuffled(16, 3)
    assert all(torch.equal(tokens, next(again)[0]) for tokens in first)
    other = data.shuffled(16, 4)
    assert not all(torch.equal(tokens, next(other)[0]) for tokens in first)


def test_one_pass_sees_every_block_once():
    data = blocks(student())
    batches = data.shuffled(16, 0)
    seen = torch.cat([next(batches)[0] for _ in range(4)])
    assert sorted(map(tuple, seen.tolist())) == sorted(map(tuple, data.tokens.tolist()))


def trained(network, data, matching, **options):
    return fit(
        network, lambda student, batch: matching.loss(student(batch.tokens), batch), data.shuffled(16, 0), **options
    )


def test_training_lowers_the_error_and_repeats_exactly():
    errors, curves = [], []
    for _ in range(2):
        network = student()
        data = blocks(student(5))
        network.fit_readout(data)
        matching = StateMatching(data.variance())
        before = matching.error(network, data)
        curves.append(trained(network, data, matching, steps=30, learning_rate=1e-2))
        errors.append(matching.error(network, data))
        assert errors[-1] < before
    assert errors[0] == errors[1]
    assert curves[0] == curves[1]


def test_divergence_stops_at_once():
    network = student()
    data = blocks(network)
    network.readout.bias.data[0] = torch.nan
    with pytest.raises(Diverged, match="step 1 of 5"):
        trained(network, data, StateMatching(1.0), steps=5, learning_rate=1e-3)
