import pytest
import torch

from fsp.distillation.healing import Rendering, gram_of, refit_norm, refit_writer

GENERATOR = torch.Generator().manual_seed(0)


def ridge(gram, moment):
    return torch.linalg.inv(gram + 0.1 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)) @ moment


@pytest.mark.parametrize("bias", [True, False])
def test_a_refitted_writer_against_its_closed_form_in_float64(bias):
    x, y = torch.randn(200, 5, generator=GENERATOR) + 3, torch.randn(200, 3, generator=GENERATOR)
    module = torch.nn.Linear(5, 3, bias=bias).requires_grad_(False)
    weights, own = module.weight.double(), module.bias.double() if bias else torch.zeros(3).double()
    refit_writer(module.weight, module.bias, x.clone(), y)
    lacking = y.double() - x.double() @ weights.T - own
    xc, yc = (v - v.mean(0) * bias for v in (x.double(), lacking))
    change = ridge(xc.T @ xc, xc.T @ yc).T
    assert torch.allclose(module.weight.double(), weights + change, atol=1e-5)
    if bias:
        assert torch.allclose(module.bias.double(), own + lacking.mean(0) - change @ x.double().mean(0), atol=1e-5)


def test_a_refitted_writer_does_not_lose_small_changes_of_large_inputs():
    x = 1000 + 0.01 * torch.randn(500, 4, generator=GENERATOR)
    wanted = (x - 1000) @ torch.randn(4, 3, generator=GENERATOR)
    weight, bias = torch.zeros(3, 4), torch.zeros(3)
    refit_writer(weight, bias, x, wanted)
    assert (((x - 1000) @ weight.T + bias + 1000 * weight.sum(dim=1)) - wanted).norm() < 0.2 * wanted.norm()


@pytest.mark.parametrize("affine", [True, False])
def test_a_rendering_against_its_closed_form_in_float64(affine):
    full, keep = torch.randn(300, 6, generator=GENERATOR) + 2, torch.tensor([0, 2, 5])
    state = full[:, keep] + 0.3 * torch.randn(300, 3, generator=GENERATOR)
    found = Rendering.fit(state, full.half(), keep, affine=affine)
    x, y = state.double(), full.half().double()
    x, y = (x - x.mean(0), y - y.mean(0)) if affine else (x, y)
    kept = torch.zeros(3, 6, dtype=torch.float64)
    kept[torch.arange(3), keep] = 1
    weight = (kept + ridge(x.T @ x, x.T @ (y - x @ kept))).T
    assert torch.allclose(found.weight.double(), weight, atol=1e-3)
    bias = full.half().double().mean(0) - weight @ state.double().mean(0) if affine else torch.zeros(6).double()
    assert torch.allclose(found.bias.double(), bias, atol=2e-3)


@pytest.mark.parametrize("bias", [True, False])
def test_a_refitted_norm_gives_the_logits_of_a_scaled_and_shifted_one(bias):
    """Where T's norm is a scaled and shifted one of the cut and all coordinates are kept, it is found."""
    given, layer = torch.randn(400, 4, generator=GENERATOR), torch.randn(50, 4, generator=GENERATOR).double()
    scale, shift = torch.tensor([1.5, 0.7, 1.1, 0.9]), torch.tensor([0.3, -0.2, 0.0, 0.1]) * bias
    full = given * scale + shift
    weight, own = torch.ones(4), torch.zeros(4) if bias else None
    before = ((given - full).double() @ layer.T).square().mean()
    found = refit_norm(weight, own, given, full, torch.arange(4), layer.T @ layer)
    after = ((given * weight + (own if bias else 0) - full).double() @ layer.T).square().mean()
    assert after < 0.05 * before  # not zero: the regression is a ridge
    assert torch.allclose(found, given * weight + (own if bias else 0), atol=1e-5)


def test_a_refitted_norm_is_the_least_squares_of_the_logits():
    given, full = torch.randn(300, 3, generator=GENERATOR), torch.randn(300, 5, generator=GENERATOR)
    keep, layer = torch.tensor([1, 2, 4]), torch.randn(40, 5, generator=GENERATOR).double()
    weight = torch.full((3,), 2.0)
    refit_norm(weight, None, given, full, keep, layer.T @ layer)
    design = torch.stack([(given[:, [j]].double() * layer[:, keep[j]]).flatten() for j in range(3)], dim=1)
    wanted = (full.double() @ layer.T).flatten() - design.sum(dim=1)
    expected = 1 + ridge(design.T @ design, design.T @ wanted)
    assert torch.allclose(weight.double() / 2, expected, atol=1e-4)


@pytest.mark.parametrize("width", [3, 256, 300, 600])
def test_a_gram_made_in_blocks_is_the_product(width):
    values = torch.randn(50, width, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(gram_of(values), values.double().T @ values.double(), atol=1e-4)
