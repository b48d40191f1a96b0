"""Measuring the latencies that a calibration is fitted to and judged by."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.base.fingerprint import fingerprint
from fsp.base.machine import processors
from fsp.base.progress import Advance, Progress
from fsp.deploy.latency.rounds import time_rounds
from fsp.deploy.latency.runtimes import call_in
from fsp.deploy.latency.settings import CalibrationSettings
from fsp.deploy.latency.targets import Target
from fsp.families.architecture import Architecture
from fsp.objectives.counts import operations
from fsp.objectives.latency import Calibration, Timed, design, fit
from fsp.spaces.space import SearchSpace

_GROUP = 6  # networks in memory at a time, besides the reference
_WARMUP = 1


def calibrate(
    space: SearchSpace, settings: CalibrationSettings | None = None, *, display: Progress | None = None
) -> Calibration:
    """Return a predictor of the latency of every candidate of a space, in torch eager, float32.

    Args:
        space: the search space.
        settings: what to time; T is timed with the fitted candidates, and each held-out one twice, far apart in time.
        display: shows progress.

    Raises:
        InputError: the space has no depth or too few candidates.
    """
    import torch

    settings = settings or CalibrationSettings()
    batch, length, rounds, held_out = settings.batch, settings.length, settings.rounds, settings.held_out
    torch.set_num_threads(settings.threads or processors())
    points = space.candidates
    cost = operations(space, points, batch=batch, length=length).astype(np.float64)
    rows = design(space, cost, settings.share)
    others = np.setdiff1d(np.arange(len(points)), rows)
    if len(others) < held_out:
        raise InputError(f"{len(others)} candidates are left to judge the prediction by; ask for fewer than {held_out}")
    judged = np.random.default_rng(settings.seed).choice(others, held_out, replace=False)
    reference = points[rows[int(np.argsort(cost[rows])[len(rows) // 2])]]
    maximum = space.point(space.maximum)
    groups = sum(math.ceil(n / _GROUP) for n in (len(rows) + 1, held_out, held_out))
    with (display or Progress()).bar("measuring candidates", groups) as advance:

        def times(wanted: NDArray[np.int64]) -> NDArray[np.float64]:
            return relative_times(space, wanted, reference, batch=batch, length=length, rounds=rounds, advance=advance)

        first = times(points[judged])  # the two passes over held-out candidates are as far apart as possible
        learned = times(np.concatenate([points[rows], maximum]))
        second = times(points[judged])
    unit = reference_time(space, reference, batch=batch, length=length, rounds=2 * rounds)
    fitted, maximum_ms = Timed(points[rows], unit * learned[:-1]), unit * float(learned[-1])
    law = fit(space, fitted)
    predicted = law(points.astype(np.float64))
    return Calibration(
        space.names,
        law,
        maximum_ms,
        fitted,
        Timed(points[judged], unit * (first + second) / 2),
        float((np.abs(first - second) / ((first + second) / 2)).mean()),
        float((fitted.milliseconds.sum() + maximum_ms) / predicted.sum()),
        {"space": space.name, "batch": batch, "length": length, "threads": torch.get_num_threads(), "rounds": rounds},
        fingerprint(),
    )


def relative_times(
    space: SearchSpace,
    points: NDArray[np.int64],
    reference: NDArray[np.int64],
    *,
    batch: int,
    length: int,
    rounds: int,
    advance: Advance = lambda amount: None,
) -> NDArray[np.float64]:
    """Return latencies as multiples of a reference network's, `(n,)`.

    Networks are timed in groups that fit into memory. The reference is in every group and every round, and each
    network's time is divided by the reference's in the same round, so that slow changes of the machine cancel.

    Args:
        space: the search space.
        points: architectures, `n x d`.
        reference: one architecture, `(d,)`.
        batch: sequences.
        length: tokens of each.
        rounds: rounds per group.
        advance: called with 1 after every group.
    """
    found: list[float] = []
    for start in range(0, len(points), _GROUP):
        group = points[start : start + _GROUP]
        taken = _time(space, [reference, *group], batch, length, rounds)
        found += [float(np.median(times / taken[0])) for times in taken[1:]]
        advance(1)
    return np.array(found)


def reference_time(space: SearchSpace, reference: NDArray[np.int64], *, batch: int, length: int, rounds: int) -> float:
    """Return the median milliseconds of the reference network."""
    return float(np.median(_time(space, [reference], batch, length, rounds)[0]))


def _time(
    space: SearchSpace, points: Sequence[NDArray[np.int64]], batch: int, length: int, rounds: int
) -> list[NDArray[np.float64]]:
    """Return the milliseconds of each architecture in each round, `(rounds,)` each."""
    calls = {}
    for k, point in enumerate(points):
        shape = Architecture(dict(zip(space.names, point.tolist(), strict=True)))
        loaded = Target(str(k), (), space=space, shape=shape).load()
        calls[str(k)] = call_in("eager", loaded, loaded.inputs(batch, length), None)
    return list(time_rounds(calls, rounds=rounds, warmup=_WARMUP).values())
