import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsp.distillation.cutting import Cutter
from fsp.distillation.heads import Projections, TrainedHeads, _reduced
from fsp.families import bert
from fsp.families.architecture import Architecture

FULL = {"D": 2, "A": 4, "H": 32, "I": 24}  # head size 8
TABLES = {"vocabulary": 60, "positions": 16, "token_types": 1}
TOKENS = torch.randint(0, 60, (24, 12), generator=torch.Generator().manual_seed(0))


def network(seed=0):
    torch.manual_seed(seed)
    model = bert.build(FULL, TABLES).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def attended(model, projections=None, heads=4):
    """What the first layer's attention writes, without the bias; float64."""
    layer, state = model.encoder.layer[0].double(), model.embeddings(TOKENS).double()
    reader, write = layer.attention.self, layer.attention.output.dense.weight
    maps = [(m.weight, m.bias) for m in (reader.query, reader.key, reader.value)]
    if projections:
        joined = (projections.query, projections.key, projections.value)
        maps = [(one[:, :-1].double(), one[:, -1].double()) for one in joined]
        write = projections.write.double()
    query, key, value = ((state @ w.T + b).unflatten(-1, (heads, -1)).transpose(1, 2) for w, b in maps)
    context = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    return context.transpose(1, 2).flatten(2) @ write.T


def trained_heads(model):
    layer, state = model.encoder.layer[0], model.embeddings(TOKENS).flatten(0, 1).double()
    contexts = []
    handle = layer.attention.output.dense.register_forward_pre_hook(lambda _, i: contexts.append(i[0].flatten(0, 1)))
    model(TOKENS)
    handle.remove()
    reader = layer.attention.self
    affine = [torch.cat([m.weight, m.bias[:, None]], dim=1).double() for m in (reader.query, reader.key, reader.value)]
    projections = Projections(*affine, layer.attention.output.dense.weight.double())
    return TrainedHeads(projections, 4, state.mean(dim=0), state.T.cov(correction=0), contexts[0].double().T.cov())


def twin(model, first, second):
    """Let one trained head attend as another does; its values stay its own."""
    reader = model.encoder.layer[0].attention.self
    for module in (reader.query, reader.key):
        for weights in (module.weight, module.bias):
            weights[8 * second : 8 * second + 8] = weights[8 * first : 8 * first + 8]


def test_merging_heads_that_attend_alike_changes_nothing_and_finds_them():
    model = network()
    twin(model, 0, 3)
    twin(model, 2, 1)
    made = trained_heads(model).reshaped(2, 16)
    assert torch.allclose(attended(model, made, 2), attended(model), atol=1e-4)


def test_the_mean_of_the_logits_is_exact_when_whole_heads_merge():
    model = network()
    made = trained_heads(model).reshaped(1, 32)
    state, reader = model.embeddings(TOKENS), model.encoder.layer[0].attention.self
    query, key = reader.query(state), reader.key(state)
    logits = torch.einsum("nxad,nyad->nxy", query.unflatten(-1, (4, 8)), key.unflatten(-1, (4, 8))) / 8**0.5 / 4
    one = torch.cat([state, torch.ones_like(state[..., :1])], dim=-1)
    merged = (one @ made.query.T) @ (one @ made.key.T).transpose(1, 2) / 32**0.5
    assert torch.allclose(merged.softmax(-1), logits.softmax(-1), atol=1e-4)


@pytest.mark.parametrize("size", [2, 4, 6])
def test_splitting_is_exact_where_the_logits_and_values_have_that_rank(size):
    model = network()
    attention = model.encoder.layer[0].attention
    for head in range(4):
        attention.self.query.weight[8 * head + size : 8 * head + 8] = 0
        attention.self.query.bias[8 * head + size : 8 * head + 8] = 0
        attention.output.dense.weight[:, 8 * head + size : 8 * head + 8] = 0
    made = trained_heads(model).reshaped(4, size)
    assert made.write.shape == (32, 4 * size)
    difference = attended(model, made) - attended(model)
    assert difference.abs().max() < 1e-4


def test_reduced_products_are_the_best_of_their_rank():
    generator = torch.Generator().manual_seed(0)
    q, k = (
        torch.randn(400, 6, generator=generator, dtype=torch.float64) @ torch.diag(torch.arange(1.0, 7).double())
        for _ in range(2)
    )
    p, r = _reduced(q.T @ q, k.T @ k, 3)
    error = (q @ k.T - (q @ p.T) @ (k @ r.T).T).square().sum()
    assert error == pytest.approx(float(torch.linalg.svdvals(q @ k.T)[3:].square().sum()), rel=1e-6)


def test_what_has_no_rank_is_padded_with_zeros():
    moment = torch.diag(torch.tensor([2.0, 0.0, 0.0], dtype=torch.float64))
    for rank in (2, 5):
        p, r = _reduced(moment, torch.eye(3, dtype=torch.float64), rank)
        assert p.shape == r.shape == (rank, 3)
        assert torch.allclose(p.T @ r @ moment, moment)
        assert not p[1:].any() and not r[1:].any()


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_every_shape_that_a_divides_can_be_cut(data):
    heads = data.draw(st.integers(1, 4))
    shape = {
        "D": data.draw(st.integers(1, 2)),
        "A": heads,
        "H": heads * data.draw(st.integers(1, 32 // heads)),
        "I": data.draw(st.integers(1, 24)),
    }
    for heal in (True, False):
        small = CUTTER.cut(shape, heal=heal).network
        assert bert.architecture_of(small.config) == Architecture(shape)
        assert small(TOKENS).last_hidden_state.isfinite().all()


CUTTER = Cutter(network(), bert, {"input_ids": TOKENS})


@pytest.mark.parametrize("heads", [1, 2])
def test_healing_brings_a_cut_with_other_heads_closer_to_t(heads):
    model = network()
    shape = {"D": 2, "A": heads, "H": 32, "I": 24}
    wanted = model(TOKENS).last_hidden_state
    missed = {
        heal: (CUTTER.cut(shape, heal=heal).network(TOKENS).last_hidden_state - wanted).square().mean()
        for heal in (False, True)
    }
    assert missed[1] < missed[0]


@pytest.fixture(scope="module")
def untrained(tiny):
    from fsp.distillation.inputs import prepare

    return prepare(tiny.space_file, teacher=str(tiny.teacher), corpus=[tiny.corpus], steps=0, tokens=16_384, threads=1)[
        1
    ]


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_the_error_without_steps_of_any_number_of_heads(untrained, heads):
    from fsp.distillation.error import E_MIN

    assert E_MIN < untrained(Architecture(D=2, A=heads, H=32, I=32)) < 1
