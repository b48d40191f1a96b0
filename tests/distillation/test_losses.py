import numpy as np
import pytest
import torch

from fsp.distillation.losses import Unexplained, squared_error


def test_squared_error_against_float64_and_its_gradient():
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randn(3, 5, 7, generator=generator).requires_grad_()
    target = torch.randn(3, 5, 7, generator=generator)
    total, count = squared_error(predicted, target)
    reference = ((predicted.detach().double() - target.double()) ** 2).sum()
    assert count == 15
    assert float(total.detach()) == pytest.approx(float(reference), rel=1e-6)
    total.backward()
    assert torch.allclose(predicted.grad, 2 * (predicted - target).detach(), atol=1e-6)


def test_batches_add_up_to_the_whole():
    generator = torch.Generator().manual_seed(0)
    predicted, target = torch.randn(2, 12, 4, generator=generator), 3 + torch.randn(2, 12, 4, generator=generator)
    parts, whole = Unexplained(), Unexplained()
    for i in range(0, 12, 5):
        parts.add(predicted[:, i : i + 5], target[:, i : i + 5])
    whole.add(predicted, target)
    y, f = target.flatten(0, 1).double().numpy(), predicted.flatten(0, 1).double().numpy()
    expected = ((y - f) ** 2).sum() / ((y - y.mean(axis=0)) ** 2).sum()
    assert parts.value() == pytest.approx(expected)
    assert whole.value() == pytest.approx(expected)


def test_the_controls():
    y = torch.randn(1, 100, 3, generator=torch.Generator().manual_seed(0))
    mean, exact, broken = Unexplained(), Unexplained(), Unexplained()
    mean.add(y.mean(dim=1, keepdim=True).expand_as(y), y)
    exact.add(y, y)
    broken.add(torch.full_like(y, torch.nan), y)
    assert mean.value() == pytest.approx(1)
    assert exact.value() == 0
    assert np.isnan(broken.value())


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shapes differ"):
        squared_error(torch.zeros(2, 3), torch.zeros(3, 2))
