import pytest
import torch
from torch import nn

from fsp.base.errors import Diverged
from fsp.distillation.fitting import fit, learning_rate_at


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_learning_rate_rises_then_falls_and_is_never_zero(steps):
    factors = [learning_rate_at(k, steps, 0.1) for k in range(steps)]
    assert max(factors) == 1
    assert min(factors) > 0
    peak = factors.index(1)
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


@pytest.mark.parametrize(("schedule", "last"), [("linear", 1 / 90), ("cosine", 3e-4), ("constant", 1.0)])
def test_schedules(schedule, last):
    factors = [learning_rate_at(k, 100, 0.1, schedule) for k in range(100)]
    assert factors[:10] == pytest.approx([(k + 1) / 10 for k in range(10)])
    assert factors[10] == 1.0 and factors[-1] == pytest.approx(last, rel=0.05)
    assert all(0 < f <= 1 for f in factors)


def large(network, x):
    return 9 * network(x).square().mean()


def test_a_fit_is_torchs_own_loop_with_its_own_schedule():
    """Against AdamW on two groups under LambdaLR, on a network with matrices and vectors."""
    inputs = torch.randn(12, 8, 4, generator=torch.Generator().manual_seed(0))
    networks = []
    for _ in range(2):
        torch.manual_seed(0)
        networks.append(nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 1)))
    ours, reference = networks
    options = dict(steps=12, learning_rate=0.05, warmup=0.25, weight_decay=0.3)
    done = []
    found = fit(ours, large, inputs, after_step=lambda *step: done.append(step), **options)
    matrices = [p for p in reference.parameters() if p.ndim == 2]
    vectors = [p for p in reference.parameters() if p.ndim == 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.3}, {"params": vectors, "weight_decay": 0.0}], lr=0.05
    )
    rates = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: min((k + 1) / 3, (12 - k) / 9))
    losses = []
    for x in inputs:
        loss = large(reference, x)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
        optimiser.step()
        rates.step()
    assert found == pytest.approx(losses, rel=1e-4)
    assert done == list(enumerate(found, start=1))
    for a, b in zip(ours.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_a_loss_that_is_no_number_stops_at_once():
    batches = torch.tensor([[1.0], [torch.inf], [1.0]])
    with pytest.raises(Diverged, match="loss inf at step 2 of 5"):
        fit(nn.Linear(1, 1), lambda line, x: line(torch.ones(1)).sum() + x.sum(), batches, steps=5, learning_rate=0.1)
