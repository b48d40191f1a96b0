"""The user's own samples, on which classifiers of text, images or vectors are compared with T."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.distillation.arrays import is_number, read_arrays
from fsp.distillation.images import Images, Process, find_images
from fsp.distillation.labels import in_order, numbered
from fsp.distillation.text.labelled import read_labelled
from fsp.distillation.text.near_copies import normalised
from fsp.distillation.text.reading import files_in

LEAST = 64  # samples in all
_TENTHS = (8, 1, 1)  # of the samples in train, validation and test

Inputs = list[str] | NDArray[np.float32] | Images
Kind = Literal["text", "images", "arrays"]


@dataclass(frozen=True)
class Part:
    """Some samples.

    Attributes:
        inputs: texts, numbers in float32 (`n x ...`), or images. A slice of images is such an array, decoded on demand.
        labels: numbers of T's classes, `(n,)`; None if unknown.
    """

    inputs: Inputs
    labels: NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Samples:
    """Samples in three parts; equal samples are in the same part, and their order in the files makes no difference.

    Attributes:
        train: samples for training steps and for fitting readouts.
        validation: samples on which the search measures the error.
        test: samples for the final measurement only.
        digest: short digest of the samples, their labels and the split.
    """

    train: Part
    validation: Part
    test: Part
    digest: str

    @classmethod
    def of(
        cls,
        inputs: Sequence[str] | NDArray[Any] | Images,
        labels: Sequence[str | int] | NDArray[np.integer[Any]] | None = None,
        *,
        label_ids: Mapping[str, int] | None = None,
        classes: int | None = None,
    ) -> "Samples":
        """Check samples and split them: 80% train, 10% validation, 10% test, by a hash of each sample.

        Args:
            inputs: texts, float or uint8 numbers (`n x ...`, used as they are, without scaling), or images.
            labels: names or numbers of T's classes; None if unknown.
            label_ids: numbers of T's classes by name; None if they have no names.
            classes: number of T's classes; None if unknown.

        Raises:
            InputError: there are fewer than 64 samples, or no different ones for a part; an input is not finite; a
                label is not one of T's classes; a class has a single sample; or there are not as many labels as inputs.

        Example:
            >>> samples = Samples.of([f"text {i}" for i in range(100)], [i % 2 for i in range(100)], classes=2)
            >>> len(samples.train), len(samples.validation), len(samples.test)
            (75, 10, 15)
        """
        if len(inputs) < LEAST:
            raise InputError(f"too few samples ({len(inputs)}); give at least {LEAST}")
        if labels is not None and len(labels) != len(inputs):
            raise InputError(f"there are {len(labels)} labels for {len(inputs)} samples; give one per sample")
        numbers = None if labels is None else numbered(list(labels), label_ids, classes)
        checked = _checked(inputs)
        contents = _contents(checked)
        tenths = [int.from_bytes(key[:8], "big") % sum(_TENTHS) for key in _keys(checked, contents)]
        part = np.searchsorted(np.cumsum(_TENTHS), tenths, side="right")
        marks = [-1] * len(contents) if numbers is None else numbers.tolist()
        order = sorted(range(len(contents)), key=lambda row: (part[row], contents[row], marks[row]))
        whole, parts = hashlib.sha256(), {}
        for number, name in enumerate(("train", "validation", "test")):
            rows = [row for row in order if part[row] == number]
            if not rows:
                raise InputError(
                    f"no sample is left for {name}: {len(set(contents))} of {len(contents)} samples differ; "
                    "give more different ones"
                )
            parts[name] = Part(_taken(checked, rows), None if numbers is None else numbers[rows])
            whole.update(repr([(contents[row].hex(), marks[row]) for row in rows]).encode())
        return cls(**parts, digest=whole.hexdigest()[:16])


def read_samples(
    paths: Sequence[str | Path],
    *,
    kind: Kind,
    column: str | None = None,
    label_column: str | None = None,
    shape: tuple[int, ...] | None = None,
    process: Process | None = None,
    label_ids: Mapping[str, int] | None = None,
    classes: int | None = None,
) -> Samples:
    """Read samples from files and folders.

    Args:
        paths: files with rows (see `fsp.distillation.text.rows`) or folders of them; folders of images, or of one
            folder of images per class; or .npz files.
        kind: what they hold.
        column: the column of text; None for `text`, else the only column of strings that are not labels.
        label_column: the column of labels; None for `label` or `labels` if a file has one.
        shape: shape of one input that T takes; for images channels, height and width.
        process: prepares images as T's image processor does; needed for images alone.
        label_ids: numbers of T's classes by name. If they have no names, folders of images are numbered alphabetically.
        classes: number of T's classes; None if unknown.

    Raises:
        InputError: a file cannot be read or has not what is needed, only some files have labels, or `Samples.of` does
            not take the samples.
    """
    places = [Path(path) for path in paths]
    if kind == "text":
        files = [file for path in places for file in (files_in(path) if path.is_dir() else [path])]
        texts, labels = _joined(files, [read_labelled(file, column, label_column) for file in files])
        return Samples.of([text for found in texts for text in found], labels, label_ids=label_ids, classes=classes)
    if kind == "arrays":
        arrays, labels = _joined(places, [read_arrays(path, shape) for path in places])
        if len({values.shape[1:] for values in arrays}) > 1:
            raise InputError(f"the inputs of {', '.join(map(str, places))} differ in shape; give inputs of one shape")
        return Samples.of(np.concatenate(arrays), labels, label_ids=label_ids, classes=classes)
    assert process is not None
    found, labels = _joined(places, [find_images(path) for path in places])
    images = Images(tuple(path for files in found for path in files), process, shape)
    names = None if labels is None else in_order(labels, label_ids, classes)
    return Samples.of(images, labels, label_ids=names, classes=classes)


def _joined(paths: Sequence[Path], found: Sequence[tuple[Any, Any]]) -> tuple[list[Any], list[Any] | None]:
    """Return the inputs of each path, and the labels of all; a path without inputs counts for nothing."""
    held = [(path, inputs, labels) for path, (inputs, labels) in zip(paths, found, strict=True) if len(inputs)]
    without = [path for path, _, labels in held if labels is None]
    if not held:
        raise InputError(f"{', '.join(map(str, paths))}: there are no samples; give at least {LEAST}")
    if without and len(without) < len(held):
        labelled = next(path for path, _, labels in held if labels is not None)
        raise InputError(f"{labelled} has labels, and {without[0]} has none; give labels in all of them or in none")
    return [inputs for _, inputs, _ in held], None if without else [one for *_, labels in held for one in labels]


def _checked(inputs: Sequence[str] | NDArray[Any] | Images) -> Inputs:
    """Return inputs as they are kept. Raises InputError if they are neither texts nor images nor finite numbers."""
    if isinstance(inputs, Images):
        return inputs
    if not isinstance(inputs, np.ndarray):
        return list(inputs)
    if not is_number(inputs.dtype):
        raise InputError(f"the inputs are {inputs.dtype}; convert them to float32")
    with np.errstate(over="ignore"):
        values = inputs.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
    if len(bad):
        raise InputError(
            f"{len(bad)} of {len(values)} samples, the first in row {bad[0]} (from 0), have values that are not finite "
            "in float32; mend or remove them"
        )
    return values


def _contents(inputs: Inputs) -> list[bytes]:
    if isinstance(inputs, Images):
        return inputs.contents()
    if isinstance(inputs, list):
        return [hashlib.sha256(text.encode()).digest() for text in inputs]
    return [hashlib.sha256((row + np.float32(0)).tobytes()).digest() for row in inputs]  # -0.0 + 0.0 is 0.0


def _keys(inputs: Inputs, contents: list[bytes]) -> list[bytes]:
    """Return what decides on the part of each sample: its content, for texts without case and white space."""
    if not isinstance(inputs, list):
        return contents
    return [hashlib.sha256(normalised([text]).encode()).digest() for text in inputs]


def _taken(inputs: Inputs, rows: list[int]) -> Inputs:
    if isinstance(inputs, Images):
        return inputs.take(rows)
    return [inputs[row] for row in rows] if isinstance(inputs, list) else inputs[rows]
