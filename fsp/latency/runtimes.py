"""The runtimes a network is timed in: each turns it into a call without arguments."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fsp.errors import InputError, RunFailed
from fsp.latency.rounds import Call
from fsp.latency.targets import Loaded

if TYPE_CHECKING:
    from torch import Tensor

RUNTIMES = {
    "eager": "torch eager, float32",
    "compile": "torch.compile (inductor), float32",
    "onnx": "ONNX Runtime, float32",
    "int8": "ONNX Runtime, int8 weights, activations quantised as they come",
    "cuda": "torch eager on CUDA, float32",
}


def check_runtimes(names: list[str]) -> None:
    """Raise InputError where a runtime is unknown, named twice or not on this machine."""
    import torch

    for k, name in enumerate(names):
        if name not in RUNTIMES:
            raise InputError(f"no runtime {name!r}; there are {', '.join(RUNTIMES)}")
        if name in names[:k]:
            raise InputError(f"runtime {name} is named twice")
    if "cuda" in names and not torch.cuda.is_available():
        raise InputError("there is no CUDA device; leave out --runtime cuda")
    if {"onnx", "int8"} & set(names):
        from fsp.onnx_graph import require_onnx

        require_onnx()


def call_in(runtime: str, loaded: Loaded | None, inputs: "dict[str, Tensor]", path: Path | None) -> Call:
    """Return a call that runs the network once.

    Threads are torch's, in all runtimes on the CPU.

    Args:
        runtime: one of `RUNTIMES`.
        loaded: the network; not needed by ONNX Runtime.
        inputs: of `Loaded.inputs`.
        path: the network's ONNX file, for ONNX Runtime.
    """
    import torch

    if runtime in ("onnx", "int8"):
        assert path is not None
        return _onnx_call(inputs, path)
    assert loaded is not None
    network = loaded.network
    if runtime == "cuda":
        network = network.to("cuda")
        moved = {name: tensor.to("cuda") for name, tensor in inputs.items()}

        def on_cuda() -> None:
            with torch.inference_mode():
                network(**moved)
                torch.cuda.synchronize()

        return on_cuda
    run: Callable[..., object] = network
    if runtime == "compile":
        run = torch.compile(network, dynamic=False)
        with torch.inference_mode():
            try:
                run(**inputs)
            except Exception as error:  # the compiler raises many kinds, e.g. where there is no C++ compiler
                reason = " ".join(str(error).split())[:160]
                raise RunFailed(f"torch cannot compile the network: {type(error).__name__}: {reason}") from None

    def call() -> None:
        with torch.inference_mode():
            run(**inputs)

    return call


def _onnx_call(inputs: "dict[str, Tensor]", path: Path) -> Call:
    import torch

    from fsp.exporting import session

    exported = session(path)
    tokens = inputs["input_ids"]
    of_name = {
        "input_ids": tokens,
        "attention_mask": torch.ones_like(tokens),
        "token_type_ids": torch.zeros_like(tokens),
    }
    feed = {node.name: of_name[node.name].numpy() for node in exported.get_inputs()}
    return lambda: exported.run(None, feed)
