"""The ridge regressions that heal a cut: what reads or writes the hidden state is refitted to do as T does."""

import torch
from torch import Tensor, nn

_RIDGE = 0.1  # of the mean squared feature; smaller overfits the few ten thousand tokens (experiments/healing)
_BLOCK = 256  # columns of a product of a matrix with itself


def covariance(values: Tensor) -> Tensor:
    """Covariance times the number of rows, float64, of `n x d` values."""
    return gram_of(values - values.mean(dim=0))


def gram_of(centred: Tensor) -> Tensor:
    """XᵀX of centred `n x d` values, float64; only the blocks on and below the diagonal are multiplied."""
    gram = centred.new_empty(2 * centred.shape[1:])
    for i in range(0, len(gram), _BLOCK):
        torch.mm(centred[:, i:].T, centred[:, i : i + _BLOCK], out=gram[i:, i : i + _BLOCK])
    lower = gram.tril().double()
    return lower + lower.tril(-1).T


def _ridge(gram: Tensor, moment: Tensor) -> Tensor:
    """Weights `(outputs, inputs)` of a ridge regression, float32, from the products of centred inputs, float64."""
    ridge = (_RIDGE * gram.diagonal().mean()).clamp(min=torch.finfo(gram.dtype).tiny)  # inputs that never vary give 0
    return torch.linalg.solve(gram + ridge * torch.eye(len(gram), dtype=gram.dtype), moment).float().T


def refit_readers(
    readers: list[tuple[nn.Linear, tuple[Tensor, Tensor]]], state: Tensor, full: Tensor, keep: Tensor
) -> None:
    """Let modules read T's full state as it is predicted from the kept coordinates.

    Each comes with the weight and bias by which it is to read the full state.
    """
    mean = state.mean(dim=0)
    centred = state - mean
    gram = gram_of(centred)
    moment = (centred.T @ full).double()  # with what is missing: the full state less the kept coordinates
    moment[:, keep] -= gram
    predict = _ridge(gram, moment)
    missing = full.mean(dim=0)
    missing[keep] -= mean
    offset = missing - predict @ mean
    predict[keep, torch.arange(len(keep))] += 1
    for module, (weight, bias) in readers:
        module.weight.copy_(weight @ predict)
        module.bias.copy_(bias + weight @ offset)


def refit_writer(module: nn.Linear, features: Tensor, wanted: Tensor) -> Tensor:
    """Change a module by the ridge regression of what its output lacks; return its output. Centres the features."""
    mean, wanted_mean = features.mean(dim=0), wanted.mean(dim=0)
    features -= mean
    gram = gram_of(features)
    lacking = (features.T @ wanted).double() - gram @ module.weight.double().T
    module.weight.add_(_ridge(gram, lacking))
    module.bias.copy_(wanted_mean - module.weight @ mean)
    return torch.addmm(wanted_mean, features, module.weight.T)
