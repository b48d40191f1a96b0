"""Peak memory of one network in one runtime, measured in a process of its own."""

import importlib
import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fsp.base.device import Device
from fsp.base.errors import RunFailed
from fsp.deploy.latency.runtimes import ON_CPU, call_in
from fsp.deploy.latency.settings import MeasurementSettings
from fsp.families.family import Family

_CALLS = 3


def peak_memory(
    words: Sequence[str], runtime: str, settings: MeasurementSettings, *, threads: int, path: Path | None
) -> dict[str, float]:
    """Return the memory, in megabytes (10^6 bytes), of a process that loads a network and runs it three times.

    Args:
        words: the network, as `fsp.deploy.latency.targets.parse_targets` reads it.
        runtime: one of `fsp.deploy.latency.runtimes.RUNTIMES`.
        settings: size of the input, device and numbers.
        threads: processor threads.
        path: the ONNX file, for ONNX Runtime.

    Returns:
        `peak`: the peak of the whole process, including libraries. `network`: the part added after the libraries were
        loaded: weights, activations, and the memory for building or reading the network. On CUDA both are of the
        device: the most that torch reserved, and the most that tensors used of it.

    Raises:
        RunFailed: the process ended with an error.
    """
    asked = {"words": list(words), "runtime": runtime, "threads": threads, "path": str(path) if path else None}
    asked |= {name: getattr(settings, name) for name in ("batch", "length", "device", "dtype")}
    command = [sys.executable, "-m", "fsp.deploy.latency.memory", json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RunFailed(f"measuring the memory of {words[-1]} in {runtime} failed: {last[:200]}")
    return json.loads(done.stdout)


def _measure(settings: dict[str, Any]) -> dict[str, float]:
    """Load and run a network in this process, and return the memory of this process."""
    runtime, path = settings["runtime"], settings["path"]
    if runtime in ON_CPU:
        import numpy as np
        import onnxruntime

        before = _peak()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = settings["threads"]
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        batch, length = settings["batch"], settings["length"]
        feed = {
            node.name: np.ones((batch, length), np.int64)
            if node.type == "tensor(int64)"
            else np.ones((batch, *node.shape[1:]), np.float32)
            for node in session.get_inputs()
        }
        for _ in range(_CALLS):
            session.run(None, feed)
    else:
        import torch

        import fsp.deploy.serving  # noqa: F401
        from fsp.deploy.latency.targets import parse_targets

        torch.set_num_threads(settings["threads"])
        device = Device.chosen(settings["device"], settings["dtype"])
        (target,) = parse_targets(settings["words"])
        _import_models(target.family)
        before = _peak()
        loaded = target.load()
        call = call_in(runtime, loaded, loaded.inputs(settings["batch"], settings["length"]), None, device)
        for _ in range(_CALLS):
            call()
        if device.name.startswith("cuda"):
            most = torch.cuda.max_memory_reserved(device.torch), torch.cuda.max_memory_allocated(device.torch)
            return {"peak": most[0] / 1e6, "network": most[1] / 1e6}
    peak = _peak()
    return {"peak": peak, "network": peak - before}


def _import_models(family: Family) -> None:
    """Import transformers' code of a family's networks: a library, not part of the network."""
    for kind in family.MODEL_TYPES:
        name = kind.replace("-", "_")
        with suppress(ImportError):
            importlib.import_module(f"transformers.models.{name}.modeling_{name}")


def _peak() -> float:
    try:  # not `ru_maxrss`, which starts at the peak of the parent process
        with open("/proc/self/status", encoding="ascii") as file:
            kilobytes = next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
        return kilobytes * 1024 / 1e6
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on a Mac, where there is no /proc


if __name__ == "__main__":
    print(json.dumps(_measure(json.loads(sys.argv[1]))))
