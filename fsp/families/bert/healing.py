"""The ridge regressions that heal a cut: matrices that read or write the hidden state are refitted to match T."""

import torch
from torch import Tensor, nn

_RIDGE = 0.1  # of the mean squared feature; smaller overfits the few ten thousand tokens (experiments/healing)
_BLOCK = 256  # columns of a product of a matrix with itself


def covariance(values: Tensor) -> Tensor:
    """Return the covariance of `n x d` values times the number of rows, float64."""
    return gram_of(values - values.mean(dim=0))


def gram_of(centred: Tensor) -> Tensor:
    """Return XᵀX of centred `n x d` values, float64; only the blocks on and below the diagonal are multiplied."""
    gram = centred.new_empty(2 * centred.shape[1:])
    for i in range(0, len(gram), _BLOCK):
        torch.mm(centred[:, i:].T, centred[:, i : i + _BLOCK], out=gram[i:, i : i + _BLOCK])
    lower = gram.tril().double()
    return lower + lower.tril(-1).T


def _ridge(gram: Tensor, moment: Tensor) -> Tensor:
    """Return the float32 weights `(outputs, inputs)` of a ridge regression, from float64 products of centred inputs."""
    ridge = (_RIDGE * gram.diagonal().mean()).clamp(min=torch.finfo(gram.dtype).tiny)  # constant inputs give 0
    return torch.linalg.solve(gram + ridge * torch.eye(len(gram), dtype=gram.dtype), moment).float().T


def refit_readers(
    readers: list[tuple[nn.Linear, tuple[Tensor, Tensor]]], state: Tensor, full: Tensor, keep: Tensor
) -> None:
    """Refit modules to read T's full state as predicted from the kept coordinates.

    Each module comes with the weight and bias that apply to the full state.
    """
    mean = state.mean(dim=0)
    centred = state - mean
    gram = gram_of(centred)
    moment = (centred.T @ full).double()
    moment[:, keep] -= gram  # the target is the residual: the full state minus the kept coordinates
    predict = _ridge(gram, moment)
    missing = full.mean(dim=0)
    missing[keep] -= mean
    offset = missing - predict @ mean
    predict[keep, torch.arange(len(keep))] += 1
    for module, (weight, bias) in readers:
        module.weight.copy_(weight @ predict)
        module.bias.copy_(bias + weight @ offset)


def refit_writer(module: nn.Linear, features: Tensor, wanted: Tensor) -> Tensor:
    """Add to a module the ridge regression of its output's residual; return its output. Centres the features."""
    mean, wanted_mean = features.mean(dim=0), wanted.mean(dim=0)
    features -= mean
    gram = gram_of(features)
    lacking = (features.T @ wanted).double() - gram @ module.weight.double().T
    module.weight.add_(_ridge(gram, lacking))
    module.bias.copy_(wanted_mean - module.weight @ mean)
    return torch.addmm(wanted_mean, features, module.weight.T)
