"""Cutting a candidate out of a trained BERT-like T, and healing the cut by least squares.

The cut keeps the parts of T that matter most and copies their weights. What it breaks is then repaired
layer by layer, from the bottom up, without gradient steps: every matrix that reads the hidden state is
refitted to read T's state from the fewer coordinates there are, and every matrix that writes to it is
refitted to write T's. All refits are ridge regressions of what is missing, so a cut at full size is T.
"""

import copy
from typing import TYPE_CHECKING, Any

import torch
from scipy.linalg.lapack import dpstrf
from torch import Tensor, nn

from fsp.cutting import check_fits, spread
from fsp.families.bert import CONFIG_NAMES, Shape, architecture_of
from fsp.space import Architecture

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_BATCH = 32  # blocks a forward pass of T
_RANKING_TOKENS = 4096  # enough to rank units; healing uses all tokens
_RIDGE = 0.1  # of the mean squared feature; smaller overfits the few ten thousand tokens (experiments/healing)
_READERS = ("query", "key", "value")


class _Seen:
    """What T's forward pass shows of one layer: `n x H` sums before each layer norm, and grams for the ranking."""

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
        self.context_grams.append(_gram(inputs[0].flatten(0, 1)))

    def at_inner(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.inner_grams.append(_gram(inputs[0].flatten(0, 1)))


class Cutter:
    """Cuts candidates out of one trained T.

    Heads are ranked by the variance they write, intermediate units and hidden coordinates by pivoted Cholesky
    on their covariance (each next one is what the chosen ones explain least).

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

    @torch.no_grad()
    def cut(self, architecture: Shape, *, heal: bool = True) -> "PreTrainedModel":
        """Return an encoder of that shape made of the most important parts of T.

        Layers are taken evenly spaced, the last one always.

        Args:
            architecture: D, A, H, I, none larger than T's, with T's head size.
            heal: refit what the cut breaks; without it the kept weights are plain copies.

        Raises:
            InputError: the shape is larger than T or has another head size.
        """
        shape = Architecture(architecture)
        check_fits(self._full, shape)
        config = copy.deepcopy(self._model.config)
        for name, key in CONFIG_NAMES.items():
            setattr(config, key, shape[name])
        small = type(self._model)(config, add_pooling_layer=self._model.pooler is not None).eval()

        keep = self._hidden_order[: shape["H"]].sort().values
        source = spread(self._full["D"], shape["D"])
        heads = [self._head_order[k][: shape["A"]].sort().values for k in source]
        values = [(h[:, None] * self._head_size + torch.arange(self._head_size)).flatten() for h in heads]
        inner = [self._inner_order[k][: shape["I"]].sort().values for k in source]

        self._copy(small, keep, source, values, inner)
        if heal:
            hidden = small.embeddings(input_ids=self._tokens)
            for k, layer in enumerate(small.encoder.layer):
                hidden = self._heal(layer, hidden, source[k], keep, values[k], inner[k])
        return small

    @torch.inference_mode()
    def _observe(self, seen: list[_Seen]) -> Tensor:
        """Run T over the calibration tokens, let each layer's `_Seen` watch, and return the embedded tokens."""
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
        self._head_order, self._inner_order = [], []
        for k, (eye, layer) in enumerate(zip(seen, self._model.encoder.layer, strict=True)):
            hidden += _gram(self._layer_input(k)[ranking]) + _gram(self._middle(k)[ranking])
            write = layer.attention.output.dense.weight.double().unflatten(1, (-1, size))  # H x A x size
            context = (
                torch.stack(eye.context_grams).sum(dim=0).unflatten(0, (-1, size)).unflatten(2, (-1, size))
            )  # A x size x A x size
            written = torch.einsum("has,asat,hat->a", write, context, write)
            self._head_order.append(written.argsort(descending=True, stable=True))
            norms = layer.output.dense.weight.double().norm(dim=0)
            self._inner_order.append(_pivots(torch.stack(eye.inner_grams).sum(dim=0) * torch.outer(norms, norms)))
        self._hidden_order = _pivots(hidden)

    def _layer_input(self, k: int) -> Tensor:
        """T's hidden state before layer k, `n x H`."""
        if k == 0:
            return self._embedded
        return self._model.encoder.layer[k - 1].output.LayerNorm(self._output_sum[k - 1].float())

    def _middle(self, k: int) -> Tensor:
        """T's hidden state inside layer k, after attention, `n x H`."""
        return self._model.encoder.layer[k].attention.output.LayerNorm(self._attention_sum[k].float())

    def _copy(
        self, small: "PreTrainedModel", keep: Tensor, source: list[int], values: list[Tensor], inner: list[Tensor]
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
                headed = {f"attention.self.{reader}": values[k] for reader in _READERS}
                rows = {**headed, "intermediate.dense": inner[k]}.get(module, keep)
                columns = {"attention.output.dense": values[k], "output.dense": inner[k]}.get(module, keep)
            elif name.endswith("_embeddings.weight"):
                rows = torch.arange(len(trained[name]))
            weight = trained[origin][rows]
            state[name] = weight[:, columns] if weight.ndim == 2 else weight
        small.load_state_dict(state)

    def _heal(self, layer: Any, hidden: Tensor, k: int, keep: Tensor, values: Tensor, inner: Tensor) -> Tensor:
        """Refit one layer of the cut to do what T's layer k does; return its output on the calibration tokens."""
        trained = self._model.encoder.layer[k]
        state = hidden.flatten(0, 1)
        readers = [(getattr(layer.attention.self, n), getattr(trained.attention.self, n), values) for n in _READERS]
        _refit_readers(readers, state, self._layer_input(k), keep)

        contexts: list[Tensor] = []
        write = layer.attention.output.dense
        handle = write.register_forward_pre_hook(lambda _, inputs: contexts.append(inputs[0].flatten(0, 1)))
        layer.attention(hidden)
        handle.remove()
        _refit_writer(write, contexts[0], self._attention_sum[k][:, keep].float() - state)
        middle = layer.attention.output.LayerNorm(write(contexts[0]) + state)

        _refit_readers([(layer.intermediate.dense, trained.intermediate.dense, inner)], middle, self._middle(k), keep)
        activation = layer.intermediate(middle)
        _refit_writer(layer.output.dense, activation, self._output_sum[k][:, keep].float() - middle)
        return layer.output.LayerNorm(layer.output.dense(activation) + middle).view(hidden.shape)


def _remove(handles: list[Any]) -> None:
    for handle in handles:
        handle.remove()


def _gram(values: Tensor) -> Tensor:
    """Covariance times the number of rows, float64, of `n x d` values."""
    centred = values - values.mean(dim=0)
    return (centred.T @ centred).double()


def _pivots(gram: Tensor) -> Tensor:
    """Order of the pivots of a Cholesky factorisation with complete pivoting; what has no variance comes last."""
    _, pivots, _, _ = dpstrf(gram.numpy(), tol=0.0)
    return torch.from_numpy(pivots).long() - 1


def _ridge(features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Weights `(outputs, inputs)` and bias of the ridge regression of targets on features, `n x d` each."""
    feature_mean, target_mean = features.mean(dim=0), targets.mean(dim=0)
    centred = features - feature_mean
    gram = (centred.T @ centred).double()
    gram += _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    weights = torch.linalg.solve(gram, (centred.T @ (targets - target_mean)).double()).float().T
    return weights, target_mean - weights @ feature_mean


def _refit_readers(readers: list[tuple[Any, Any, Tensor]], state: Tensor, full: Tensor, keep: Tensor) -> None:
    """Let (module, T's module, kept rows) read T's full state as it is predicted from the kept coordinates."""
    missing = full.clone()
    missing[:, keep] -= state
    spread, offset = _ridge(state, missing)
    spread[keep, torch.arange(len(keep))] += 1
    for module, trained, rows in readers:
        module.weight.copy_(trained.weight[rows] @ spread)
        module.bias.copy_(trained.bias[rows] + trained.weight[rows] @ offset)


def _refit_writer(module: nn.Linear, features: Tensor, wanted: Tensor) -> None:
    """Change a module by the ridge regression of what its output lacks."""
    weights, offset = _ridge(features, wanted - module(features))
    module.weight.add_(weights)
    module.bias.add_(offset)
