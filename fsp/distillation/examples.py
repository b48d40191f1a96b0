"""Inputs with T's outputs for them, computed once, stored on disk and shared by all students."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from fsp.base.device import Device, in_parts
from fsp.base.errors import InputError
from fsp.base.files import check_room, digest, replacing
from fsp.base.progress import Progress

MASK = "attention_mask"
_LARGEST = float(np.finfo(np.float16).max)
_AT_ONCE = 64  # the most samples per forward pass of T

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Batch:
    """Some examples as tensors.

    Attributes:
        inputs: arguments of a forward pass, by name.
        target: T's outputs in float32; the task says which.
        sites: positions where outputs are compared, `(n, length)`; None for all.
    """

    inputs: dict[str, Tensor]
    target: Tensor
    sites: Tensor | None = None

    def __len__(self) -> int:
        return len(self.target)

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        inputs = {name: value.to(device) for name, value in self.inputs.items()}
        return Batch(inputs, self.target.to(device), None if self.sites is None else self.sites.to(device))

    def __getitem__(self, rows: slice) -> "Batch":
        inputs = {name: value[rows] for name, value in self.inputs.items()}
        return Batch(inputs, self.target[rows], None if self.sites is None else self.sites[rows])

    def divided(self, parts: int) -> "list[tuple[Batch, float]]":
        """Return the batch in at most so many parts with their shares of the sites; those without any are left out."""
        cuts = np.unique(np.ceil(np.linspace(0, len(self), parts + 1)).astype(int)).tolist()
        pieces = [self[first:last] for first, last in pairwise(cuts)]
        return [(piece, piece._weight / self._weight) for piece in pieces if piece._weight]

    @property
    def _weight(self) -> int:
        return len(self) if self.sites is None else int(self.sites.sum())


@dataclass(frozen=True)
class Examples:
    """Inputs of networks and T's outputs for them.

    Attributes:
        inputs: arguments of a forward pass by name, `n x ...`; integers in int32, numbers in float32. Texts of
            different lengths are padded on the right and come with an `attention_mask`.
        target: T's outputs, `n x ...` (float16 or float32, possibly memory-mapped); the task says which.
        sites: positions where outputs are compared, `n x length`; None for all.
        labels: what is right, `n` or `n x length`, -100 for unknown; None if nothing is known.
        most: padded positions per batch of texts of different lengths.
    """

    inputs: Arrays
    target: NDArray[Any]
    sites: NDArray[np.bool_] | None = None
    labels: NDArray[np.int64] | None = None
    most: int = 1024

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, rows: slice) -> "Examples":
        return replace(
            self,
            inputs={name: value[rows] for name, value in self.inputs.items()},
            target=self.target[rows],
            sites=None if self.sites is None else self.sites[rows],
            labels=None if self.labels is None else self.labels[rows],
        )

    @cached_property
    def lengths(self) -> NDArray[np.int64] | None:
        """Tokens of each text; None if all inputs have one size."""
        return self.inputs[MASK].sum(axis=1) if MASK in self.inputs else None

    @property
    def tokens(self) -> int:
        """Number of tokens, or of samples that are no text."""
        if self.lengths is not None:
            return int(self.lengths.sum())
        ids = self.inputs.get("input_ids")
        return len(self) if ids is None else int(ids.size)

    def take(self, rows: NDArray[np.int64]) -> Batch:
        """Return the given rows as tensors, padded to the longest of them."""
        longest = None if self.lengths is None else int(self.lengths[rows].max())
        return Batch(
            {name: _tensor(value[rows][:, :longest]) for name, value in self.inputs.items()},
            torch.from_numpy(self.target[rows].astype(np.float32)),
            None if self.sites is None else torch.from_numpy(self.sites[rows][:, :longest]),
        )

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all examples, `size` at a time in order; texts of different lengths in `groups`."""
        for rows in self.rows(size):
            yield self.take(rows)

    def rows(self, size: int) -> list[NDArray[np.int64]]:
        """Return the rows of each batch that `batches` yields."""
        if self.lengths is not None:
            return self.groups
        return [np.arange(i, min(i + size, len(self))) for i in range(0, len(self), size)]

    @cached_property
    def groups(self) -> list[NDArray[np.int64]]:
        """Rows of texts of similar lengths; no group has more than `most` padded positions, unless it has one text."""
        assert self.lengths is not None
        order = np.argsort(self.lengths, kind="stable")
        groups, start = [], 0
        for k in range(1, len(order) + 1):
            if k == len(order) or (k + 1 - start) * int(self.lengths[order[k]]) > self.most:
                groups.append(np.sort(order[start:k]))
                start = k
        return groups

    def shuffled(self, size: int, seed: int) -> Iterator[Batch]:
        """Yield batches indefinitely, each pass over the examples in a new order given by the seed.

        There must be at least `size` examples. Texts of different lengths stay in their `groups`.
        """
        order = np.random.default_rng(seed)
        while True:
            if self.lengths is not None:
                for k in order.permutation(len(self.groups)):
                    yield self.take(self.groups[k])
                continue
            rows = order.permutation(len(self))
            for i in range(0, len(rows) - size + 1, size):
                yield self.take(np.sort(rows[i : i + size]))

    @cached_property
    def digest(self) -> str:
        """Short digest of the inputs, their arrangement and the sites."""
        return digest([digest_of(self.inputs), None if self.sites is None else digest_of({"sites": self.sites})])

    def variance(self) -> float:
        """Return the variance of the targets per site, summed over the coordinates."""
        values = self.target.reshape(-1, self.target.shape[-1])
        return float(values.astype(np.float32).var(axis=0).sum())


def _tensor(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32 if values.dtype.kind == "f" else np.int64))


def digest_of(inputs: Arrays) -> str:
    """Return a short digest of arrays by name."""
    told = [
        [name, value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()]
        for name, value in inputs.items()
    ]
    return digest(told)


@dataclass(frozen=True)
class Material:
    """All that the students of one teacher are trained and measured on.

    Attributes:
        train: examples for training steps and for fitting readouts.
        validation: examples on which the search measures its error.
        test: examples for the final measurement.
        calibration: inputs without padding on which cuts are ranked and healed, as arguments of a forward pass.
        texts: held-out sentences of the test part, for figures of sentence embeddings; empty for other tasks.
    """

    train: Examples
    validation: Examples
    test: Examples
    calibration: Mapping[str, Tensor] = field(repr=False)
    texts: tuple[str, ...] = ()

    @classmethod
    def tested(cls, examples: Examples, texts: tuple[str, ...] = ()) -> "Material":
        """Return material to measure on alone."""
        return cls(examples[:0], examples[:0], examples, {}, texts)


class Outputs:
    """T's outputs, computed at most once and kept in a folder.

    Args:
        key: what outputs depend on besides the inputs: T, and which outputs.
        folder: where they are stored.
        device: where T runs.
        display: shows progress.
    """

    def __init__(self, key: str, folder: Path, device: Device, display: Progress):
        self._key, self._folder, self._device, self._display = key, folder, device, display

    def path(self, inputs: Arrays, *, training: bool = False) -> Path:
        """Return the file of the outputs for given inputs."""
        numbers = self._device.training if training else self._device.dtype
        return self._folder / f"outputs-{digest([self._key, numbers, digest_of(inputs)])}.npy"

    def check_room(self, inputs: Arrays, size: int, *, training: bool = False) -> None:
        """Raise InputError if outputs of `size` bytes are missing and the disk has no room for them."""
        if not self.path(inputs, training=training).exists():
            check_room(self._folder, size, "T's outputs", "make room, choose another folder, or give fewer tokens")

    def of(
        self,
        examples: Examples,
        compute: Callable[[dict[str, Tensor]], Tensor],
        *,
        half: bool = True,
        training: bool = False,
    ) -> Examples:
        """Return examples with T's outputs as their target, memory-mapped.

        If several processes ask for the same outputs, one computes them and the others wait.

        Args:
            examples: inputs, with any target of their length.
            compute: returns T's outputs for inputs on the device.
            half: store them in float16.
            training: compute them in the device's numbers of training.

        Raises:
            InputError: an output is not finite or too large for float16; nothing is stored.
        """
        path = self.path(examples.inputs, training=training)
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                with (
                    replacing(path) as temporary,
                    self._display.bar("teacher's outputs", len(examples)) as advance,
                ):
                    self._write(temporary, examples, compute, half, training, advance)
        return replace(examples, target=np.load(path, mmap_mode="r"))

    def _write(
        self,
        path: Path,
        examples: Examples,
        compute: Callable[[dict[str, Tensor]], Tensor],
        half: bool,
        training: bool,
        advance: Callable[[float], object],
    ) -> None:
        stored: Any = None
        for rows in examples.rows(_AT_ONCE):
            batch = examples.take(rows).to(self._device.torch)

            def part(first: int, last: int, batch: Batch = batch) -> NDArray[Any]:
                with torch.inference_mode(), self._device.computing(training=training):
                    found = compute({name: value[first:last] for name, value in batch.inputs.items()})
                return found.float().cpu().numpy()

            done = np.concatenate(list(in_parts(len(rows), len(rows), part, self._display.say)))
            if not np.abs(done).max() <= (_LARGEST if half else np.finfo(np.float32).max):
                wrong = f"exceed {_LARGEST:,.0f} or are not numbers, so fsp cannot store them in float16"
                raise InputError(f"T's outputs {wrong if half else 'are not numbers'}; use another teacher")
            if stored is None:
                kind, shape = np.float16 if half else np.float32, (len(examples), *done.shape[1:])
                stored = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)
            stored[rows] = done
            advance(len(rows))
        stored.flush()
