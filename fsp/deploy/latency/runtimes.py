"""The runtimes in which a network is timed: each turns it into a call without arguments."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsp.base.device import Device
from fsp.base.errors import InputError, RunFailed
from fsp.deploy.latency.rounds import Call
from fsp.deploy.latency.targets import Loaded

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from torch import Tensor, nn

_NETWORKS = 1 << 14  # the most that torch.compile may keep; all of them share the code of one `forward`
RUNTIMES = {
    "eager": "torch eager",
    "compile": "torch.compile (inductor)",
    "onnx": "ONNX Runtime, float32",
    "int8": "ONNX Runtime, int8 weights, activations quantised as they come",
}
ON_CPU = ("onnx", "int8")
"""The runtimes that run on the CPU whatever the device, in numbers of their own."""


def check_runtimes(names: list[str]) -> None:
    """Raise InputError if a runtime is unknown, named twice or not available on this machine."""
    for k, name in enumerate(names):
        if name not in RUNTIMES:
            hint = "; a GPU is named by --device cuda" if name == "cuda" else ""
            raise InputError(f"no runtime {name!r}; there are {', '.join(RUNTIMES)}{hint}")
        if name in names[:k]:
            raise InputError(f"runtime {name} is named twice")
    if set(ON_CPU) & set(names):
        from fsp.deploy.onnx_graph import require_onnx

        require_onnx()


def call_in(
    runtime: str,
    loaded: Loaded | None,
    inputs: "dict[str, Tensor]",
    path: Path | None,
    device: Device | None = None,
) -> Call:
    """Return a call that runs the network once, and ends when it has run.

    All runtimes on the CPU use as many threads as torch is set to.

    Args:
        runtime: one of `RUNTIMES`.
        loaded: the network; not needed by ONNX Runtime. It is moved to the device, and its weights into the device's
            type of numbers.
        inputs: the result of `Loaded.inputs`.
        path: the network's ONNX file, for ONNX Runtime.
        device: for torch's runtimes; None for the CPU.
    """
    if runtime in ON_CPU:
        assert path is not None
        return _onnx_call(inputs, path)
    assert loaded is not None
    place = device or Device()
    network, placed = _placed(loaded.network, inputs, place)
    call = _compiled_call(network, placed) if runtime == "compile" else _call(network, placed)
    return place.finished(call)


def _placed(network: "nn.Module", inputs: "dict[str, Tensor]", device: Device) -> "tuple[nn.Module, dict[str, Tensor]]":
    """Return a network and inputs on a device and in its type of numbers; token ids stay whole numbers."""
    import torch

    kind = getattr(torch, device.dtype)
    placed = {
        name: value.to(device.torch, kind if value.is_floating_point() else None) for name, value in inputs.items()
    }
    return network.to(device.torch, kind), placed


def _call(run: Callable[..., object], inputs: "dict[str, Tensor]") -> Call:
    import torch

    def call() -> None:
        with torch.inference_mode():
            run(**inputs)

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
    from fsp.deploy.exporting import session

    exported = session(path)
    feed = feed_of(exported, inputs)
    return lambda: exported.run(None, feed)


def feed_of(exported: "InferenceSession", inputs: "Mapping[str, Tensor]") -> dict[str, Any]:
    """Return what an exported network takes of inputs; what they lack of masks and types is made."""
    import torch

    first = next(iter(inputs.values()))
    given = {"attention_mask": torch.ones_like(first), "token_type_ids": torch.zeros_like(first), **inputs}
    return {node.name: given[node.name].cpu().numpy() for node in exported.get_inputs()}
