import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import log_softmax

from fsp.distillation.losses import (
    TopLogits,
    Unexplained,
    cosine_distance,
    cross_entropy,
    divergence,
    relation_divergence,
    squared_distance,
    squared_error,
    top_divergence,
)


def drawn(*shape, seed=0, scale=2.0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape) * scale)


def kl(p, q):
    """The definition, term by term, in float64."""
    return sum(float(a) * (np.log(a) - np.log(b)) for a, b in zip(p, q, strict=True) if a > 0)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_divergence_is_its_definition(temperature):
    student, teacher = drawn(5, 11), drawn(5, 11, seed=1)
    p, q = (np.exp(log_softmax(x.numpy() / temperature, axis=1)) for x in (teacher, student))
    expected = temperature**2 * sum(kl(p[i], q[i]) for i in range(5))
    value, count = divergence(student, teacher, temperature)
    assert value.item() == pytest.approx(expected, rel=1e-12)
    assert count == 5
    single, _ = divergence(student.float(), teacher.float(), temperature)
    assert single.item() == pytest.approx(expected, rel=1e-5)
    half, _ = divergence(student.bfloat16(), teacher.bfloat16(), temperature)
    assert half.dtype == torch.float32


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("k", [1, 4, 10, 11])
def test_top_divergence_is_that_of_the_merged_distributions(k, temperature):
    student, teacher = drawn(5, 11), drawn(5, 11, seed=1)
    p, q = (np.exp(log_softmax(x.numpy() / temperature, axis=1)) for x in (teacher, student))
    expected = 0.0
    for i in range(5):
        order = np.argsort(-p[i])
        merged = [[*row[i][order[:k]], row[i][order[k:]].sum()] for row in (p, q)]
        expected += temperature**2 * kl(*merged)
    value, count = top_divergence(student, TopLogits.of(teacher, k, temperature), temperature)
    assert value.item() == pytest.approx(expected, rel=1e-9)
    assert count == 5
    whole = divergence(student, teacher, temperature)[0].item()
    assert value.item() <= whole + 1e-9
    if k >= 10:  # a tail of one token or none loses nothing
        assert value.item() == pytest.approx(whole, rel=1e-9)


def test_cross_entropy_and_distances_are_their_definitions():
    logits, labels = drawn(6, 7), torch.tensor([0, 6, 3, 3, 1, 2])
    expected = -log_softmax(logits.numpy(), axis=1)[np.arange(6), labels.numpy()].sum()
    assert cross_entropy(logits, labels)[0].item() == pytest.approx(expected, rel=1e-12)
    a, b = drawn(6, 4), drawn(6, 4, seed=1)
    x, y = a.numpy(), b.numpy()
    cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    assert cosine_distance(a, b)[0].item() == pytest.approx((1 - cosine).sum(), rel=1e-12)
    assert squared_distance(a, b)[0].item() == pytest.approx(((x - y) ** 2).mean(1).sum(), rel=1e-12)
    assert cosine_distance(a, b)[1] == squared_distance(a, b)[1] == 6


@pytest.mark.parametrize("causal", [False, True])
def test_relations_are_their_definition_with_differing_widths(causal):
    student, teacher = [drawn(2, 5, 8, seed=i) for i in range(3)], [drawn(2, 5, 12, seed=i + 9) for i in range(3)]
    expected = 0.0
    for s, t in zip(student, teacher, strict=True):
        for n in range(2):
            for h in range(4):
                rows = []
                for x, d in ((t, 3), (s, 2)):
                    v = x[n, :, h * d : (h + 1) * d].numpy()
                    rows.append(v @ v.T / np.sqrt(d))
                for i in range(5):
                    stop = i + 1 if causal else 5
                    p, q = (np.exp(log_softmax(row[i, :stop])) for row in rows)
                    expected += kl(p, q)
    value, count = relation_divergence(student, teacher, heads=4, causal=causal)
    assert value.item() == pytest.approx(expected, rel=1e-10)
    assert count == 3 * 2 * 4 * 5


def test_gradients_are_finite_differences():
    logits, teacher = drawn(3, 6).requires_grad_(), drawn(3, 6, seed=1)
    top, labels = TopLogits.of(teacher, 2, 2.0), torch.tensor([0, 5, 2])
    vectors = drawn(2, 4, 6).requires_grad_()
    others = [drawn(2, 4, 9, seed=3)]
    for function, argument in (
        (lambda x: divergence(x, teacher, 2.0)[0], logits),
        (lambda x: top_divergence(x, top, 2.0)[0], logits),
        (lambda x: cross_entropy(x, labels)[0], logits),
        (lambda x: cosine_distance(x, teacher)[0], logits),
        (lambda x: squared_distance(x, teacher)[0], logits),
        (lambda x: relation_divergence([x], others, 3)[0], vectors),
        (lambda x: relation_divergence([x], others, 3, causal=True)[0], vectors),
    ):
        assert torch.autograd.gradcheck(function, (argument,))


def test_nothing_flows_into_the_teacher():
    student, teacher = drawn(2, 4).requires_grad_(), drawn(2, 4, seed=1).requires_grad_()
    divergence(student, teacher)[0].backward()
    assert teacher.grad is None


def test_extreme_logits_stay_finite():
    student = torch.tensor([[1e4, -1e4, 0.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[-1e4, 1e4, 0.0, 0.0]])
    for value in (
        divergence(student, teacher)[0],
        top_divergence(student, TopLogits.of(teacher, 2, 1.0))[0],
    ):
        (slope,) = torch.autograd.grad(value, student)
        assert torch.isfinite(value) and slope.isfinite().all()


def test_sums_of_parts_are_the_sum_of_the_whole():
    student, teacher = drawn(6, 9), drawn(6, 9, seed=1)
    parts = [divergence(student[i : i + 2], teacher[i : i + 2], 2.0) for i in (0, 2, 4)]
    whole = divergence(student, teacher, 2.0)
    assert sum(v for v, _ in parts).item() == pytest.approx(whole[0].item(), rel=1e-12)
    assert sum(n for _, n in parts) == whole[1]


def test_unlike_the_published_script_the_vocabulary_is_summed_over_and_softmax_applied_once():
    student, teacher = drawn(4, 9), drawn(4, 9, seed=1)
    ours = divergence(student, teacher, 2.0)[0].item() / 4
    reference = F.kl_div((student / 2).log_softmax(-1), (teacher / 2).softmax(-1), reduction="batchmean").item() * 4
    assert ours == pytest.approx(reference, rel=1e-12)


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
