"""The training loop: steps, schedule, clipping; stops at once when a loss is no number."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from fsp.base.errors import Diverged
from fsp.distillation.blocks import Batch
from fsp.distillation.matching import Matching
from fsp.distillation.student import Student


def learning_rate_at(step: int, steps: int, warmup: float) -> float:
    """Return the factor on the peak learning rate at a step counted from 0: linear warm-up, then linear decay.

    Example:
        >>> [learning_rate_at(k, 10, 0.2) for k in (0, 1, 2, 9)]
        [0.5, 1.0, 1.0, 0.125]
    """
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return (steps - step) / (steps - rise)


def adamw(
    network: nn.Module,
    learning_rate: float,
    weight_decay: float,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> torch.optim.AdamW:
    """Return AdamW for all weights of a network, with decay on matrices and tables, not on biases and norms."""
    matrices = [p for p in network.parameters() if p.ndim >= 2]
    vectors = [p for p in network.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, eps=eps, fused=True)


def train(
    student: Student,
    batches: Iterable[Batch],
    *,
    matching: Matching,
    steps: int,
    learning_rate: float,
    warmup: float = 0.1,
    weight_decay: float = 0.01,
    clip: float = 1.0,
    after_step: Callable[[int, float], object] = lambda step, loss: None,
) -> list[float]:
    """Train a student to match T and return the loss of every step.

    Dropout stays off: the targets are deterministic, and tens of steps have no time to average its noise.

    Args:
        student: changed in place.
        batches: at least `steps` of them.
        matching: what is matched.
        steps: optimiser steps.
        learning_rate: the peak, reached after `warmup * steps` steps.
        warmup: fraction of the steps.
        weight_decay: on weight matrices only.
        clip: largest gradient norm.
        after_step: called with the number of steps done and the loss.

    Raises:
        Diverged: the loss is NaN or infinite.
    """
    student.eval()
    student.requires_grad_(True)
    optimiser = adamw(student, learning_rate, weight_decay)
    losses: list[float] = []
    for step, batch in zip(range(steps), batches, strict=False):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * learning_rate_at(step, steps, warmup)
        loss = matching.loss(student(batch.tokens), batch)
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise Diverged(f"loss {losses[-1]} at step {step + 1} of {steps}")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), clip)
        optimiser.step()
        after_step(step + 1, losses[-1])
    return losses
