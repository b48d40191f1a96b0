"""What the training of an extraction costs: floating-point operations, and the time they take on this machine."""

import time
from dataclasses import dataclass

import numpy as np

from fsp.objectives.counts import operations
from fsp.search.planning import Plan
from fsp.spaces.space import SearchSpace

_PASSES = 3  # a step is a forward pass, and a backward pass of twice its FLOPs
EFFICIENCY = 0.5  # share of a matrix product's speed that a training step reaches
_SIDE = 1024  # of the matrices that are timed
_TIMED = 0.5  # seconds of timing, but at least one product


@dataclass(frozen=True)
class Cost:
    """The most that training costs.

    Attributes:
        evaluations: number of trainings.
        flops: their floating-point operations.
        seconds: their time at `EFFICIENCY` times the machine's speed.
        gflops: the machine's speed, GFLOP/s.
    """

    evaluations: int
    flops: int
    seconds: float
    gflops: float


def training_cost(
    space: SearchSpace,
    planned: Plan,
    *,
    steps: int,
    batch: int,
    length: int,
    gflops: float,
    again: int = 0,
    longer: int = 1,
) -> Cost:
    """Return what the s training steps of all planned evaluations cost.

    FLOPs = 3 x forward FLOPs per token x tokens of the s steps, summed over the evaluations. The forward FLOPs are
    `operations` at the training length. If not all planned candidates are evaluated, the costliest are counted.
    Seconds = FLOPs / (`EFFICIENCY` x the machine's FLOP/s). Not counted: loading T and its states of the text,
    cutting and healing, the readout, the measurement on held-out text.

    Args:
        space: the search space.
        planned: see `fsp.search.planning.plan`.
        steps: s.
        batch: sequences per step.
        length: tokens per sequence.
        gflops: of this machine, see `achieved_gflops`.
        again: how many candidates are trained longer; the costliest are counted.
        longer: factor on their steps.

    Example:
        >>> from fsp.search.planning import plan
        >>> from fsp.spaces.loading import load_space
        >>> space = load_space("bert_large")
        >>> cost = training_cost(space, plan(space, interval=50), steps=16, batch=16, length=64, gflops=50.0)
        >>> cost.evaluations, f"{cost.flops:.2e}", round(cost.seconds)
        (6, '1.88e+13', 750)
    """
    points = planned.table[list(space.names)].to_numpy()
    passes = np.sort(operations(space, points, batch=batch, length=length))[::-1]
    trained = planned.seeds * sum(int(passes[:count].sum()) for count in (planned.candidates, planned.again))
    flops = _PASSES * (steps * trained + longer * max(1, steps) * int(passes[:again].sum()))
    evaluations = planned.seeds * (planned.candidates + planned.again) + len(passes[:again])
    return Cost(evaluations, flops, flops / (EFFICIENCY * gflops * 1e9), gflops)


def achieved_gflops() -> float:
    """Return the GFLOP/s of a float32 matrix product in torch with its current threads; takes about a second.

    Example:
        >>> achieved_gflops() > 0
        True
    """
    import torch

    left, right = torch.ones(2, _SIDE, _SIDE)
    left @ right  # the first product starts the threads
    products, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < _TIMED or not products:
        left @ right
        products += 1
    return products * 2 * _SIDE**3 / elapsed / 1e9
