from dataclasses import dataclass

import pytest
import torch
from torch import nn

from fsp.base.device import Device
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


@dataclass
class Pairs:
    """A batch of inputs and outputs that can be divided."""

    x: torch.Tensor
    y: torch.Tensor

    def __len__(self):
        return len(self.x)

    def divided(self, parts):
        rows = [part for part in torch.arange(len(self)).tensor_split(parts) if len(part)]
        return [(Pairs(self.x[part], self.y[part]), len(part) / len(self)) for part in rows]


def batches_of(sizes):
    generator = torch.Generator().manual_seed(0)
    return [Pairs(torch.randn(n, 4, generator=generator), torch.randn(n, 1, generator=generator)) for n in sizes]


def squared(network, batch):
    return (network(batch.x) - batch.y).square().mean()


def short_of_memory(most, seen, kind=MemoryError):
    """The squared error with memory for so many rows alone."""

    def loss(network, batch):
        seen.append(len(batch))
        if len(batch) > most:
            raise kind("CUDA out of memory" if kind is torch.OutOfMemoryError else "cannot allocate memory")
        return squared(network, batch)

    return loss


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).double()


@pytest.mark.parametrize("kind", [MemoryError, torch.OutOfMemoryError, RuntimeError])
@pytest.mark.parametrize("most", [1, 3, 5])
def test_a_loss_in_parts_gives_the_training_of_the_whole_batch(most, kind):
    """Batches of different sizes, in float64, against a fit with memory enough."""
    batches = [Pairs(batch.x.double(), batch.y.double()) for batch in batches_of([12, 7, 1, 12, 5])]
    whole, parts, seen, said = network(), network(), [], []
    expected = fit(whole, squared, batches, steps=5, learning_rate=0.05)
    found = fit(parts, short_of_memory(most, seen, kind), batches, steps=5, learning_rate=0.05, say=said.append)
    assert found == pytest.approx(expected, rel=1e-12)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-12, rtol=1e-9)
    assert sum(size for size in seen if size <= most) >= sum(map(len, batches))
    assert said[0] == "memory does not suffice for a batch; going on with 2 parts"
    assert len(said) <= 4  # it goes on in parts, it does not begin anew with every batch


def test_the_gradient_of_parts_is_that_of_the_whole_whatever_their_sizes():
    """One step of a rate that shows the gradient, clipped at norm 1."""
    (batch,) = batches_of([7])
    gradients = []
    for loss in (squared, short_of_memory(2, [])):
        own, seen = network().float(), {}

        def look(step, loss, own=own, seen=seen):
            seen.update({name: p.grad.clone() for name, p in own.named_parameters()})

        fit(own, loss, [batch], steps=1, learning_rate=1e-3, after_step=look)
        gradients.append(seen)
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-6)


@pytest.mark.parametrize("batch", [torch.ones(4, 4), Pairs(torch.ones(4, 4), torch.ones(4, 1))])
def test_a_batch_that_cannot_be_made_smaller_ends_the_fit(batch):
    def loss(network, batch):
        raise MemoryError

    with pytest.raises(MemoryError):
        fit(network().float(), loss, [batch], steps=1, learning_rate=0.1)


def test_other_faults_of_a_loss_are_not_taken_for_too_little_memory():
    seen = []

    def loss(network, batch):
        seen.append(len(batch))
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        fit(network().float(), loss, batches_of([4]), steps=1, learning_rate=0.1)
    assert seen == [4]


def test_a_part_that_is_no_number_stops_the_fit():
    batch = Pairs(torch.ones(4, 4), torch.tensor([[1.0], [1.0], [torch.inf], [1.0]]))
    with pytest.raises(Diverged, match="loss inf at step 1 of 1"):
        fit(network().float(), short_of_memory(1, []), [batch], steps=1, learning_rate=0.1)


def test_attention_in_bfloat16_is_plain_while_training_alone():
    """Fused and plain attention compute the same; the losses tell that they did, up to the numbers' precision."""
    from transformers import BertConfig, BertModel

    sizes = dict(num_hidden_layers=2, num_attention_heads=2, hidden_size=16, intermediate_size=32, vocab_size=50)
    ids = torch.randint(50, (4, 12), generator=torch.Generator().manual_seed(0))
    used, losses = [], []

    def loss(network, batch):
        used.append(network.config._attn_implementation)
        return network(batch).last_hidden_state[:, 0].sub(1).square().mean()

    for device in (Device(), Device("cpu", "float32", "bfloat16")):
        torch.manual_seed(0)
        network = BertModel(BertConfig(**sizes)).eval()
        losses.append(fit(network, loss, [ids] * 5, steps=5, learning_rate=1e-3, device=device))
        assert network.config._attn_implementation == "sdpa"
    assert used == ["sdpa"] * 5 + ["eager"] * 5
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=0.02)
