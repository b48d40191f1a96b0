"""A cache of a teacher's outputs on disk: each is computed once, when it is first needed, and memory-mapped.

There is one set of files per pass over the corpus, with a fixed place for every block, so that any number of processes
can write and read them concurrently. Only what losses need is stored: the likeliest tokens with the mass of the rest,
and hidden states, both at the masked positions.
"""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsp.base.errors import InputError, RunFailed
from fsp.base.files import read_json, write_json
from fsp.distillation.losses import TopLogits
from fsp.distillation.pretraining.batches import Batch
from fsp.distillation.pretraining.teacher_outputs import LiveTeacher, TeacherOutputs
from fsp.distillation.pretraining.vocabulary import chunks

_VERSION = 2  # version 1 had float16 log-probabilities, so the divergence was not a lower bound
_DESCRIPTION = "cache.json"


@dataclass(frozen=True)
class Layout:
    """The outputs that are stored per block.

    Attributes:
        blocks: number of blocks in the corpus.
        positions: positions per block.
        top: number of likeliest tokens stored per position; 0 for none.
        temperature: temperature of their probabilities.
        width: width of the hidden states stored per position; 0 for none.
        vocabulary: number of token ids.
    """

    blocks: int
    positions: int
    top: int
    temperature: float
    width: int
    vocabulary: int

    @property
    def arrays(self) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        """Type and shape of the arrays stored per block, by name."""
        found: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        if self.top:
            ids = np.dtype("<u2" if self.vocabulary <= 1 << 16 else "<u4")
            found["ids"] = (ids, (self.positions, self.top))
            found["log-probabilities"] = (np.dtype("<f4"), (self.positions, self.top))
            found["log-tails"] = (np.dtype("<f4"), (self.positions,))
        if self.width:
            found["states"] = (np.dtype("<f2"), (self.positions, self.width))
        return found | {"done": (np.dtype("u1"), ())}


class CachedTeacher:
    """A teacher whose outputs are cached in a folder.

    Args:
        live: the teacher that computes missing outputs; without relations, which take too much space.
        folder: folder of the cache; created if missing.
        layout: the outputs that are stored.
        key: everything else that the outputs depend on (teacher, tokenizer, corpus, masking), by name.

    Raises:
        InputError: the folder holds the outputs of something else, or damaged ones.
    """

    def __init__(self, live: LiveTeacher, folder: Path, layout: Layout, key: Mapping[str, Any]):
        if live.relations:
            raise InputError("a teacher cache cannot hold attention relations; use --relation 0 or no --cache-teacher")
        self._live, self._folder, self._layout = live, folder, layout
        wanted = {"version": _VERSION, **key, **vars(layout)}
        description = folder / _DESCRIPTION
        if description.exists():
            found = read_json(description)
            if isinstance(found, dict) and found.get("version", _VERSION) != _VERSION:
                raise InputError(
                    f"{folder} was written by another version of fsp (format {found['version']}, not {_VERSION}); "
                    "remove it or choose another"
                )
            for name, value in wanted.items():
                if not isinstance(found, dict) or found.get(name) != value:
                    was = found.get(name) if isinstance(found, dict) else found
                    hint = ", of another teacher or an older fsp" if name == "teacher" else ""
                    raise InputError(
                        f"{folder} caches something else ({name} is {was}, not {value}{hint}); choose another"
                    )
        elif folder.is_dir() and any(p for p in folder.iterdir() if not p.name.startswith(".")):
            raise InputError(f"{folder} is neither empty nor a teacher cache; choose another directory")
        else:
            write_json(description, wanted)
        self._passes: dict[int, dict[str, np.memmap[Any, Any]]] = {}
        self.computed = 0  # blocks whose outputs were missing

    def __call__(self, batch: Batch) -> TeacherOutputs:
        """Return the teacher's outputs for a batch from the cache, after computing missing ones."""
        rows = list(zip(batch.epochs.tolist(), batch.examples.tolist(), strict=True))
        if not all(self._arrays(epoch)["done"][example] for epoch, example in rows):
            self._add(batch, rows)
        device = batch.tokens.device

        def read(name: str) -> Tensor:
            values = np.stack([self._arrays(epoch)[name][example] for epoch, example in rows])
            wide = values.astype(np.int64) if name == "ids" else values.astype(np.float32)
            return torch.from_numpy(wide).flatten(0, 1).to(device)

        return TeacherOutputs(
            top=TopLogits(read("ids"), read("log-probabilities"), read("log-tails")) if self._layout.top else None,
            states=read("states") if self._layout.width else None,
        )

    @torch.no_grad()
    def _add(self, batch: Batch, rows: list[tuple[int, int]]) -> None:
        taught = self._live(batch)
        layout, count = self._layout, len(batch.positions)
        values: dict[str, NDArray[Any]] = {}
        if layout.top:
            tops = [
                TopLogits.of(taught.logits(part), layout.top, layout.temperature)
                for part in chunks(count, layout.vocabulary, batch.tokens.device)
            ]
            values["ids"] = _joined(top.ids for top in tops)
            values["log-probabilities"] = _joined(top.log_probabilities for top in tops)
            values["log-tails"] = _joined(top.log_tail for top in tops)
        if layout.width:
            assert taught.states is not None
            values["states"] = _joined([taught.states])
        values["done"] = np.ones(len(rows))  # written last, so that blocks marked as done are complete
        try:
            for name, found in values.items():
                kind, shape = layout.arrays[name]
                data = found.reshape(len(rows), *shape).astype(kind)
                for (epoch, example), value in zip(rows, data, strict=True):
                    with self._path(epoch, name).open("r+b") as file:
                        os.pwrite(file.fileno(), value.tobytes(), example * value.nbytes)
        except OSError as error:
            raise RunFailed(f"cannot write to the teacher cache {self._folder}: {error.strerror}") from None
        self.computed += len(rows)

    def _path(self, epoch: int, name: str) -> Path:
        return self._folder / f"pass-{epoch}.{name}"

    def _arrays(self, epoch: int) -> dict[str, "np.memmap[Any, Any]"]:
        """Return the arrays of one pass, `blocks x ...`, created as sparse files if missing."""
        if epoch not in self._passes:
            arrays, begun = self._layout.arrays, self._path(epoch, "done").exists()
            self._passes[epoch] = {name: self._array(epoch, name, begun) for name in arrays}  # "done" is created last
        return self._passes[epoch]

    def _array(self, epoch: int, name: str, begun: bool) -> "np.memmap[Any, Any]":
        path = self._path(epoch, name)
        kind, shape = self._layout.arrays[name]
        size = self._layout.blocks * math.prod(shape) * kind.itemsize
        if not begun:
            with path.open("ab") as file:
                if not file.tell():
                    file.truncate(size)
        if not path.is_file() or path.stat().st_size != size:
            raise InputError(f"{path} is damaged or gone (it must have {size} bytes); remove {self._folder}")
        return np.memmap(path, dtype=kind, mode="r", shape=(self._layout.blocks, *shape))


def _joined(parts: Any) -> NDArray[Any]:
    return torch.cat([part.cpu() if part.dtype == torch.int64 else part.float().cpu() for part in parts]).numpy()


Teach = Callable[[Batch], TeacherOutputs]
