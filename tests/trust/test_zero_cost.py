from dataclasses import replace

import numpy as np
import pytest
import torch

from fsp.base.errors import Diverged, InputError
from fsp.families import bert, distilbert
from fsp.families.architecture import Architecture
from fsp.objectives.counts import sizes
from fsp.spaces.loading import load_space
from fsp.spaces.space import SearchSpace
from fsp.trust import zero_cost
from fsp.trust.zero_cost import ZERO_COST, jacobian_covariance, synflow, zero_cost_for

SPACE = SearchSpace(
    name="small",
    parameters={"D": (1, 2), "A": (2,), "H": (4, 8), "I": (6, 12)},
    rules=(),
    maximum={"D": 2, "A": 2, "H": 8, "I": 12},
    family="bert",
    constants={"vocabulary": 30, "positions": 16, "token_types": 1},
)
SHAPE = Architecture(D=2, A=2, H=4, I=6)
LINEAR = ("attention.self.value", "attention.output.dense", "intermediate.dense", "output.dense")


def untrained(seed=0):
    torch.manual_seed(seed)
    return bert.build(SHAPE, SPACE.constants).eval()


def flow(layers):
    """Sum of the outputs of the linear network of |weights| for an input of ones, in plain numpy."""
    x = np.ones(SHAPE["H"])
    for value, out, up, down in layers:
        x = x + out @ (value @ x)
        x = x + down @ (up @ x)
    return x.sum()


def brute_force_synflow(model):
    """R is linear in every single weight, so θ ∂R/∂θ is what R loses when that weight is set to zero."""
    state = model.double().state_dict()
    layers = [[state[f"encoder.layer.{d}.{name}.weight"].abs().numpy().copy() for name in LINEAR] for d in range(2)]
    whole, total = flow(layers), 0.0
    for matrices in layers:
        for matrix in matrices:
            for index in np.ndindex(matrix.shape):
                kept, matrix[index] = matrix[index], 0.0
                total += whole - flow(layers)
                matrix[index] = kept
    return np.log(total)


@pytest.mark.parametrize("seed", [0, 1])
def test_synflow_against_brute_force(seed):
    assert synflow(SPACE, SHAPE, seed) == pytest.approx(brute_force_synflow(untrained(seed)), rel=1e-9)


def test_synflow_does_not_overflow():
    """Weights so large that the flow itself has no float64: it grows with the product of four matrices a layer."""

    def scaled(factor):
        model = untrained().double()
        model.set_attn_implementation("eager")
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if any(f"{part}.weight" in name for part in LINEAR):
                    weight.mul_(factor)
        return zero_cost._synflow(model, bert)

    assert scaled(1e61) - scaled(1e60) == pytest.approx(8 * np.log(10), rel=1e-9)


def test_jacobian_against_finite_differences():
    tokens = np.random.default_rng(0).integers(1, 30, (3, 4))
    model = untrained().double()
    jacobian = zero_cost._jacobian(model, tokens, seed=0)
    weights = np.random.default_rng([0, 1]).normal(size=SHAPE["H"])
    embedded = model.embeddings.word_embeddings(torch.from_numpy(tokens)).detach()
    differences = np.empty((3, 4, SHAPE["H"]))
    for index in np.ndindex(differences.shape):
        ends = []
        for step in (1e-6, -1e-6):
            moved = embedded.clone()
            moved[index] += step
            ends.append(float((model(inputs_embeds=moved).last_hidden_state @ torch.from_numpy(weights)).sum()))
        differences[index] = (ends[0] - ends[1]) / 2e-6
    assert np.allclose(jacobian, differences.reshape(3, -1), rtol=1e-5, atol=1e-6)


def test_jacobian_covariance_is_the_published_formula():
    tokens = np.random.default_rng(0).integers(1, 30, (6, 8))
    values, _ = np.linalg.eig(np.corrcoef(zero_cost._jacobian(untrained().double(), tokens, seed=0)))
    published = -np.sum(np.log(values.real + 1e-5) + 1 / (values.real + 1e-5))
    assert jacobian_covariance(SPACE, SHAPE, 0, tokens) == pytest.approx(published, rel=1e-6)


def test_unlike_gradients_score_highest_and_equal_ones_are_finite():
    unlike = np.kron(np.eye(4), [1.0, -1.0])
    assert zero_cost._spectrum_score(unlike) == pytest.approx(-4, abs=1e-4)
    alike = np.tile(unlike[:1], (4, 1))
    assert -np.inf < zero_cost._spectrum_score(alike) < -1e5
    with pytest.raises(Diverged):
        zero_cost._spectrum_score(np.zeros((3, 5)))
    with pytest.raises(Diverged):
        zero_cost._spectrum_score(np.full((3, 5), np.nan))


@pytest.mark.parametrize("name", ZERO_COST)
def test_scores_depend_on_space_architecture_and_seed_alone(name):
    score = ZERO_COST[name]
    first = score(SPACE, SHAPE)
    state = torch.random.get_rng_state()
    assert score(SPACE, SHAPE) == first
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(99)
    assert score(SPACE, SHAPE) == first
    assert np.isfinite(first)


@pytest.mark.parametrize("name", ["synflow", "jacobian_covariance"])
def test_gradient_scores_depend_on_the_seed(name):
    assert ZERO_COST[name](SPACE, SHAPE, seed=1) != ZERO_COST[name](SPACE, SHAPE)


BOTH = {"encoder_parameters", "operations", "synflow", "jacobian_covariance"}


@pytest.mark.parametrize(
    ("name", "takes"),
    [
        ("minilm", BOTH),
        ("distilbert", BOTH),
        ("gpt2", BOTH - {"synflow"}),
        ("smollm", BOTH - {"synflow"}),
        ("modernbert", BOTH - {"synflow"}),
        ("vit", BOTH - {"synflow", "jacobian_covariance"}),
        ("mlp", BOTH - {"synflow", "jacobian_covariance"}),
    ],
)
def test_a_score_is_a_number_or_is_refused_and_left_out(name, takes):
    space = load_space(name)
    space = (
        replace(space, constants={**space.constants, "vocabulary": 50}) if "vocabulary" in space.constants else space
    )
    smallest = dict(zip(space.names, space.candidates[0].tolist(), strict=True))
    assert set(zero_cost_for(space)) == takes
    for score, function in ZERO_COST.items():
        if score in takes:
            assert np.isfinite(function(space, smallest))
        else:
            with pytest.raises(InputError, match=f"space {name} is of family {space.family_name}"):
                function(space, smallest)


def test_synflow_of_equal_weights_is_that_of_bert_in_distilbert():
    """Both are the same network under other names, so the same weights have the same flow."""
    torch.manual_seed(0)
    tables = {"vocabulary": 30, "positions": 16}
    theirs, ours = distilbert.build(SHAPE, tables).eval(), untrained()
    names = dict(zip(("attention.v_lin", "attention.out_lin", "ffn.lin1", "ffn.lin2"), LINEAR, strict=True))
    with torch.no_grad():
        for own, other in names.items():
            for one, two in zip(theirs.transformer.layer, ours.encoder.layer, strict=True):
                one.get_submodule(own).weight.copy_(two.get_submodule(other).weight)
    theirs.set_attn_implementation("eager")
    assert zero_cost._synflow(theirs.double(), distilbert) == pytest.approx(brute_force_synflow(untrained()), rel=1e-9)


@pytest.mark.parametrize("name", ["encoder_parameters", "operations", "synflow"])
def test_larger_networks_score_higher(name):
    space = load_space("minilm")
    shapes = [dict(D=1, A=4, H=128, I=128), dict(D=2, A=4, H=128, I=256), dict(D=3, A=6, H=192, I=512)]
    scores = [ZERO_COST[name](space, shape) for shape in shapes]
    assert scores == sorted(scores)


def test_encoder_parameters_are_the_closed_form():
    expected = sizes(SPACE, SPACE.candidates)["encoder_parameters"].tolist()
    rows = [dict(zip(SPACE.parameters, row, strict=True)) for row in SPACE.candidates.tolist()]
    assert [ZERO_COST["encoder_parameters"](SPACE, row) for row in rows] == expected


def test_one_sequence_has_no_covariance():
    with pytest.raises(InputError, match="two or more"):
        jacobian_covariance(SPACE, SHAPE, 0, np.ones((1, 4), dtype=int))
