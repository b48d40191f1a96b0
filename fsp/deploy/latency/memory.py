"""Peak memory of one network in one runtime, measured in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fsp.base.errors import RunFailed

_CALLS = 3


def peak_memory(
    words: Sequence[str], runtime: str, *, batch: int, length: int, threads: int, path: Path | None
) -> dict[str, float]:
    """Return the memory, in megabytes (10^6 bytes), of a process that loads a network and runs it three times.

    Args:
        words: the network, as `fsp.deploy.latency.targets.parse_targets` reads it.
        runtime: one of `fsp.deploy.latency.runtimes.RUNTIMES`.
        batch: sequences.
        length: tokens of each.
        threads: processor threads.
        path: the ONNX file, for ONNX Runtime.

    Returns:
        `peak`: the peak of the whole process, including libraries. `network`: the part added after the libraries were
        loaded: weights, activations, and the memory for building or reading the network. With `cuda` both are of the
        device: the most that torch reserved, and the most that tensors used of it.

    Raises:
        RunFailed: the process ended with an error.
    """
    settings = {"words": list(words), "runtime": runtime, "batch": batch, "length": length, "threads": threads}
    settings["path"] = str(path) if path else None
    command = [sys.executable, "-m", "fsp.deploy.latency.memory", json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RunFailed(f"measuring the memory of {words[-1]} in {runtime} failed: {last[:200]}")
    return json.loads(done.stdout)


def _measure(settings: dict[str, Any]) -> dict[str, float]:
    """Load and run a network in this process, and return the memory of this process."""
    runtime, path = settings["runtime"], settings["path"]
    if runtime in ("onnx", "int8"):
        import numpy as np
        import onnxruntime

        before = _peak()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = settings["threads"]
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        shape = (settings["batch"], settings["length"])
        feed = {node.name: np.ones(shape, dtype=np.int64) for node in session.get_inputs()}
        for _ in range(_CALLS):
            session.run(None, feed)
    else:
        import torch
        import transformers.models.bert.modeling_bert  # libraries, not part of the network
        import transformers.models.roberta.modeling_roberta  # noqa: F401

        import fsp.deploy.serving  # noqa: F401
        from fsp.deploy.latency.runtimes import call_in
        from fsp.deploy.latency.targets import parse_targets

        torch.set_num_threads(settings["threads"])
        before = _peak()
        loaded = parse_targets(settings["words"])[0].load()
        call = call_in(runtime, loaded, loaded.inputs(settings["batch"], settings["length"]), None)
        for _ in range(_CALLS):
            call()
        if runtime == "cuda":
            return {"peak": torch.cuda.max_memory_reserved() / 1e6, "network": torch.cuda.max_memory_allocated() / 1e6}
    peak = _peak()
    return {"peak": peak, "network": peak - before}


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
