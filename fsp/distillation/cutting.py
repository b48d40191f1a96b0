"""Cutting a candidate out of a trained T of any family, and healing the cut by least squares.

The cut keeps the most important parts of T and copies their weights. It is then repaired in one forward pass, from the
bottom up and without gradient steps: just before a map that reads the residual stream runs, it is refitted to read T's
stream from the kept coordinates; just before a map that writes to the stream runs, it is refitted to write T's. All
refits are ridge regressions of the residual, so a cut at full size is T. The order of norms, fused projections, rotary
angles, local attention and activations are the network's own affair: a family only names its branches
(`fsp.families.anatomy`).

Prior art: least-squares repair of pruned layers in Kwon et al. (arXiv 2204.09656) and K-prune (arXiv 2308.03449).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from accelerate import init_empty_weights
from scipy.linalg.lapack import dpstrf
from torch import Tensor, nn

from fsp.base.errors import InputError
from fsp.distillation.heads import Projections, TrainedHeads
from fsp.distillation.healing import Rendering, covariance, gram_of, refit_norm, refit_writer
from fsp.distillation.networks import body_of, device_of, vocabulary_layer
from fsp.families.anatomy import Branch, spread
from fsp.families.architecture import Architecture
from fsp.families.family import Family, Shape

_BATCH = 32  # samples per forward pass of T
_RANKING_SITES = 4096  # enough to rank units; healing uses all sites
_LARGEST = float(torch.finfo(torch.float16).max)

Inputs = Mapping[str, Tensor]
Affine = tuple[Tensor, Tensor | None]  # weight (outputs x inputs) and bias of a map
Maps = dict[str, Affine]  # T's maps of a layer by module


@dataclass(frozen=True)
class Cut:
    """A network cut out of T.

    Attributes:
        network: the network, head included, in evaluation mode.
        hidden: the coordinates of T's states that it kept, ascending, `H`.
        layers: for each of its layers, the layer of T that it is taken from.
        states: its last states on the calibration inputs, `n x sites x H`; None without healing, or if the network
            returns none.
        rendering: the map from its last states to T's, fitted on the same inputs; None where `states` is, and for
            networks with a vocabulary layer.
    """

    network: Any
    hidden: Tensor
    layers: list[int]
    states: Tensor | None
    rendering: Rendering | None


@dataclass(frozen=True)
class _Kept:
    """What a cut keeps of T.

    Attributes:
        shape: its shape.
        layers: for each of its layers, the layer of T.
        hidden: the coordinates of T's states, ascending.
        units: for each of these layers of T, the units by kind, ascending.
        maps: for each layer and branch of the cut, T's own maps with the outputs that it keeps.
    """

    shape: Architecture
    layers: list[int]
    hidden: Tensor
    units: dict[int, dict[str, Tensor]]
    maps: dict[tuple[int, int], Maps]


class _Seen:
    """What T shows of one branch of a layer.

    Attributes:
        read: what its readers get, `n x H`, float16 where the numbers allow it.
        after: the stream with the branch added, `n x H`; of the same type.
        gram: covariance of what its writer gets, for the ranking, summed over the first batches; None afterwards.
    """

    def __init__(self) -> None:
        self.read: Any = []
        self.after: Any = []
        self.gram: Tensor | None = None

    def add_read(self, given: Tensor) -> None:
        self.read.append(_stored(given))

    def add_after(self, given: Tensor) -> None:
        self.after.append(_stored(given))

    def add_gram(self, given: Tensor) -> None:
        found = covariance(given.flatten(0, -2))
        self.gram = found if self.gram is None else self.gram.add_(found)

    def join(self) -> None:
        """Join what was recorded in several batches."""
        self.read = torch.cat(self.read)
        self.after = torch.cat(self.after) if self.after else None


class Cutter:
    """Cuts candidates out of one trained T.

    Heads are ranked by the variance they write, intermediate units and hidden coordinates by pivoted Cholesky
    on their covariance (the next one is always the one that the chosen ones explain least).

    Args:
        network: the trained maximum point T, with or without a head, on any device.
        family: its family.
        inputs: real inputs without padding, the arguments of a forward pass by name; ten thousand tokens or more.

    Raises:
        InputError: the family has no anatomy, or T has parts that the anatomy does not name.

    Example:
        >>> from fsp.families import bert
        >>> tables = dict(vocabulary=100, positions=16, token_types=1)
        >>> full = bert.build(dict(D=2, A=4, H=16, I=32), tables).eval()
        >>> cutter = Cutter(full, bert, {"input_ids": torch.arange(64).view(4, 16)})
        >>> bert.architecture_of(cutter.cut(dict(D=1, A=2, H=8, I=8)).network.config)
        Architecture(D=1, A=2, H=8, I=8)
    """

    def __init__(self, network: Any, family: Family, inputs: Inputs):
        if family.anatomy is None:
            raise InputError("this family declares no anatomy, so its networks cannot be cut (docs/own-space.md)")
        self._network, self._family, self._anatomy, self._inputs = network, family, family.anatomy, dict(inputs)
        self._full = family.architecture_of(network.config)
        self._places = [(k, b) for k in range(self._full["D"]) for b in range(len(self._anatomy.branches))]
        self._head: dict[str, _Seen] = {}  # what T's maps in the head read
        self._final = _Seen()  # what T's vocabulary layer reads; without one, T's last states if it returns any
        self._seen = {place: _Seen() for place in self._places}
        self._observe()

    def check(self, architecture: Shape) -> None:
        """Raise InputError if a shape cannot be cut out of T."""
        self._anatomy.check(self._full, Architecture(architecture))

    @torch.no_grad()
    def cut(self, architecture: Shape, *, heal: bool = True) -> Cut:
        """Return a network of a given shape made of the most important parts of T.

        Heads are taken whole if they keep T's size, and are merged or split otherwise, see `fsp.distillation.heads`.

        Args:
            architecture: the shape, in no parameter larger than T.
            heal: refit the maps that the cut affects; without it the kept weights are plain copies.

        Raises:
            InputError: the shape cannot be cut out of T.
        """
        self.check(architecture)
        kept = self._kept(Architecture(architecture))
        with init_empty_weights(include_buffers=False):
            small = self._family.resized(self._network, kept.shape, kept.layers)
        self._copy(small, kept)
        states = self._heal(small, kept) if heal else None
        rendering = None
        if states is not None and vocabulary_layer(small) is None:
            with torch.autocast(states.device.type, enabled=False):
                rendering = Rendering.fit(states.flatten(0, -2).float(), self._final.read, kept.hidden)
        return Cut(small.eval(), kept.hidden, kept.layers, states, rendering)

    # Names

    @cached_property
    def _prefix(self) -> str:
        """What stands before the body's names in the state dictionary."""
        body = body_of(self._network)
        return "" if body is self._network else f"{self._network.base_model_prefix}."

    def _name(self, k: int, module: str) -> str:
        """Return the name of a layer's module in the whole network."""
        return f"{self._prefix}{self._anatomy.layers}.{k}{'.' if module else ''}{module}"

    def _labels(self, name: str) -> tuple[str | None, ...]:
        """Return what the axes of a weight run over; empty for a weight that stays whole."""
        if name in self._anatomy.head:
            return self._anatomy.head[name]
        inner = name.removeprefix(self._prefix)
        start = f"{self._anatomy.layers}."
        if inner.startswith(start):
            inner = start + "*" + inner[len(start) :].lstrip("0123456789")
        return self._anatomy.axes.get(inner, ())

    def _layer(self, name: str) -> int | None:
        """Return the number of the layer that a weight belongs to; None outside the layers."""
        found = re.match(rf"{re.escape(self._prefix + self._anatomy.layers)}\.(\d+)\.", name)
        return int(found[1]) if found else None

    def _matrix(self, network: Any, name: str, *, reads: bool) -> Tensor:
        """Return the weight of a map between the stream and something else as outputs x inputs."""
        weight = network.get_parameter(f"{name}.weight")
        return weight if self._is_plain(name, reads=reads) else weight.T

    def _is_plain(self, name: str, *, reads: bool) -> bool:
        """Return whether the weight of a map is stored as outputs x inputs."""
        return (self._labels(f"{name}.weight")[-1] == "H") == reads

    def _outputs(self, name: str) -> str | None:
        """Return what the outputs of a reader run over."""
        labels = self._labels(f"{name}.weight")
        return labels[0] if labels[-1] == "H" else labels[-1]

    # T, once

    @torch.inference_mode()
    def _observe(self) -> None:
        """Run T over the inputs and record what it shows of every branch and of the head."""
        network, anatomy = self._network, self._anatomy
        watching: list[Any] = []
        ranking: list[Any] = []

        def watch(name: str, record: Callable[[Tensor], object], handles: list[Any] = watching) -> None:
            handles.append(_before(network.get_submodule(name), record))

        for place, (k, b) in enumerate(self._places):
            branch, seen = anatomy.branches[b], self._seen[k, b]
            watch(self._name(k, branch.reads[0]), seen.add_read)
            watch(self._after(place, branch), seen.add_after)
            if branch.writes is not None:
                watch(self._name(k, branch.writes), seen.add_gram, ranking)
        for name in self._head_reads(network):
            self._head[name] = seen = _Seen()
            watch(name, seen.add_read)
        samples, sites, ranked = len(next(iter(self._inputs.values()))), 0, False
        for i in range(0, samples, _BATCH):
            if sites >= _RANKING_SITES and not ranked:
                _remove(ranking)
                self._rank()
                ranked = True
            states, last = self._run(network, {name: value[i : i + _BATCH] for name, value in self._inputs.items()})
            sites = len(self._seen[0, 0].read[0]) * (i // _BATCH + 1)
            if (final := states if last is None else last) is not None:
                self._final.add_read(final)
        _remove([*watching, *ranking])
        if not ranked:
            self._rank()
        self._head = {name: seen for name, seen in self._head.items() if seen.read}  # a part of the head may not run
        for seen in [*self._seen.values(), *self._head.values()]:
            seen.join()
        if self._final.read:
            self._final.join()

    def _after(self, place: int, branch: Branch) -> str:
        """Return the module whose input is the stream after a branch."""
        k, _ = self._places[place]
        if branch.sums is not None:
            return self._name(k, branch.sums)
        if place + 1 < len(self._places):
            following, b = self._places[place + 1]
            return self._name(following, self._anatomy.branches[b].stream)
        assert self._anatomy.last is not None
        return self._prefix + self._anatomy.last

    @cached_property
    def _modules(self) -> frozenset[str]:
        """The names of T's modules."""
        return frozenset(name for name, _ in self._network.named_modules())

    def _head_reads(self, network: Any) -> list[str]:
        """Return the maps of the head that are refitted, as far as the network has them; without a vocabulary layer."""
        last = vocabulary_layer(network)
        maps = {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear)}
        return [name for name in self._anatomy.head_reads if name in maps and maps[name] is not last]

    def _run(self, network: Any, inputs: Inputs) -> tuple[Tensor | None, Tensor | None]:
        """Run a network, but not its vocabulary layer; return its last states and what that layer reads, if any."""
        if vocabulary_layer(network) is None:
            found = network(**inputs)
            return getattr(found, "last_hidden_state", None), None
        states: Tensor = body_of(network)(**inputs).last_hidden_state
        transform = self._anatomy.transform
        return states, states if transform is None else transform(network, states)

    @torch.no_grad()
    def _rank(self) -> None:
        """Order hidden coordinates, heads and intermediate units, most important first."""
        hidden: Any = 0
        self._order: dict[tuple[str, int], Tensor] = {}
        self._shown: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        for (k, b), seen in self._seen.items():
            branch, read = self._anatomy.branches[b], torch.cat(seen.read)[:_RANKING_SITES].float()
            read_gram = covariance(read)
            hidden = hidden + read_gram
            if branch.unit is None:
                continue
            assert branch.writes is not None
            assert seen.gram is not None
            passed, seen.gram = seen.gram, None  # it is large and needed only here
            write = self._matrix(self._network, self._name(k, branch.writes), reads=False).cpu().double()
            count = self._full[branch.unit]
            if write.shape[1] == count:
                norms = write.norm(dim=0)
                self._order[branch.unit, k] = _pivots(passed * torch.outer(norms, norms))
                continue
            heads, size = write.unflatten(1, (count, -1)), write.shape[1] // count
            blocks = passed.unflatten(0, (count, size)).unflatten(2, (count, size))
            written = torch.einsum("has,asat,hat->a", heads, blocks, heads)
            self._order[branch.unit, k] = written.argsort(descending=True, stable=True)
            if group := self._anatomy.groups.get(branch.unit):
                self._rank_groups(branch.unit, group, k, written)
            self._shown[k] = (read.cpu().double().mean(dim=0), read_gram / len(read), passed / len(read))
        self._hidden_order = _pivots(hidden).to(device_of(self._network))

    def _rank_groups(self, unit: str, group: str, k: int, written: Tensor) -> None:
        """Order groups by what their units write together, and the units of each by what they write."""
        grouped = written.view(self._full[group], -1)
        self._order[group, k] = grouped.sum(dim=1).argsort(descending=True, stable=True)
        inside = grouped.argsort(dim=1, descending=True, stable=True)
        self._order[unit, k] = inside + torch.arange(len(grouped))[:, None] * grouped.shape[1]  # groups x units of each

    # Each cut

    def _kept(self, shape: Architecture) -> "_Kept":
        """Return what a cut of a given shape keeps of T."""
        layers = self._anatomy.sources(self._full["D"], shape["D"])
        hidden = self._hidden_order[: shape["H"]].sort().values
        kept = _Kept(shape, layers, hidden, {k: self._units(k, shape) for k in layers}, {})
        for j, k in enumerate(layers):
            for b, branch in enumerate(self._anatomy.branches):
                kept.maps[j, b] = (
                    self._reshaped(k, branch, shape) if self._reshapes(branch, shape) else self._maps(k, branch, kept)
                )
        return kept

    def _reshapes(self, branch: Branch, shape: Architecture) -> bool:
        """Return whether the units of a branch are heads to be merged or split."""
        return branch.unit == "A" and self._anatomy.resizes_heads(self._full, shape)

    def _units(self, k: int, shape: Architecture) -> dict[str, Tensor]:
        """Return the kept units of T's layer k by kind, ascending."""
        found = {}
        for unit, group in self._anatomy.groups.items():
            found[group] = self._order[group, k][: shape[group]].sort().values
            each = shape[unit] // shape[group]
            found[unit] = self._order[unit, k][found[group], :each].sort(dim=1).values.flatten()
        for (unit, layer), order in self._order.items():
            if layer == k and unit not in found:
                found[unit] = order[: shape[unit]].sort().values
        return found

    def _positions(self, label: str, length: int, kept: "_Kept", k: int | None) -> Tensor:
        """Return the kept positions on an axis of a weight of T's layer k (None: outside the layers)."""
        copies, unit = int(label[:-1] or 1), label[-1]
        every = torch.arange(length).view(copies, self._full[unit], -1)
        chosen = kept.hidden.cpu() if unit == "H" or k is None else kept.units[k][unit]
        return every[:, chosen].flatten().to(kept.hidden.device)

    def _reader(self, name: str, kept: "_Kept", k: int | None, outputs: int | None = None) -> Affine:
        """Return T's own weight and bias of a reader for the outputs that a cut keeps: all, if it has as many as T."""
        weight, bias = self._matrix(self._network, name, reads=True), _bias(self._network, name)
        label = self._outputs(name)
        if label is None or len(weight) == outputs:
            return weight, bias
        rows = self._positions(label, len(weight), kept, k)
        return weight[rows], None if bias is None else bias[rows]

    def _maps(self, k: int, branch: Branch, kept: "_Kept") -> Maps:
        """Return T's own readers of a branch."""
        return {module: self._reader(self._name(k, module), kept, k) for module in branch.reads}

    def _reshaped(self, k: int, branch: Branch, shape: Architecture) -> Maps:
        """Return the maps of T's heads, merged or split."""
        assert branch.writes is not None
        names = [self._name(k, module) for module in branch.reads]
        affine = [
            torch.cat([self._matrix(self._network, name, reads=True), bias[:, None]], dim=1).cpu().double()
            for name, bias in ((name, _bias(self._network, name)) for name in names)
            if bias is not None
        ]
        query, key, value = affine if len(affine) > 1 else affine[0].chunk(3)
        writer = self._name(k, branch.writes)
        write = self._matrix(self._network, writer, reads=False)
        trained = TrainedHeads(Projections(query, key, value, write.cpu().double()), self._full["A"], *self._shown[k])
        made = trained.reshaped(shape["A"], shape["H"] // shape["A"])
        read = [made.query, made.key, made.value]
        whole = [torch.cat(read)] if len(names) == 1 else read
        found: Maps = {
            module: (one[:, :-1].to(write.device), one[:, -1].to(write.device))
            for module, one in zip(branch.reads, whole, strict=True)
        }
        found[branch.writes] = made.write.to(write.device), None
        return found

    def _copy(self, small: Any, kept: "_Kept") -> None:
        """Give a network without weights those of T that it keeps."""
        trained = self._network.state_dict()
        state = self._made(kept)
        for name, empty in small.state_dict().items():
            if name in state:
                continue
            j = self._layer(name)
            k = None if j is None else kept.layers[j]
            source = name if j is None or k is None else self._name(k, "") + name[len(self._name(j, "")) :]
            weight = trained[source].clone()
            for dimension, label in enumerate(self._labels(name)):
                if label and weight.shape[dimension] != empty.shape[dimension]:
                    weight = weight.index_select(dimension, self._positions(label, weight.shape[dimension], kept, k))
            if weight.shape != empty.shape:
                raise InputError(f"T has a part that this family's anatomy does not name: {name}; it cannot be cut")
            state[name] = weight
        small.load_state_dict(state, assign=True)
        small.to(kept.hidden.device).requires_grad_(False)  # buffers are made on the processor
        if hasattr(small, "tie_weights"):
            small.tie_weights()

    def _made(self, kept: "_Kept") -> dict[str, Tensor]:
        """Return the weights of merged or split heads, before healing, by their names in the cut."""
        state = {}
        for (j, b), found in kept.maps.items():
            branch = self._anatomy.branches[b]
            for module, (weight, bias) in found.items() if self._reshapes(branch, kept.shape) else ():
                name, reads = self._name(j, module), module != branch.writes
                own = weight[:, kept.hidden] if reads else weight[kept.hidden]
                state[f"{name}.weight"] = own if self._is_plain(name, reads=reads) else own.T.contiguous()
                if bias is not None:
                    state[f"{name}.bias"] = bias
        return state

    def _heal(self, small: Any, kept: "_Kept") -> Tensor | None:
        """Refit a cut in one forward pass over the inputs; return its last states, if it returns any."""
        handles: list[Any] = []

        def own(name: str, *, reads: bool) -> Affine:
            return self._matrix(small, name, reads=reads), _bias(small, name)

        # a layer also does the work of the ones that are left out before the next
        ends, branches = spread(self._full["D"], kept.shape["D"]), self._anatomy.branches
        for (j, b), trained in kept.maps.items():
            branch = branches[b]
            after = self._seen[ends[j] if branch is branches[-1] else kept.layers[j], b].after
            healing = _Healing(self._seen[kept.layers[j], b].read, kept.hidden, after)
            handles.append(_before(small.get_submodule(self._name(j, branch.stream)), healing.at_stream))
            for module in branch.reads:
                name = self._name(j, module)
                heal = healing.reader(own(name, reads=True), trained[module])
                handles.append(_before(small.get_submodule(name), heal))
            if branch.writes is not None:
                name = self._name(j, branch.writes)
                handles.append(_before(small.get_submodule(name), healing.writer(own(name, reads=False))))
        for name, seen in self._head.items():
            reader = own(name, reads=True)
            heal = _Healing(seen.read, kept.hidden).reader(reader, self._reader(name, kept, None, len(reader[0])))
            handles.append(_before(small.get_submodule(name), heal))
        try:
            states, last = self._run(small, self._inputs)
        finally:
            _remove(handles)
        if last is not None:
            with torch.autocast(last.device.type, enabled=False):
                last = self._heal_vocabulary(small, last.float(), kept)
        return last if self._anatomy.transform is None and last is not None else states

    def _heal_vocabulary(self, small: Any, given: Tensor, kept: "_Kept") -> Tensor:
        """Refit the vocabulary layer, or the norm before it if it is tied; return what the layer then reads."""
        layer, trained = vocabulary_layer(small), vocabulary_layer(self._network)
        assert layer is not None
        assert trained is not None
        width, full = layer.weight.shape[1], trained.weight.shape[1]
        keep = kept.hidden if width < full else torch.arange(full, device=given.device)
        if layer.weight is not small.get_input_embeddings().weight:
            own, whole = (layer.weight, layer.bias), (trained.weight, trained.bias)
            _Healing(self._final.read, keep).reader(own, whole)(given)
            return given
        for name in self._modules.intersection(self._anatomy.norms):
            norm, full, products = small.get_submodule(name), self._final.read, self._vocabulary_products
            read = refit_norm(norm.weight, _bias(small, name), given.flatten(0, -2), full, keep, products)
            if layer.bias is not None:
                wanted = trained.weight @ full.mean(dim=0, dtype=torch.float32)
                layer.bias.copy_(trained.bias + wanted - layer.weight @ read.mean(dim=0))
            given = read.view_as(given)
        return given

    @cached_property
    def _vocabulary_products(self) -> Tensor:
        """WᵀW of T's vocabulary layer W, `H_T x H_T`."""
        layer = vocabulary_layer(self._network)
        assert layer is not None
        return gram_of(layer.weight.float())


class _Healing:
    """The refits of one branch of a cut, in the order in which the forward pass comes to them.

    Args:
        read: what T's readers get, `n x H_T`.
        keep: the coordinates of T that the cut kept.
        after: the stream of T that the stream with the branch added should be, `n x H_T`; None without a writer.
    """

    def __init__(self, read: Tensor, keep: Tensor, after: Tensor | None = None):
        self._read, self._keep, self._after = read, keep, after
        self._stream: Tensor | None = None
        self._rendering: dict[bool, Rendering] = {}

    def at_stream(self, given: Tensor) -> None:
        self._stream = given.flatten(0, -2)

    def reader(self, own: Affine, trained: Affine) -> Callable[[Tensor], None]:
        """Return what refits a reader, given its map and that of T for the outputs that it has."""
        affine = own[1] is not None

        def refit(given: Tensor) -> None:
            if affine not in self._rendering:
                state = given.flatten(0, -2)
                self._rendering[affine] = Rendering.fit(state, self._read, self._keep, affine=affine)
            rendering = self._rendering[affine]
            own[0].copy_(trained[0] @ rendering.weight)
            if own[1] is not None and trained[1] is not None:
                own[1].copy_(trained[1] + trained[0] @ rendering.bias)

        return refit

    def writer(self, own: Affine) -> Callable[[Tensor], None]:
        """Return what refits a writer, given its map."""

        def refit(given: Tensor) -> None:
            assert self._stream is not None
            assert self._after is not None
            wanted = self._after[:, self._keep].float() - self._stream
            refit_writer(*own, given.flatten(0, -2), wanted)
            self._stream = None

        return refit


def _before(module: nn.Module, act: Callable[[Tensor], object]) -> Any:
    """Call a function with the first argument of a module just before the module runs."""

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given: Tensor = args[0] if args else next(iter(kwargs.values()))
        with torch.autocast(given.device.type, enabled=False):  # regressions need more digits than a forward pass
            act(given.float())

    return module.register_forward_pre_hook(hook, with_kwargs=True)


def _remove(handles: list[Any]) -> None:
    for handle in handles:
        handle.remove()


def _stored(values: Tensor) -> Tensor:
    """Return `... x d` values as `n x d` in float16, or as they are if they are too large for it."""
    flat = values.flatten(0, -2)
    return flat.half() if float(flat.abs().max()) < _LARGEST else flat


def _bias(network: Any, name: str) -> Tensor | None:
    """Return the bias of a module, if it has one."""
    return getattr(network.get_submodule(name), "bias", None)


def _pivots(gram: Tensor) -> Tensor:
    """Return the pivot order of a Cholesky factorisation with complete pivoting; rows without variance come last."""
    _, pivots, _, _ = dpstrf(gram.cpu().numpy(), tol=0.0)
    return torch.from_numpy(pivots).long() - 1
