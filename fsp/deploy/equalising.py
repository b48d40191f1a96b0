"""Scaling the channels of activations to similar ranges before quantisation.

An activation is quantised with one scale for all its channels. In trained encoders one channel of a layer norm, or of
an intermediate state, is ten times as large as the others, which are then rounded to a few steps. A product x W equals
(x / s)(s W) for any s > 0; with s = r ** 0.75, r the largest value of a channel, both factors lose little.

Source: Xiao et al., SmoothQuant (arXiv 2211.10438), equation 4, without its denominator: weights here have one scale
per column, which a row of large weights hardly changes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx_ir

EXPONENT = 0.75  # between 0 and 1; this value gives the products of all-MiniLM-L6-v2 the least error
_LEAST_SHARE = 1e-3  # least range as a share of the largest, as a channel that is always 0 has no range
Batch = Mapping[str, NDArray[np.int64]]


def equalise(
    model: "onnx_ir.Model", products: "Sequence[onnx_ir.Node]", batches: Sequence[Batch], scratch: Path
) -> None:
    """Scale the channels of products' inputs, and the weights inversely, so that the products do not change.

    Args:
        model: the graph; changed in place.
        products: nodes of the graph; the first input is `... x n` in float32, the second the weight, `n x m`.
        batches: typical inputs of the model by name, on which the ranges are measured.
        scratch: a file that may be written.
    """
    import onnx_ir as ir

    ranges = _ranges(model, [node.inputs[0] for node in products if node.inputs[0] is not None], batches, scratch)
    for node in products:
        given, weight = node.inputs[0], node.inputs[1]
        assert given is not None
        assert weight is not None
        assert weight.const_value is not None
        scale = ranges[given.name or ""] ** EXPONENT
        inverse = ir.Value(name=f"{node.name}_scale", const_value=ir.tensor((1 / scale).astype(np.float32)))
        scaled = ir.Value(
            name=f"{node.name}_weight",
            const_value=ir.tensor((weight.const_value.numpy() * scale[:, None]).astype(np.float32)),
        )
        for value in (inverse, scaled):
            model.graph.register_initializer(value)
        even = ir.node("Mul", [given, inverse], name=f"{node.name}_even")
        model.graph.insert_before(node, even)
        node.replace_input_with(0, even.outputs[0])
        node.replace_input_with(1, scaled)


def _ranges(
    model: "onnx_ir.Model", values: "Sequence[onnx_ir.Value]", batches: Sequence[Batch], scratch: Path
) -> dict[str, NDArray[np.float32]]:
    """Return the largest absolute value of each channel over batches, `(n,)`, by the value's name."""
    import onnx_ir as ir
    import onnxruntime

    outputs = list(model.graph.outputs)
    seen = list({value.name: value for value in values}.values())
    for value in seen:
        value.type = value.type or ir.TensorType(ir.DataType.FLOAT)
    model.graph.outputs.extend(value for value in seen if value not in outputs)
    try:
        ir.save(model, scratch)
    finally:
        del model.graph.outputs[len(outputs) :]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(scratch, options, providers=["CPUExecutionProvider"])
    names = [value.name or "" for value in seen]
    ranges: dict[str, NDArray[np.float32]] = {}
    for batch in batches:
        for name, found in zip(names, session.run(names, dict(batch)), strict=True):
            largest = np.abs(found).reshape(-1, found.shape[-1]).max(axis=0)
            ranges[name] = np.maximum(largest, ranges.get(name, 0))
    tiny = np.finfo(np.float32).tiny
    return {name: np.maximum(found, max(found.max() * _LEAST_SHARE, tiny)) for name, found in ranges.items()}
