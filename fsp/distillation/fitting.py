"""Parts shared by all training: the optimiser, the learning-rate schedule, and the single-process training loop."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from fsp.base.device import Device, release
from fsp.base.errors import Diverged, is_out_of_memory

_CLIP = 1.0  # largest gradient norm
_Network = TypeVar("_Network", bound=nn.Module)
_Batch = TypeVar("_Batch", bound=Any)


def learning_rate_at(step: int, steps: int, warmup: float, schedule: str = "linear") -> float:
    """Return the factor on the peak learning rate at a step counted from 0.

    Args:
        step: the next step.
        steps: total number of steps.
        warmup: share of the steps in which the rate rises linearly to its peak.
        schedule: after the warm-up, `linear` and `cosine` fall to 0, `constant` stays at the peak.

    Example:
        >>> [learning_rate_at(k, 10, 0.2) for k in (0, 1, 2, 9)]
        [0.5, 1.0, 1.0, 0.125]
        >>> [round(learning_rate_at(k, 10, 0.2, "cosine"), 3) for k in (0, 1, 2, 6)]
        [0.5, 1.0, 1.0, 0.5]
    """
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    left = (steps - step) / (steps - rise)
    return {"linear": left, "cosine": (1 - math.cos(math.pi * left)) / 2, "constant": 1.0}[schedule]


def adamw(
    network: nn.Module,
    learning_rate: float,
    weight_decay: float,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> torch.optim.AdamW:
    """Return AdamW for all weights of a network, with weight decay on matrices and tables but not on vectors."""
    matrices = [p for p in network.parameters() if p.ndim >= 2]
    vectors = [p for p in network.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, eps=eps, fused=True)


def fit(
    network: _Network,
    loss_of: Callable[[_Network, _Batch], Tensor],
    batches: Iterable[_Batch],
    *,
    steps: int,
    learning_rate: float,
    warmup: float = 0.1,
    weight_decay: float = 0.01,
    after_step: Callable[[int, float], object] = lambda step, loss: None,
    device: Device | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> list[float]:
    """Train a network by AdamW, gradients clipped at norm 1, and return the loss of every step.

    Args:
        network: changed in place; the caller decides whether dropout is on.
        loss_of: returns the loss of the network on a batch, a scalar.
        batches: at least `steps` batches.
        steps: optimiser steps.
        learning_rate: the peak, reached after `warmup * steps` steps; see `learning_rate_at`.
        warmup: fraction of the steps.
        weight_decay: applied to weight matrices only.
        after_step: called with the number of steps done and the loss.
        device: in whose numbers of training losses are computed; None for float32.
        say: told when memory does not suffice for a batch, which is then computed in parts, if it has a length and a
            `divided(parts)` that returns parts and the share of each in the loss.

    Raises:
        Diverged: the loss is NaN or infinite.

    Example:
        >>> distance = lambda line, x: (line(x) - 2 * x).square().mean()
        >>> losses = fit(nn.Linear(1, 1), distance, [torch.ones(1, 1)] * 90, steps=90, learning_rate=0.1)
        >>> losses[-1] < 0.01
        True
    """
    place = device or Device()
    optimiser = adamw(network, learning_rate, weight_decay)
    losses: list[float] = []
    parts = 1
    with _attention(network, place):
        for step, batch in zip(range(steps), batches, strict=False):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * learning_rate_at(step, steps, warmup)
            while True:
                optimiser.zero_grad(set_to_none=True)
                try:
                    losses.append(_backward(network, loss_of, batch, parts, place))
                    break
                except Exception as problem:
                    if not is_out_of_memory(problem) or not hasattr(batch, "divided") or parts >= len(batch):
                        raise
                parts *= 2
                release()
                say(f"memory does not suffice for a batch; going on with {parts} parts")
            if not math.isfinite(losses[-1]):
                raise Diverged(f"loss {losses[-1]} at step {step + 1} of {steps}")
            nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
            optimiser.step()
            after_step(step + 1, losses[-1])
    return losses


@contextmanager
def _attention(network: nn.Module, device: Device) -> Iterator[None]:
    """Compute attention by plain matrix products where its fused backward pass is slow: in bfloat16 on a CPU.

    There it takes 17 ms for 1,024 tokens of eight heads of 32, and plain products 2 ms (torch 2.13, AVX-512 BF16).
    """
    if device.training != "bfloat16" or device.torch.type != "cpu":
        yield
        return
    models: list[Any] = [part for part in network.modules() if hasattr(part, "set_attn_implementation")]
    former = [model.config._attn_implementation for model in models]
    for model in models:
        model.set_attn_implementation("eager")
    try:
        yield
    finally:
        for model, name in zip(models, former, strict=True):
            model.set_attn_implementation(name)


def _backward(
    network: _Network, loss_of: Callable[[_Network, _Batch], Tensor], batch: Any, parts: int, device: Device
) -> float:
    """Add the gradient of the loss on a batch, computed in parts; return the loss."""
    total = 0.0
    for piece, share in [(batch, 1.0)] if parts == 1 else batch.divided(parts):
        with device.computing(training=True):
            loss = loss_of(network, piece)
        total += share * float(loss.detach())
        if math.isfinite(total):
            (loss if parts == 1 else share * loss).backward()
    return total
