"""The ridge regressions that heal a cut: maps that read or write the residual stream are refitted to match T.

Products of inputs are computed where the inputs are, and solved in float64 on the CPU.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_RIDGE = 0.1  # of the mean squared feature; smaller overfits the few ten thousand tokens (experiments/healing)
_BLOCK = 256  # columns of a product of a matrix with itself


def covariance(values: Tensor) -> Tensor:
    """Return the covariance of `n x d` values times the number of rows, float64, on the CPU."""
    return gram_of(values - values.mean(dim=0))


def gram_of(values: Tensor) -> Tensor:
    """Return XᵀX of `n x d` values, float64, on the CPU; only blocks on and below the diagonal are multiplied."""
    gram = values.new_empty(2 * values.shape[1:])
    for i in range(0, len(gram), _BLOCK):
        torch.mm(values[:, i:].T, values[:, i : i + _BLOCK], out=gram[i:, i : i + _BLOCK])
    lower = gram.tril().cpu().double()
    return lower + lower.tril(-1).T


def ridge(gram: Tensor, moment: Tensor) -> Tensor:
    """Return the float32 weights `(outputs, inputs)` of a ridge regression, from float64 products of centred inputs."""
    penalty = (_RIDGE * gram.diagonal().mean()).clamp(min=torch.finfo(gram.dtype).tiny)  # constant inputs give 0
    return torch.linalg.solve(gram + penalty * torch.eye(len(gram), dtype=gram.dtype), moment).float().T


@dataclass(frozen=True)
class Rendering:
    """The affine map from what a cut's readers get to what T's readers get.

    Attributes:
        weight: `H_T x H`.
        bias: `H_T`.
    """

    weight: Tensor
    bias: Tensor

    @classmethod
    def fit(cls, state: Tensor, full: Tensor, keep: Tensor, *, affine: bool = True) -> "Rendering":
        """Fit T's full state to the state of a cut, shrunk towards its kept coordinates.

        Args:
            state: `n x H`.
            full: `n x H_T`, of any floating type.
            keep: the coordinates of T that the cut kept, `H`.
            affine: False for readers without a bias: the map then goes through the origin.
        """
        mean, missing = state.mean(dim=0) * affine, full.mean(dim=0, dtype=torch.float32) * affine
        centred = state - mean if affine else state
        gram = gram_of(centred)
        moment = (centred.T @ full.to(centred.dtype)).cpu().double()
        moment[:, keep.cpu()] -= gram  # the target is the residual: the full state minus the kept coordinates
        predict = ridge(gram, moment).to(state.device)
        missing[keep] -= mean
        offset = missing - predict @ mean
        predict[keep, torch.arange(len(keep), device=keep.device)] += 1
        return cls(predict, offset)


def refit_norm(
    weight: Tensor, bias: Tensor | None, given: Tensor, full: Tensor, keep: Tensor, products: Tensor
) -> Tensor:
    """Scale and shift the outputs of a norm so that the layer behind it, which is given, comes closest to T's.

    Returns the new outputs.

    Args:
        weight: changed in place.
        bias: changed in place; without one, the outputs are only scaled.
        given: outputs of the norm, `n x H`.
        full: outputs of T's norm, `n x H_T`, of any floating type.
        keep: the coordinates of T that the cut kept, `H`; the layer has these columns of T's.
        products: WᵀW of T's layer W, `H_T x H_T`, float64, on the CPU.
    """
    affine, own = bias is not None, given.to(torch.float32)
    mean, wanted_mean = own.mean(dim=0) * affine, full.mean(dim=0, dtype=torch.float32) * affine
    centred, keep = own - mean, keep.cpu()
    within, across = products[keep][:, keep], products[keep]
    moment = (centred.T @ (full.to(torch.float32) - wanted_mean)).cpu().double()
    gram = within * gram_of(centred)
    scale = 1 + ridge(gram, ((across * moment).sum(dim=1) - gram.sum(dim=1))[:, None])[0].to(weight.device)
    weight.mul_(scale)
    if bias is None:
        return scale * own
    lacking = across @ wanted_mean.cpu().double() - within @ (scale * mean).cpu().double()
    shift = ridge(within, lacking[:, None])[0].to(bias.device)
    bias.copy_(scale * bias + shift)
    return scale * own + shift


def refit_writer(weight: Tensor, bias: Tensor | None, features: Tensor, wanted: Tensor) -> None:
    """Add to a map the ridge regression of the residual of its outputs.

    Args:
        weight: outputs x inputs; changed in place.
        bias: changed in place; without one, the regression goes through the origin.
        features: inputs of the map, `n x inputs`.
        wanted: outputs that it should give, `n x outputs`.
    """
    mean, wanted_mean = features.mean(dim=0), wanted.mean(dim=0)
    centred = features if bias is None else features - mean
    gram, moment = gram_of(centred), (centred.T @ wanted).cpu().double()
    lacking = moment - gram @ weight.T.cpu().double()
    weight.add_(ridge(gram, lacking).to(weight.device))
    if bias is not None:
        bias.copy_(wanted_mean - weight @ mean)
