"""Zero-cost baselines: scores of an architecture that need no training, to compare an error surrogate with.

For all of them the expected error falls as the score rises. Only the order of scores has a meaning.

Two are closed forms. The two others build the untrained candidate and compute its gradients once; they were defined for
convolutional image classifiers, and their docstrings list the adaptations and the families they fit. For transformers
such proxies often rank worse than the plain number of parameters (Chen et al. 2025, arXiv 2503.18646), which alone
ranks language models well (Javaheripi et al. 2022, arXiv 2203.02094): the closed forms are the baselines to beat.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import Diverged, InputError
from fsp.families.family import Family, load_family, name_of
from fsp.objectives import counts
from fsp.spaces.space import SearchSpace, family_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_SEQUENCES, _LENGTH = 32, 32  # random sequences and their tokens, if no text is given
_ACTIVATIONS = {"bert": "intermediate.intermediate_act_fn", "distilbert": "ffn.activation"}  # in a layer, by family
_K = 1e-5  # Mellor et al.'s constant, which keeps logarithm and inverse of vanishing eigenvalues finite

Shape = Mapping[str, int]


def encoder_parameters(space: SearchSpace, architecture: Shape, seed: int = 0) -> float:
    """Return the number of encoder parameters, in closed form; `seed` is ignored.

    Example:
        >>> from fsp.spaces.loading import load_space
        >>> encoder_parameters(load_space("bert_large"), dict(D=4, A=8, H=1024, I=768))
        23108608.0
    """
    return float(counts.sizes(space, space.point(architecture))["encoder_parameters"][0])


def operations(space: SearchSpace, architecture: Shape, seed: int = 0) -> float:
    """Return the operations of one forward pass, in closed form (`counts.operations`); `seed` is ignored.

    Example:
        >>> from fsp.spaces.loading import load_space
        >>> space = load_space("minilm")
        >>> operations(space, space.maximum) > operations(space, dict(D=1, A=4, H=128, I=128))
        True
    """
    return float(counts.operations(space, space.point(architecture))[0])


def synflow(space: SearchSpace, architecture: Shape, seed: int = 0) -> float:
    """Return the logarithm of the untrained encoder's synaptic flow, `log Σ |θ ∂R/∂θ|`.

    R is the sum of the outputs for an input of ones, of the network with all weights replaced by their absolute values
    (Tanaka et al. 2020, arXiv 2006.05467), and the sum runs over the weights of linear layers, as Abdelfattah et al.
    2021 (arXiv 2101.08134) do to score a whole network.

    Adapted to a transformer encoder:
    the ones stand for embedded tokens, so embeddings do not count;
    layer norms, like the batch norms of Abdelfattah et al., are taken out;
    GELU becomes the identity that ReLU already is on positive values;
    softmax over equal tokens is uniform and passes no gradient: query and key carry no flow, and one token suffices.
    The remaining network is linear in its input. In place of each layer norm, the values are divided by their mean,
    which is held constant, and the logarithms of the means are added to the result. By linearity this does not change
    the result, and prevents overflow at any depth or width.

    Args:
        space: of family `bert` or `distilbert`, whose norms come after the residual sums: where they come before, as in
            decoders, or where a gate multiplies values, the network without norms is not a linear one of equal flow.
        architecture: one of its shapes.
        seed: seed of the initial weights.

    Raises:
        InputError: the space is of another family.

    Example:
        >>> from fsp.spaces.loading import load_space
        >>> space = load_space("minilm")
        >>> shallow, deep = (synflow(space, dict(D=depth, A=4, H=128, I=256)) for depth in (1, 2))
        >>> shallow < deep
        True
    """
    if not has_synflow(space):
        raise InputError(
            f"synflow takes encoders with norms after the residual sums, families {' and '.join(_ACTIVATIONS)}; space "
            f"{space.name} is of family {space.family_name}"
        )
    model = _untrained(space, architecture, seed)
    model.set_attn_implementation("eager")  # its softmax of a single score is exactly 1, its gradient exactly 0
    return _synflow(model.double(), family_of(space))


def has_synflow(space: SearchSpace) -> bool:
    """Return whether `synflow` takes a space's networks."""
    return space.family_name in _ACTIVATIONS


def _synflow(model: "PreTrainedModel", family: Family) -> float:
    """Return `log Σ |θ ∂R/∂θ|` of an encoder; changes the encoder in place."""
    import torch
    from torch import nn

    class Rescaled(nn.Module):
        def forward(self, values: "torch.Tensor") -> "torch.Tensor":
            mean = values.detach().mean()
            scales.append(float(mean.log()))
            return values / mean

    scales: list[float] = []
    assert family.anatomy is not None
    activation = _ACTIVATIONS[name_of(family).rpartition(".")[2]]
    for layer in model.get_submodule(family.anatomy.layers):
        for branch in family.anatomy.branches:
            assert branch.sums is not None
            layer.set_submodule(branch.sums, Rescaled())
        layer.set_submodule(activation, nn.Identity())
    encoder = model.get_submodule(family.anatomy.layers.rpartition(".")[0])
    for weight in model.parameters():
        weight.detach().abs_()
    weights = [module.weight for module in encoder.modules() if isinstance(module, nn.Linear)]
    ones = torch.ones(1, 1, model.config.hidden_size, dtype=torch.float64)
    flow = encoder(ones).last_hidden_state.sum()
    gradients = torch.autograd.grad(flow, weights)
    flows = zip(weights, gradients, strict=True)
    total = sum(float((weight.detach() * gradient).sum()) for weight, gradient in flows)  # no term is negative
    return sum(scales) + float(np.log(total))


def jacobian_covariance(
    space: SearchSpace, architecture: Shape, seed: int = 0, tokens: NDArray[np.integer] | None = None
) -> float:
    """Return how different the untrained network's responses to different sequences are, `jacob_cov`.

    With the eigenvalues v of the correlation matrix of the sequences' gradients, it is `-Σ (log(v + k) + 1 / (v + k))`,
    k = 1e-5 (Mellor et al. 2020, arXiv 2006.04647v1; `jacob_cov` of Abdelfattah et al. 2021, arXiv 2101.08134). The
    largest value is -n, for n sequences whose gradients are uncorrelated.

    Adapted to a transformer encoder:
    gradients are taken with respect to the embedded words, since tokens have none (as Serianni & Kalita
    2023, arXiv 2306.00288, do for recurrent language models);
    the published sum over all outputs would be constant, because each output of most networks leaves a layer norm and
    sums to zero, so the outputs are summed with random weights from the seed, as the untrained head of a language
    model does;
    eigenvalues are those of a symmetric matrix in float64, floored at 0.

    Args:
        space: of a family of networks that read text.
        architecture: one of its shapes.
        seed: seed of the initial weights, the weights of the sum, and the random tokens.
        tokens: sequences of token ids, `n x length`; 32 random sequences of 32 tokens by default.

    Raises:
        InputError: the space's networks read no text, or there are fewer than two sequences.
        Diverged: the gradients are zero or not finite.

    Example:
        >>> from fsp.spaces.loading import load_space
        >>> jacobian_covariance(load_space("minilm"), dict(D=1, A=4, H=128, I=128)) < -32
        True
    """
    from fsp.distillation.models.loading import longest_input

    if not has_jacobian(space):
        raise InputError(
            f"this covariance takes networks that read text; space {space.name} is of family {space.family_name}"
        )
    model = _untrained(space, architecture, seed).double()
    if tokens is None:
        length = min(_LENGTH, longest_input(model.config))
        tokens = np.random.default_rng(seed).integers(model.config.vocab_size, size=(_SEQUENCES, length))
    if len(tokens) < 2:
        raise InputError(f"the Jacobian covariance compares sequences; give two or more, not {len(tokens)}")
    return _spectrum_score(_jacobian(model, tokens, seed))


def has_jacobian(space: SearchSpace) -> bool:
    """Return whether `jacobian_covariance` takes a space's networks: those of transformers with an embedding table."""
    family = load_family(space.family)
    return "vocabulary" in family.CONSTANTS and name_of(family).startswith("fsp.families.")


def _jacobian(model: "PreTrainedModel", tokens: NDArray[np.integer], seed: int) -> NDArray[np.float64]:
    """Return the gradients of the weighted sum of outputs with respect to the embedded words, `n x (length H)`."""
    import torch

    model.requires_grad_(False)
    embedded = model.get_input_embeddings()(torch.from_numpy(tokens.astype(np.int64))).requires_grad_()
    weights = torch.from_numpy(np.random.default_rng([seed, 1]).normal(size=model.config.hidden_size))
    total = (model(inputs_embeds=embedded).last_hidden_state @ weights).sum()
    (gradient,) = torch.autograd.grad(total, embedded)
    return gradient.flatten(1).numpy()


def _spectrum_score(jacobian: NDArray[np.float64]) -> float:
    centred = jacobian - jacobian.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and lengths.all()):
        raise Diverged("the gradients of the untrained network are zero or no numbers")
    unit = centred / lengths
    eigenvalues = np.maximum(np.linalg.eigvalsh(unit @ unit.T), 0) + _K
    return -float(np.sum(np.log(eigenvalues) + 1 / eigenvalues))


def _untrained(space: SearchSpace, architecture: Shape, seed: int) -> Any:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return family_of(space).build(architecture, space.constants).eval()


ZERO_COST: dict[str, Callable[[SearchSpace, Shape], float]] = {
    "encoder_parameters": encoder_parameters,
    "operations": operations,
    "synflow": synflow,
    "jacobian_covariance": jacobian_covariance,
}
"""The baselines by name; the expected error falls as the score rises."""


def zero_cost_for(space: SearchSpace) -> dict[str, Callable[[SearchSpace, Shape], float]]:
    """Return the baselines that take a space's networks, by name.

    Example:
        >>> from fsp.spaces.loading import load_space
        >>> list(zero_cost_for(load_space("gpt2"))), list(zero_cost_for(load_space("mlp")))
        (['encoder_parameters', 'operations', 'jacobian_covariance'], ['encoder_parameters', 'operations'])
    """
    takes = {"synflow": has_synflow, "jacobian_covariance": has_jacobian}
    return {name: score for name, score in ZERO_COST.items() if name not in takes or takes[name](space)}
