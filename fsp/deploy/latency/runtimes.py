"""The runtimes in which a network is timed: each turns it into a call without arguments."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fsp.base.errors import InputError, RunFailed
from fsp.deploy.latency.rounds import Call
from fsp.deploy.latency.targets import Loaded

if TYPE_CHECKING:
    from torch import Tensor, nn

_NETWORKS = 1 << 14  # the most that torch.compile may keep; all of them share the code of one `forward`
RUNTIMES = {
    "eager": "torch eager, float32",
    "compile": "torch.compile (inductor), float32",
    "onnx": "ONNX Runtime, float32",
    "int8": "ONNX Runtime, int8 weights, activations quantised as they come",
    "cuda": "torch eager on CUDA, float32",
}


def check_runtimes(names: list[str]) -> None:
    """Raise InputError if a runtime is unknown, named twice or not available on this machine."""
    import torch

    for k, name in enumerate(names):
        if name not in RUNTIMES:
            raise InputError(f"no runtime {name!r}; there are {', '.join(RUNTIMES)}")
        if name in names[:k]:
            raise InputError(f"runtime {name} is named twice")
    if "cuda" in names and not torch.cuda.is_available():
        raise InputError("there is no CUDA device; leave out --runtime cuda")
    if {"onnx", "int8"} & set(names):
        from fsp.deploy.onnx_graph import require_onnx

        require_onnx()


def call_in(runtime: str, loaded: Loaded | None, inputs: "dict[str, Tensor]", path: Path | None) -> Call:
    """Return a call that runs the network once.

    All runtimes on the CPU use as many threads as torch is set to.

    Args:
        runtime: one of `RUNTIMES`.
        loaded: the network; not needed by ONNX Runtime.
        inputs: the result of `Loaded.inputs`.
        path: the network's ONNX file, for ONNX Runtime.
    """
    import torch

    if runtime in ("onnx", "int8"):
        assert path is not None
        return _onnx_call(inputs, path)
    assert loaded is not None
    if runtime == "cuda":
        return _call_on("cuda", loaded.network, inputs, torch.cuda.synchronize)
    if runtime == "compile":
        return _compiled_call(loaded.network, inputs)
    return _call(loaded.network, inputs)


def _call(run: Callable[..., object], inputs: "dict[str, Tensor]") -> Call:
    import torch

    def call() -> None:
        with torch.inference_mode():
            run(**inputs)

    return call


def _call_on(device: str, network: "nn.Module", inputs: "dict[str, Tensor]", wait: Call) -> Call:
    """Return a call of a copy on another device, as the network itself may also be timed on its own device."""
    run = _call(copy.deepcopy(network).to(device), {name: tensor.to(device) for name, tensor in inputs.items()})

    def call() -> None:
        run()
        wait()

    return call


def _compiled_call(network: "nn.Module", inputs: "dict[str, Tensor]") -> Call:
    """Return a call of the compiled network. Raises RunFailed if torch would run it uncompiled instead."""
    import torch

    call = _call(torch.compile(network, dynamic=False), inputs)
    limits = {"recompile_limit": _NETWORKS, "accumulated_recompile_limit": _NETWORKS}
    with torch._dynamo.config.patch({**limits, "fail_on_recompile_limit_hit": True}):
        try:
            call()
        except Exception as error:  # the compiler raises many types, e.g. if there is no C++ compiler
            reason = " ".join(str(error).split())[:160]
            raise RunFailed(f"torch cannot compile the network: {type(error).__name__}: {reason}") from None
    return call


def _onnx_call(inputs: "dict[str, Tensor]", path: Path) -> Call:
    import torch

    from fsp.deploy.exporting import session

    exported = session(path)
    tokens = inputs["input_ids"]
    of_name = {
        "input_ids": tokens,
        "attention_mask": torch.ones_like(tokens),
        "token_type_ids": torch.zeros_like(tokens),
    }
    feed = {node.name: of_name[node.name].numpy() for node in exported.get_inputs()}
    return lambda: exported.run(None, feed)
