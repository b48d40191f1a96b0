"""The vocabulary layer and the losses of its logits, computed for a few rows at a time.

The logits of all rows are never in memory together: each chunk of rows is reduced to losses and gradients, and only the
gradients of the layer and of its input are kept. No logit is computed twice. Matrix products are fast with many rows,
but losses make several copies of their logits, so on CPUs losses are computed for pieces of a chunk, and the gradients
overwrite the logits.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Maps the logits of a chunk and its rows to the sum of each loss.
Terms = Callable[[Tensor, slice], Mapping[str, Tensor]]

_CPU_CHUNK, _CPU_PIECE, _GPU_CHUNK = 1 << 22, 1 << 20, 1 << 27  # logits: 16, 4 and 512 MB in float32


def chunks(rows: int, vocabulary: int, device: torch.device) -> Iterator[slice]:
    """Yield slices of at least one row whose logits fit a fixed amount of memory."""
    return _slices(slice(0, rows), vocabulary, _CPU_CHUNK if device.type == "cpu" else _GPU_CHUNK)


def _pieces(rows: slice, vocabulary: int, device: torch.device) -> Iterator[slice]:
    """Yield the slices of a chunk for which losses are computed together."""
    return _slices(rows, vocabulary, _CPU_PIECE if device.type == "cpu" else _GPU_CHUNK)


def _slices(rows: slice, vocabulary: int, most: int) -> Iterator[slice]:
    size = max(1, most // vocabulary)
    for start in range(rows.start, rows.stop, size):
        yield slice(start, min(start + size, rows.stop))


def head_losses(
    states: Tensor,
    layer: nn.Linear,
    terms: Terms,
    weights: Mapping[str, float],
    *,
    scale: float = 1.0,
    directly: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the scaled total of losses of a vocabulary layer's logits, and each loss's sum, without gradient.

    Args:
        states: inputs of the layer, `n x E`.
        layer: the layer, `E -> V`.
        terms: returns the sum of each loss by name, given a chunk's logits (float32) and its rows.
        weights: weights of the losses in the total.
        scale: factor on the total, applied after the products so that float16 does not underflow.
        directly: add the gradient of the layer's matrix to its `.grad` without autograd, which would copy it to add
            the sparse gradient of the same matrix.

    Example:
        >>> layer, states = nn.Linear(4, 10), torch.randn(3, 4)
        >>> square = lambda logits, rows: {"square": logits.square().sum()}
        >>> total, sums = head_losses(states, layer, square, {"square": 2})
        >>> total.backward()
        >>> bool(total == 2 * sums["square"]), layer.weight.grad.shape
        (True, torch.Size([10, 4]))
    """
    sums: dict[str, Tensor] = {}
    learning = torch.is_grad_enabled() and (states.requires_grad or layer.weight.requires_grad)
    total = _HeadLosses.apply(states, layer.weight, layer.bias, terms, weights, scale, sums, learning, directly)
    return total, sums


class _HeadLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        terms: Terms,
        weights: Mapping[str, float],
        scale: float,
        sums: dict[str, Tensor],
        learning: bool,
        directly: bool,
    ) -> Tensor:
        device = states.device
        automatic = torch.is_autocast_enabled(device.type)
        dtype = torch.get_autocast_dtype(device.type) if automatic else weight.dtype
        inputs, matrix = states.detach().to(dtype), weight.detach().to(dtype)
        into_states = torch.empty_like(inputs) if learning else None
        into_weight = torch.empty_like(weight) if learning else None
        into_bias = torch.zeros_like(bias) if learning and bias is not None else None
        total = torch.zeros((), device=device, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
        with torch.autocast(device.type, enabled=False):
            for rows in chunks(len(inputs), len(matrix), device):
                logits = F.linear(inputs[rows], matrix)
                logits = logits if dtype == torch.float64 else logits.float()
                if bias is not None:
                    logits += bias
                for part in _pieces(rows, len(matrix), device):
                    own = logits[part.start - rows.start : part.stop - rows.start].detach()
                    with torch.set_grad_enabled(learning):
                        own.requires_grad_(learning)
                        found = terms(own, part)
                        part_total = torch.stack([weights[name] * value for name, value in found.items()]).sum()
                    for name, value in found.items():
                        sums[name] = sums.get(name, 0) + value.detach()
                    total += scale * part_total.detach()
                    if learning:
                        (slope,) = torch.autograd.grad(part_total, own)
                        own.detach().copy_(slope)
                if into_states is None or into_weight is None:
                    continue
                slope = logits
                if into_bias is not None:
                    into_bias += scale * slope.sum(dim=0)
                slope = slope.to(dtype)
                into_states[rows].addmm_(slope, matrix, beta=0)
                if weight.dtype == dtype:
                    into_weight.addmm_(slope.T, inputs[rows], beta=int(rows.start > 0), alpha=scale)
                else:
                    product = (slope.T @ inputs[rows]).to(weight.dtype)
                    into_weight = product.mul_(scale) if rows.start == 0 else into_weight.add_(product, alpha=scale)
        if into_states is not None:
            into_states = into_states.to(states.dtype).mul_(scale)
        ctx.gradients = into_states, into_weight, into_bias
        ctx.directly = weight if directly else None
        return total

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = slopes
        gradients, ctx.gradients = ctx.gradients, None
        if slope.device.type != "cpu" or slope.item() != 1:  # the comparison often saves a pass over the largest matrix
            # nothing else uses the buffers, so they are scaled in place
            gradients = tuple(part.mul_(slope) if part is not None else None for part in gradients)
        if ctx.directly is not None:
            into_states, into_weight, into_bias = gradients
            grad = ctx.directly.grad
            ctx.directly.grad = into_weight if grad is None else grad.add_(into_weight)
            gradients = into_states, None, into_bias
        return (*gradients, None, None, None, None, None, None)
