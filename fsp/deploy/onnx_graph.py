"""ONNX graphs of networks: in float32 from torch's exporter, and in int8 with fused attention for ONNX Runtime.

The exporter writes attention as a dozen small operators. For int8 they are first fused into ONNX Runtime's
`Attention`, so that its products are quantised as well (`QAttention`), and channels are scaled to similar ranges.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fsp.base.errors import InputError, RunFailed
from fsp.deploy.equalising import Batch, equalise

if TYPE_CHECKING:
    import onnx_ir
    from torch import Tensor, nn

MASK = "attention_mask"
_RUNTIME_DOMAIN = "com.microsoft"
_FEWEST_ROWS = 16  # smaller embedding tables are not quantised; that of types has 2 rows
_MOST_WEIGHTS = (1 << 31) - (1 << 26)  # bytes; a protobuf file holds 2 GiB


def require_onnx() -> None:
    """Raise InputError if the packages of the extra `onnx` are not installed."""
    import importlib.util

    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f'{" and ".join(missing)} not installed, which ONNX needs; run: pip install "fsp[onnx]"')


def write_float32(
    network: "nn.Module",
    example: "Mapping[str, Tensor]",
    outputs: Sequence[str],
    axes: Mapping[int, tuple[str, int, int]],
    path: Path,
) -> None:
    """Write a network as one ONNX file of standard operators.

    Args:
        network: takes the example's tensors in order, and returns a tensor or a tuple with one tensor per output.
        example: inputs by name, of at least 2 along the axes whose sizes may vary.
        outputs: names of the outputs.
        axes: the axes of all inputs whose sizes may vary: name, least and greatest size by number.
        path: the file.

    Raises:
        InputError: the weights are too large for one file.
        RunFailed: the exporter cannot translate the network.
    """
    import onnx_ir
    import torch
    from torch.export import Dim

    size = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    if size > _MOST_WEIGHTS:
        raise InputError(f"the network has {size / 2**30:.1f} GiB of weights; one ONNX file holds 2")
    dims = {number: Dim(name, min=least, max=most) for number, (name, least, most) in axes.items()}
    with _quiet(), torch.inference_mode():
        try:
            program = torch.onnx.export(
                network,
                tuple(example.values()),
                dynamo=True,
                dynamic_shapes=tuple(dims for _ in example),
                input_names=list(example),
                output_names=list(outputs),
                verbose=False,
            )
        except Exception as error:  # the exporter raises many types
            reason = " ".join(str(error).split())[:200]
            raise RunFailed(f"torch cannot export this network: {type(error).__name__}: {reason}") from None
    if program is None:
        raise RunFailed("torch cannot export this network")
    model = program.model
    _forget_origin(model)
    onnx_ir.save(model, path)


def write_int8(float32: Path, path: Path, batches: Sequence[Batch], *, attends_to_all: bool) -> None:
    """Quantise an ONNX file of `write_float32`, with int8 weights and dynamically quantised activations.

    The result uses ONNX Runtime's own operators (`com.microsoft`). The products of token states with weights, and the
    embedding tables, are quantised with one scale per column. Layer norms, softmax and operations once per text (a
    readout, the head of a classifier) stay float32: they take hardly any time, and their errors would not average out.

    Args:
        float32: the file to quantise.
        path: the file to write.
        batches: typical inputs by name, on which the ranges of channels are measured.
        attends_to_all: whether every token attends to all others; not so where tokens see earlier or near ones alone.

    Raises:
        RunFailed: ONNX Runtime cannot run the quantised network.
    """
    import onnx_ir
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxscript import optimizer
    from onnxscript.rewriter.ort_fusions import optimize_for_ort

    fused = path.with_name(f"fused-{path.name}")
    with _quiet():
        model, _ = optimize_for_ort(onnx_ir.load(float32))
        optimizer.fold_constants(model, input_size_limit=_MOST_WEIGHTS, output_size_limit=_MOST_WEIGHTS)
        if attends_to_all:
            _mask_by_index(model.graph)
        optimizer.remove_unused_nodes(model)
        products = [node for node in model.graph if _is_product_of_tokens(node)]
        try:
            equalise(model, [node for node in products if not _reads_attention(node)], batches, fused)
            _quantise_tables(model.graph)
            optimizer.remove_unused_nodes(model)
            _forget_origin(model)
            onnx_ir.save(model, fused)
            names = [node.name or "" for node in products]
            quantize_dynamic(fused, path, weight_type=QuantType.QInt8, per_channel=True, nodes_to_quantize=names)
        except Exception as error:  # ONNX Runtime raises many types
            reason = " ".join(str(error).split())[:200]
            raise RunFailed(
                f"ONNX Runtime cannot run this network in int8: {reason}; export it without --int8"
            ) from None
        finally:
            fused.unlink(missing_ok=True)


def _is_product_of_tokens(node: "onnx_ir.Node") -> bool:
    """Return whether a node multiplies the states of tokens, not those of whole texts, by a weight."""
    if node.op_type != "MatMul" and (node.op_type, node.domain) != ("Attention", _RUNTIME_DOMAIN):
        return False
    states, weight = node.inputs[0], node.inputs[1]
    if states is None or weight is None or weight.const_value is None:
        return False
    return states.shape is None or len(states.shape) == 3


def _reads_attention(node: "onnx_ir.Node") -> bool:
    """Return whether a product's input is the output of attention: sums of many values, with similar channels."""
    producer = node.inputs[0].producer() if node.inputs[0] is not None else None
    return producer is not None and (producer.op_type, producer.domain) == ("Attention", _RUNTIME_DOMAIN)


def _quantise_tables(graph: "onnx_ir.Graph") -> None:
    """Quantise embedding tables to int8, with one scale per column."""
    import onnx_ir as ir

    for node in [node for node in graph if node.op_type == "Gather"]:
        table = node.inputs[0]
        if table is None or table.const_value is None or len(table.const_value.shape) != 2:
            continue
        weights = table.const_value.numpy()
        if len(weights) < _FEWEST_ROWS or weights.dtype != np.float32:
            continue
        scale = np.maximum(np.abs(weights).max(axis=0) / 127, np.finfo(np.float32).tiny).astype(np.float32)
        rounded = ir.Value(name=f"{table.name}_int8", const_value=ir.tensor(np.rint(weights / scale).astype(np.int8)))
        scales = ir.Value(name=f"{table.name}_scale", const_value=ir.tensor(scale))
        for value in (rounded, scales):
            graph.register_initializer(value)
        rows = ir.node("Gather", [rounded, node.inputs[1]], node.attributes, name=f"{node.name}_int8")
        found = ir.node("DequantizeLinear", [rows.outputs[0], scales], {"axis": -1}, name=f"{node.name}_float32")
        graph.insert_before(node, [rows, found])
        ir.convenience.replace_all_uses_with(node.outputs[0], found.outputs[0])
        graph.remove(node, safe=True)


def _mask_by_index(graph: "onnx_ir.Graph") -> None:
    """Give fused attention the mask of tokens instead of the `sequence x sequence` bias computed from it.

    The int8 kernel takes no bias. The attribute for the sizes of queries, keys and values is removed if they are equal,
    because the quantiser skips attention that has it.
    """
    import onnx_ir as ir

    mask = next((value for value in graph.inputs if value.name == MASK), None)
    fused = [node for node in graph if node.op_type == "Attention" and node.domain == _RUNTIME_DOMAIN]
    if mask is None or not fused:
        return
    cast = ir.node("Cast", [mask], {"to": ir.DataType.INT32}, name="mask_of_tokens")
    graph.insert_before(graph[0], cast)
    for node in fused:
        widths = node.attributes.pop("qkv_hidden_sizes", None)
        if widths is not None and len(set(widths.as_ints())) > 1:
            node.attributes["qkv_hidden_sizes"] = widths
            continue
        node.resize_inputs(4)  # state, weight, bias, mask
        node.replace_input_with(3, cast.outputs[0])


def _forget_origin(model: "onnx_ir.Model") -> None:
    """Remove the exporter's notes on the source of each operator, which include paths of this machine."""
    values: list[Any] = [*model.graph.inputs, *model.graph.initializers.values()]
    for node in model.graph:
        values += [node, *node.outputs]
    for value in [*values, model.graph, model]:
        value.metadata_props.clear()
        value.doc_string = None


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the warnings of exporter and quantiser, because a user cannot act on any of them."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
