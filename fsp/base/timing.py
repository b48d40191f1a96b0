"""Latency of networks, measured side by side, and the environment it was measured in."""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fsp.base.progress import Advance


@dataclass(frozen=True)
class Latency:
    """Milliseconds per call.

    Attributes:
        median_ms: median over the calls.
        lower_quartile_ms: 25% quantile over the calls.
        upper_quartile_ms: 75% quantile over the calls.
        repeats: number of calls.
    """

    median_ms: float
    lower_quartile_ms: float
    upper_quartile_ms: float
    repeats: int


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 60,
    warmup: int = 5,
    advance: Advance = lambda amount: None,
) -> dict[str, Latency]:
    """Time several calls in turn, so that a change of the machine's speed affects all of them alike.

    Every round runs each call once, starting with a different one each time.

    Args:
        calls: the functions to time, by name; nothing else is inside the timed region.
        repeats: timed rounds.
        warmup: untimed rounds before them.
        advance: called with 1 after every round.

    Example:
        >>> sorted(interleaved({"sum": lambda: sum(range(10))}, repeats=3))
        ['sum']
    """
    names = list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for repeat in range(-warmup, repeats):
        first = repeat % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            calls[name]()
            if repeat >= 0:
                seconds[name].append(time.perf_counter() - start)
        advance(1)
    result = {}
    for name, times in seconds.items():
        lower, median, upper = (1000 * np.percentile(times, [25, 50, 75])).tolist()
        result[name] = Latency(median, lower, upper, repeats)
    return result


def environment() -> dict[str, Any]:
    """Return the environment that a latency depends on: processor, threads, versions."""
    import torch
    import transformers

    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "runtime": f"torch {torch.__version__} eager, float32",
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
