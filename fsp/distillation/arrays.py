"""Inputs and labels in files of NumPy arrays, read without ever running what they hold."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError

LABELS = ("labels", "label", "y")


def is_number(kind: np.dtype[Any]) -> bool:
    """Return whether values of this type can be inputs: floating-point numbers, or bytes."""
    return kind.kind == "f" or kind == np.uint8


def read_arrays(path: Path, shape: tuple[int, ...] | None = None) -> tuple[NDArray[Any], list[int] | None]:
    """Return the inputs in an .npz file, `n x shape`, and the labels in its array `labels`, `label` or `y`, if any.

    Args:
        path: the file.
        shape: shape of one input; None for any.

    Raises:
        InputError: the file cannot be read, holds anything but plain values, has not exactly one array of inputs of
            this shape, or its labels are not one integer per input.
    """
    arrays = _read(path)
    found = [name for name, values in arrays.items() if name not in LABELS and _fits(values, shape)]
    if len(found) != 1:
        wanted = "several numbers" if shape is None else f"{_times(shape)} numbers"
        held = ", ".join(f"{name} {values.dtype} {_times(values.shape)}" for name, values in arrays.items()) or "none"
        many = f"{len(found)} arrays" if found else "no array"
        raise InputError(f"{path} has {many} of n x {wanted} in float or uint8 (it has: {held}); save exactly one")
    inputs = arrays[found[0]]
    given = [name for name in LABELS if name in arrays]
    if len(given) > 1:
        raise InputError(f"{path} has the labels {' and '.join(given)}; save one of them")
    if not given:
        return inputs, None
    labels = arrays[given[0]]
    if labels.dtype.kind not in "iu" or labels.shape != (len(inputs),):
        raise InputError(
            f"{path}: {given[0]} must be {len(inputs)} integers, one per input, not {labels.dtype} "
            f"{_times(labels.shape)}; convert it or leave it out"
        )
    return inputs, labels.tolist()


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is not an .npz file; save arrays with numpy.savez")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except Exception as problem:  # a damaged archive leads to errors of zipfile, zlib and numpy
        if "allow_pickle" in str(problem):
            raise InputError(f"{path} holds Python objects, which are never loaded; save plain numbers") from None
        detail = " ".join(str(problem).split())[:100] or "it ends too early"
        raise InputError(f"cannot read {path} ({detail}); save it again") from None
    return {name: values for name, values in found.items() if isinstance(values, np.ndarray)}


def _fits(values: NDArray[Any], shape: tuple[int, ...] | None) -> bool:
    return is_number(values.dtype) and (values.ndim > 1 if shape is None else values.shape[1:] == tuple(shape))


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one value"
