"""Cutting a candidate out of a trained BERT-like T, and healing the cut by least squares.

The cut keeps the most important parts of T and copies their weights. It is then repaired layer by layer,
from the bottom up, without gradient steps: every matrix that reads the hidden state is refitted to read
T's state from the kept coordinates, and every matrix that writes to the hidden state is refitted to write
T's. All refits are ridge regressions of the residual, so a cut at full size is T.
"""

import copy
from typing import TYPE_CHECKING, Any

import torch
from scipy.linalg.lapack import dpstrf
from torch import Tensor, nn

from fsp.families.architecture import Architecture
from fsp.families.bert import CONFIG_NAMES, architecture_of
from fsp.families.bert.heads import Projections, TrainedHeads, check_cuttable, whole_heads
from fsp.families.bert.healing import covariance, refit_readers, refit_writer
from fsp.families.cutting import spread
from fsp.families.family import Shape
from fsp.families.transformer import head_size_changed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_BATCH = 32  # blocks per forward pass of T
_RANKING_TOKENS = 4096  # enough to rank units; healing uses all tokens
_READERS = ("query", "key", "value")


class _Seen:
    """Values of one layer recorded during T's forward passes, one tensor per batch.

    Attributes:
        attention_sums: residual sums before the layer norm after attention, `n x H`.
        output_sums: residual sums before the last layer norm, `n x H`.
        context_grams: covariances of the values that the heads pass on, for the ranking.
        inner_grams: covariances of the intermediate units, for the ranking.
    """

    def __init__(self) -> None:
        self.attention_sums: list[Tensor] = []
        self.output_sums: list[Tensor] = []
        self.context_grams: list[Tensor] = []
        self.inner_grams: list[Tensor] = []

    def at_attention_norm(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.attention_sums.append(inputs[0].flatten(0, 1).half())

    def at_output_norm(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.output_sums.append(inputs[0].flatten(0, 1).half())

    def at_context(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.context_grams.append(covariance(inputs[0].flatten(0, 1)))

    def at_inner(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.inner_grams.append(covariance(inputs[0].flatten(0, 1)))


class Cutter:
    """Cuts candidates out of one trained T.

    Heads are ranked by the variance they write, intermediate units and hidden coordinates by pivoted Cholesky
    on their covariance (the next one is always the one that the chosen ones explain least).

    Args:
        model: the trained maximum point T.
        tokens: token ids of real text, `(n, length)`, without padding; ten thousand tokens or more.

    Example:
        >>> from fsp.families import bert
        >>> tables = dict(vocabulary=100, positions=16, token_types=1)
        >>> full = bert.build(dict(D=2, A=4, H=16, I=32), tables).eval()
        >>> small = Cutter(full, torch.arange(64).view(4, 16)).cut(dict(D=1, A=2, H=8, I=8))
        >>> bert.architecture_of(small.config)
        Architecture(D=1, A=2, H=8, I=8)
    """

    def __init__(self, model: "PreTrainedModel", tokens: Tensor):
        self._model = model
        self._tokens = tokens
        self._full = architecture_of(model.config)
        self._head_size = self._full["H"] // self._full["A"]
        seen = [_Seen() for _ in range(self._full["D"])]
        self._embedded = self._observe(seen)
        self._attention_sum = [torch.cat(layer.attention_sums) for layer in seen]
        self._output_sum = [torch.cat(layer.output_sums) for layer in seen]
        self._rank(seen)

    def cut(self, architecture: Shape, *, heal: bool = True) -> "PreTrainedModel":
        """Return an encoder of that shape made of the most important parts of T.

        The layers taken are evenly spaced and include the last. Heads are taken whole if they keep T's size, and are
        merged or split otherwise, see `fsp.families.bert.heads`.

        Args:
            architecture: D, A, H, I, none larger than T's.
            heal: refit the matrices that the cut affects; without it the kept weights are plain copies.

        Raises:
            InputError: the shape is larger than T, or A does not divide H.
        """
        return self._cut(architecture, heal=heal)[0]

    def cut_with_states(self, architecture: Shape) -> "tuple[PreTrainedModel, Tensor]":
        """Return the healed cut of that shape with its last hidden states of the tokens, `(n, length, H)`.

        The states are a by-product of healing; a forward pass gives the same up to float32 rounding.
        Raises InputError as `cut` does.
        """
        return self._cut(architecture, heal=True)

    @torch.no_grad()
    def _cut(self, architecture: Shape, *, heal: bool) -> "tuple[PreTrainedModel, Tensor]":
        """Return the cut and its last hidden states, or without healing the states of its embeddings."""
        shape = Architecture(architecture)
        check_cuttable(self._full, shape)
        config = copy.deepcopy(self._model.config)
        for name, key in CONFIG_NAMES.items():
            setattr(config, key, shape[name])
        small = type(self._model)(config, add_pooling_layer=self._model.pooler is not None).eval()

        keep = self._hidden_order[: shape["H"]].sort().values
        source = spread(self._full["D"], shape["D"])
        heads = [self._heads(k, shape) for k in source]
        inner = [self._inner_order[k][: shape["I"]].sort().values for k in source]

        self._copy(small, keep, source, heads, inner)
        hidden = small.embeddings(input_ids=self._tokens)
        if heal:
            for k, layer in enumerate(small.encoder.layer):
                hidden = self._heal(layer, hidden, source[k], keep, heads[k], inner[k])
        return small, hidden

    @torch.inference_mode()
    def _observe(self, seen: list[_Seen]) -> Tensor:
        """Run T over the calibration tokens, record each layer in its `_Seen`, and return the embedded tokens."""
        watching, ranking = [], []
        for layer, eye in zip(self._model.encoder.layer, seen, strict=True):
            watching.append(layer.attention.output.LayerNorm.register_forward_pre_hook(eye.at_attention_norm))
            watching.append(layer.output.LayerNorm.register_forward_pre_hook(eye.at_output_norm))
            ranking.append(layer.attention.output.dense.register_forward_pre_hook(eye.at_context))
            ranking.append(layer.output.dense.register_forward_pre_hook(eye.at_inner))
        embedded = []
        for i in range(0, len(self._tokens), _BATCH):
            if i * self._tokens.shape[1] >= _RANKING_TOKENS:
                _remove(ranking)
            batch = self._tokens[i : i + _BATCH]
            embedded.append(self._model(input_ids=batch, output_hidden_states=True).hidden_states[0])
        _remove([*watching, *ranking])
        return torch.cat(embedded).flatten(0, 1)

    @torch.no_grad()
    def _rank(self, seen: list[_Seen]) -> None:
        """Order hidden coordinates, heads and intermediate units, most important first."""
        ranking, size = slice(_RANKING_TOKENS), self._head_size
        hidden = torch.zeros(self._full["H"], self._full["H"], dtype=torch.float64)
        self._head_order, self._inner_order, self._shown = [], [], []
        for k, (eye, layer) in enumerate(zip(seen, self._model.encoder.layer, strict=True)):
            read = self._layer_input(k)[ranking]
            read_gram = covariance(read)
            hidden += read_gram + covariance(self._middle(k)[ranking])
            write = layer.attention.output.dense.weight.double().unflatten(1, (-1, size))  # H x A x size
            passed = torch.stack(eye.context_grams).sum(dim=0)
            context = passed.unflatten(0, (-1, size)).unflatten(2, (-1, size))  # A x size x A x size
            self._shown.append((read.double().mean(dim=0), read_gram / len(read), passed / len(read)))
            written = torch.einsum("has,asat,hat->a", write, context, write)
            self._head_order.append(written.argsort(descending=True, stable=True))
            norms = layer.output.dense.weight.double().norm(dim=0)
            self._inner_order.append(_pivots(torch.stack(eye.inner_grams).sum(dim=0) * torch.outer(norms, norms)))
        self._hidden_order = _pivots(hidden)

    def _heads(self, k: int, shape: Shape) -> Projections:
        """Return the heads of the candidate's layer that is taken from T's layer k."""
        layer, size = self._model.encoder.layer[k], self._head_size
        if not head_size_changed(self._full, shape):
            kept = self._head_order[k][: shape["A"]].sort().values
            return whole_heads(layer, (kept[:, None] * size + torch.arange(size)).flatten())
        trained = TrainedHeads(layer, self._full["A"], *self._shown[k])
        return trained.reshaped(shape["A"], shape["H"] // shape["A"])

    def _layer_input(self, k: int) -> Tensor:
        """Return T's hidden state before layer k, `n x H`."""
        if k == 0:
            return self._embedded
        return self._model.encoder.layer[k - 1].output.LayerNorm(self._output_sum[k - 1].float())

    def _middle(self, k: int) -> Tensor:
        """Return T's hidden state inside layer k, after attention, `n x H`."""
        return self._model.encoder.layer[k].attention.output.LayerNorm(self._attention_sum[k].float())

    def _copy(
        self, small: "PreTrainedModel", keep: Tensor, source: list[int], heads: list[Projections], inner: list[Tensor]
    ) -> None:
        """Copy the kept weights of T, layer norms included."""
        trained = self._model.state_dict()
        state = {}
        for name in small.state_dict():
            rows = columns = keep
            origin = name
            if name.startswith("encoder.layer."):
                k, module = int(name.split(".")[2]), name.split(".", 3)[3].rpartition(".")[0]
                origin = name.replace(f"layer.{k}.", f"layer.{source[k]}.", 1)
                rows = inner[k] if module == "intermediate.dense" else keep
                columns = inner[k] if module == "output.dense" else keep
            elif name.endswith("_embeddings.weight"):
                rows = torch.arange(len(trained[name]))
            if ".attention.self." in name:
                continue
            if name.endswith("attention.output.dense.weight"):
                state[name] = heads[k].write[keep]
                continue
            weight = trained[origin][rows]
            state[name] = weight[:, columns] if weight.ndim == 2 else weight
        for k, made in enumerate(heads):
            for reader in _READERS:
                weight, bias = getattr(made, reader)
                state[f"encoder.layer.{k}.attention.self.{reader}.weight"] = weight[:, keep]
                state[f"encoder.layer.{k}.attention.self.{reader}.bias"] = bias
        small.load_state_dict(state)

    def _heal(self, layer: Any, hidden: Tensor, k: int, keep: Tensor, heads: Projections, inner: Tensor) -> Tensor:
        """Refit one layer of the cut to match T's layer k; return its output on the calibration tokens."""
        trained = self._model.encoder.layer[k]
        state = hidden.flatten(0, 1)
        readers = [(getattr(layer.attention.self, name), getattr(heads, name)) for name in _READERS]
        refit_readers(readers, state, self._layer_input(k), keep)

        write, norm = layer.attention.output.dense, layer.attention.output.LayerNorm
        context = layer.attention.self(hidden)[0].flatten(0, 1)
        wanted = self._attention_sum[k][:, keep].float() - state
        middle = norm(refit_writer(write, context, wanted) + state)

        wide = trained.intermediate.dense
        readers = [(layer.intermediate.dense, (wide.weight[inner], wide.bias[inner]))]
        refit_readers(readers, middle, self._middle(k), keep)
        activation = layer.intermediate(middle)
        wanted = self._output_sum[k][:, keep].float() - middle
        written = refit_writer(layer.output.dense, activation, wanted)
        return layer.output.LayerNorm(written + middle).view(hidden.shape)


def _remove(handles: list[Any]) -> None:
    for handle in handles:
        handle.remove()


def _pivots(gram: Tensor) -> Tensor:
    """Return the pivot order of a Cholesky factorisation with complete pivoting; rows without variance come last."""
    _, pivots, _, _ = dpstrf(gram.numpy(), tol=0.0)
    return torch.from_numpy(pivots).long() - 1
