"""Latency and peak memory of networks in several runtimes, side by side."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsp.base.defaults import LENGTH
from fsp.base.errors import InputError
from fsp.base.fingerprint import fingerprint, load
from fsp.base.machine import processors
from fsp.base.progress import Progress
from fsp.deploy.latency.memory import peak_memory
from fsp.deploy.latency.rounds import Call, median_of, ratio_of, time_rounds, told_apart
from fsp.deploy.latency.runtimes import ON_CPU, RUNTIMES, call_in, check_runtimes
from fsp.deploy.latency.settings import MeasurementSettings
from fsp.deploy.latency.targets import Loaded, Target, describe

_NOISY = 0.05  # a median that is uncertain by a larger share gives a warning


@dataclass(frozen=True)
class Measurement:
    """The measured latencies and memory of networks.

    Attributes:
        targets: the networks.
        runtimes: the runtimes in which each was timed.
        samples: milliseconds by (network, runtime), `(rounds,)` each.
        memory: megabytes by (network, runtime); empty if memory was not measured.
        settings: batch, length, threads and rounds; device and numbers of torch's runtimes.
        environment: see `fsp.base.fingerprint`.
    """

    targets: tuple[Target, ...]
    runtimes: tuple[str, ...]
    samples: dict[tuple[str, str], NDArray[np.float64]]
    memory: dict[tuple[str, str], dict[str, float]]
    settings: dict[str, Any]
    environment: dict[str, Any]

    @property
    def warnings(self) -> list[str]:
        """Warnings about noise and about differences too small to measure, one line each."""
        found = []
        asked = self.settings["device"], self.settings["dtype"]
        if asked != ("cpu", "float32") and (others := [name for name in self.runtimes if name in ON_CPU]):
            found.append(
                f"{' and '.join(others)} ran on the CPU in numbers of their own, not in {asked[1]} on {asked[0]}"
            )
        medians = {key: median_of(samples) for key, samples in self.samples.items()}
        worst = max(medians, key=lambda key: medians[key].uncertainty)
        if medians[worst].uncertainty > _NOISY:
            found.append(
                f"the machine is noisy: the median of {' in '.join(worst)} is uncertain by "
                f"{medians[worst].uncertainty:.0%}; stop other work or add --rounds"
            )
        ordered = sorted(medians, key=lambda key: medians[key].value)
        found += [
            f"{' in '.join(first)} and {' in '.join(second)} cannot be told apart"
            for first, second in pairwise(ordered)
            if not told_apart(self.samples[first], self.samples[second])
        ]
        return found

    def describe(self) -> dict[str, Any]:
        """Return the measurement as a JSON-like value.

        `median_ms` with its 95% interval `low_ms, high_ms`; `ratio`: the latency over the first entry's, round by
        round, with its interval; `samples_ms`, one per round; `peak_memory_mb` and `network_memory_mb` if memory was
        measured.
        """
        entries = []
        first = next(iter(self.samples.values()))
        for target in self.targets:
            for runtime in self.runtimes:
                samples = self.samples[target.name, runtime]
                median, ratio = median_of(samples), ratio_of(samples, first)
                entry = {
                    **describe(target),
                    "runtime": runtime,
                    "median_ms": median.value,
                    "low_ms": median.low,
                    "high_ms": median.high,
                    "ratio": ratio.value,
                    "ratio_low": ratio.low,
                    "ratio_high": ratio.high,
                    "samples_ms": [round(float(value), 4) for value in samples],
                }
                if held := self.memory.get((target.name, runtime)):
                    entry |= {"peak_memory_mb": held["peak"], "network_memory_mb": held["network"]}
                entries.append(entry)
        return {
            "latencies": entries,
            **self.settings,
            "runtimes": {name: self._told(name) for name in self.runtimes},
            "warnings": self.warnings,
            "environment": self.environment,
        }

    def _told(self, runtime: str) -> str:
        numbers = (
            ""
            if runtime in ON_CPU
            else f", {self.settings.get('dtype', 'float32')}, on {self.settings.get('device', 'cpu')}"
        )
        return RUNTIMES[runtime] + numbers


def measure(
    targets: Sequence[Target],
    runtimes: Sequence[str] = ("eager",),
    settings: MeasurementSettings | None = None,
    *,
    display: Progress | None = None,
) -> Measurement:
    """Time networks in runtimes, all of them in every round.

    The timed region holds one forward pass from inputs in the device's memory to outputs: no tokenisation, no data
    loading. Texts have no padding; torch's networks get no mask, ONNX Runtime's one that keeps all tokens. Decoders
    keep no keys and values.

    Args:
        targets: the networks; see `fsp.deploy.latency.targets.parse_targets`.
        runtimes: names in `fsp.deploy.latency.runtimes.RUNTIMES`.
        settings: what to time, and how often; peak memory is measured in a process per network.
        display: shows progress.

    Raises:
        InputError: a runtime or device is unknown or not available on this machine, a network cannot be exported, or
            packages are missing.
        RunFailed: a network cannot be exported or compiled.
    """
    import torch

    check_runtimes(list(runtimes))
    if not runtimes:
        raise InputError("name at least one runtime")
    settings, display = settings or MeasurementSettings(), display or Progress()
    batch, length, rounds, device = settings.batch, settings.length, settings.rounds, settings.place
    if settings.memory and device.torch.type == "mps":
        raise InputError("peak memory can be measured on the CPU and on CUDA; leave out --memory")
    torch.set_num_threads(settings.threads or processors())
    busy = load()
    calls: dict[tuple[str, str], Call] = {}
    held: dict[tuple[str, str], dict[str, float]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with display.bar("preparing", len(targets) * len(runtimes)) as advance:
            for k, target in enumerate(targets):
                loaded = target.load()
                inputs = loaded.inputs(batch, length)
                paths = _exported(loaded, runtimes, folder / str(k))
                for runtime in runtimes:
                    path = paths.get(runtime)
                    if settings.memory:
                        held[target.name, runtime] = peak_memory(
                            target.words, runtime, settings, threads=torch.get_num_threads(), path=path
                        )
                    calls[target.name, runtime] = call_in(runtime, loaded, inputs, path, device)
                    advance(1)
        warmup = 1  # each timed call follows an untimed one anyway
        with display.bar("measuring latency", rounds + warmup) as advance:
            samples = time_rounds(
                {" in ".join(key): call for key, call in calls.items()}, rounds=rounds, warmup=warmup, advance=advance
            )
    return Measurement(
        tuple(targets),
        tuple(runtimes),
        {key: samples[" in ".join(key)] for key in calls},
        held,
        {
            "batch": batch,
            "length": length,
            "threads": torch.get_num_threads(),
            "rounds": rounds,
            "device": device.kind,
            "dtype": device.dtype,
        },
        {**fingerprint(), "load_before": busy},
    )


def _exported(loaded: Loaded, runtimes: Sequence[str], folder: Path) -> dict[str, Path]:
    """Write the ONNX files that the runtimes need into a new folder, and return them by runtime."""
    paths = {name: folder / f"{name}.onnx" for name in ON_CPU if name in runtimes}
    if paths:
        from fsp.deploy.exporting import quantise, write_onnx
        from fsp.distillation.models.loading import longest_input

        folder.mkdir()
        serving = loaded.serving
        write_onnx(serving, folder / "onnx.onnx")
        if "int8" in paths:
            batch = serving.example(batch=1, length=min(LENGTH, longest_input(serving.network.config)))
            examples = [{name: tensor.numpy() for name, tensor in batch.items()}]
            quantise(serving, folder / "onnx.onnx", paths["int8"], examples)
    return paths
