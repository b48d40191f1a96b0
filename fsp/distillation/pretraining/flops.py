"""Floating-point operations per step, and the machine's peak speed to compare them with."""

import time
from typing import TYPE_CHECKING

import torch
from torch import nn

from fsp.distillation.pretraining.models import LanguageModel

if TYPE_CHECKING:
    from torch import Tensor

_SIDE = {"cpu": 2048, "cuda": 8192}
_TIMED = 0.4  # seconds


def forward_flops(model: LanguageModel, *, length: int, positions: float, head: bool) -> float:
    """Return the FLOPs per token of a forward pass; a multiplication and an addition count as two.

    2 x (weights of the body's matrices) + 4 (width of the queries) length D for attention (scores and context, without
    savings from causal or local masks) + 2 x (weights of the head's matrices) x (positions per token). A training step
    takes three times as many. Norms, softmaxes and the optimiser are not counted.

    Args:
        model: the network.
        length: tokens per sequence.
        positions: share of the tokens to which the head is applied.
        head: whether the head is used.

    Example:
        >>> from transformers import BertConfig, BertForMaskedLM
        >>> sizes = dict(num_hidden_layers=1, num_attention_heads=2, hidden_size=8, intermediate_size=8, vocab_size=50)
        >>> model = LanguageModel(BertForMaskedLM(BertConfig(**sizes)))
        >>> forward_flops(model, length=16, positions=0.5, head=True) == 2 * 6 * 64 + 4 * 8 * 16 + (64 + 50 * 8)
        True
    """
    shape = model.architecture
    inside = _matrices(model.body)
    flops = 2.0 * inside + 4.0 * model.attention_widths(shape)["A"] * length * shape["D"]
    if head and model.has_head:
        flops += 2.0 * (_matrices(model.network) - inside) * positions
    return flops


def _matrices(network: nn.Module) -> int:
    from transformers.pytorch_utils import Conv1D

    return sum(module.weight.numel() for module in network.modules() if isinstance(module, nn.Linear | Conv1D))


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the FLOP/s of a large matrix product on a device, measured in less than a second.

    Example:
        >>> peak_flops(torch.device("cpu"), torch.float32) > 0
        True
    """
    side = _SIDE.get(device.type, _SIDE["cuda"])
    left = torch.ones(side, side, device=device, dtype=dtype)

    def multiply() -> "Tensor":
        found = left @ left
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return found

    multiply()
    best, started = 0.0, time.perf_counter()
    while time.perf_counter() - started < _TIMED or not best:
        before = time.perf_counter()
        multiply()
        best = max(best, 2 * side**3 / (time.perf_counter() - before))
    return best
