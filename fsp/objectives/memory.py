"""Peak memory of inference: the weights and the other tensors of a forward pass, counted without running it."""

import weakref
from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fsp.base.defaults import BATCH, LENGTH
from fsp.families.family import Family, load_family
from fsp.spaces.space import SearchSpace, family_of

Size = tuple[str, int]  # a parameter's or a constant's name and value
_COUNTED = 3  # layers; each layer after the first adds the same


def peak_memory(
    space: SearchSpace, points: NDArray[np.int64], *, batch: int = BATCH, length: int = LENGTH
) -> NDArray[np.int64]:
    """Return the peak memory in bytes of an `n x d` array of architectures, in torch eager and float32 on a CPU.

    This is the largest total size of the tensors that exist at the same time, weights included, as torch allocates
    them. Libraries and scratch space of kernels come on top; `fsp latency measure --memory` measures all of it.
    Networks of one to three layers are run with fake tensors, one set per layer shape; deeper ones grow linearly.

    Args:
        space: the search space; its family builds the networks.
        points: architectures, `n x d`.
        batch: number of sequences.
        length: tokens per sequence.

    Example:
        >>> from fsp.spaces.loading import load_space
        >>> space = load_space("minilm")
        >>> peak_memory(space, space.point(space.maximum)).tolist()
        [92433408]
    """
    family_of(space)  # raises InputError for a space that does not match its family
    constants = tuple(space.constants.items())

    def count(shape: Mapping[str, int]) -> int:
        return _count(cast(Hashable, space.family), tuple(shape.items()), constants, batch, length)

    peaks = np.empty(len(points), dtype=np.int64)
    for row, architecture in enumerate(space.architectures(points)):
        more = architecture.get("D", 0) - _COUNTED
        if more <= 0:
            peaks[row] = count(architecture)
        else:
            before, last = (count({**architecture, "D": depth}) for depth in (_COUNTED - 1, _COUNTED))
            peaks[row] = last + more * (last - before)
    return peaks


@cache  # a search needs each count twice: for its plan and for its table of candidates
def _count(named: Hashable, shape: tuple[Size, ...], constants: tuple[Size, ...], batch: int, length: int) -> int:
    """Return the peak bytes of one network. Fake tensors dispatch to CPU kernels, unlike those on the meta device."""
    family = load_family(cast(Family, named))
    with torch.device("meta"):
        network = family.build(dict(shape), dict(constants)).eval()
    weights = [*network.named_parameters(), *network.named_buffers()]
    with FakeTensorMode(), torch.no_grad(), _Counter() as counter:
        held = {key: torch.empty(tensor.shape, dtype=tensor.dtype) for key, tensor in weights}
        inputs = family.inputs(dict(constants), batch=batch, length=length)
        torch.func.functional_call(network, held, kwargs=inputs)
        return counter.peak


class _Counter(TorchDispatchMode):
    """Tracks the total bytes of all existing tensors, and the peak."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operator(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.untyped_storage() not in self._known:
                self._allocated(leaf.untyped_storage())
        return result

    def _allocated(self, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        self._known.add(storage)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._freed, size)

    def _freed(self, size: int) -> None:
        self.now -= size
