import pytest
import torch
from torch import nn

from fsp.distillation.losses import cross_entropy, divergence
from fsp.distillation.pretraining import vocabulary
from fsp.distillation.pretraining.vocabulary import chunks, head_losses


@pytest.fixture(params=[1, 3, 7, 100], ids=lambda rows: f"{rows} rows a chunk")
def rows_a_chunk(request, monkeypatch):
    monkeypatch.setattr(vocabulary, "_CPU_CHUNK", request.param * 50)
    return request.param


def layer_and_states(dtype=torch.float64, bias=True):
    torch.manual_seed(0)
    return nn.Linear(8, 50, bias=bias, dtype=dtype), torch.randn(7, 8, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("scale", [1.0, 1 / 7])
def test_chunked_equals_all_at_once(rows_a_chunk, bias, scale):
    layer, states = layer_and_states(bias=bias)
    labels, teacher = torch.randint(50, (7,)), torch.randn(7, 50, dtype=torch.float64)

    def terms(logits, rows):
        return {"mlm": cross_entropy(logits, labels[rows])[0], "kl": divergence(logits, teacher[rows], 2.0)[0]}

    total, sums = head_losses(states, layer, terms, {"mlm": 0.1, "kl": 0.5}, scale=scale)
    (total / 7 / scale).backward()
    found = [states.grad, *(p.grad for p in layer.parameters())]

    states.grad = None
    layer.zero_grad()
    whole = terms(layer(states), slice(None))
    ((0.1 * whole["mlm"] + 0.5 * whole["kl"]) / 7).backward()
    for ours, reference in zip(found, [states.grad, *(p.grad for p in layer.parameters())], strict=True):
        assert torch.allclose(ours, reference, rtol=1e-12, atol=1e-14)
    for name in ("mlm", "kl"):
        assert sums[name].item() == pytest.approx(whole[name].item(), rel=1e-12)


def test_without_gradients_only_sums():
    layer, states = layer_and_states()
    with torch.no_grad():
        total, sums = head_losses(states, layer, lambda logits, rows: {"s": logits.sum()}, {"s": 1.0})
    assert not total.requires_grad
    assert sums["s"].item() == pytest.approx(layer(states).sum().item())


def test_autocast_computes_in_bfloat16_and_learns_in_float32(rows_a_chunk):
    layer, states = layer_and_states(torch.float32)
    labels = torch.randint(50, (7,))

    def terms(logits, rows):
        assert logits.dtype == torch.float32
        return {"mlm": cross_entropy(logits, labels[rows])[0]}

    with torch.autocast("cpu", torch.bfloat16):
        total, _ = head_losses(states, layer, terms, {"mlm": 1.0})
    total.backward()
    assert layer.weight.grad.dtype == states.grad.dtype == torch.float32
    ours = layer.weight.grad.clone()
    layer.zero_grad()
    cross_entropy(layer(states), labels)[0].backward()
    assert torch.nn.functional.cosine_similarity(ours.flatten(), layer.weight.grad.flatten(), dim=0) > 0.999


def test_chunks_cover_all_rows_once():
    for rows in (0, 1, 5, 1000):
        covered = [i for part in chunks(rows, 50_000, torch.device("cpu")) for i in range(part.start, part.stop)]
        assert covered == list(range(rows))
    assert all(part.stop - part.start <= 83 for part in chunks(1000, 50_265, torch.device("cpu")))
    assert len(list(chunks(3, 1 << 40, torch.device("cpu")))) == 3


def test_memory_does_not_grow_with_rows_times_vocabulary():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                self.numel = max(self.numel, result.numel())
            return result

    layer, states = nn.Linear(4, 20_000), torch.randn(2000, 4, requires_grad=True)
    labels = torch.randint(20_000, (2000,))
    with Largest() as largest:
        total, _ = head_losses(states, layer, lambda x, r: {"m": cross_entropy(x, labels[r])[0]}, {"m": 1.0})
        total.backward()
    assert largest.numel <= 1 << 22
