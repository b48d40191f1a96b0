import pytest
import torch

from fsp.base.errors import InputError
from fsp.families import bert
from fsp.families.architecture import Architecture
from fsp.families.bert.cutter import Cutter, _pivots
from fsp.families.bert.healing import gram_of, refit_writer

FULL = {"D": 3, "A": 4, "H": 32, "I": 48}
TABLES = {"vocabulary": 200, "positions": 24, "token_types": 2}


def teacher(kind="bert"):
    torch.manual_seed(1)
    if kind == "roberta":
        from transformers import RobertaConfig, RobertaModel

        sizes = bert.config_for(FULL, TABLES).to_dict()
        keys = [*bert.CONFIG_NAMES.values(), "vocab_size", "max_position_embeddings", "type_vocab_size"]
        network = RobertaModel(RobertaConfig(**{key: sizes[key] for key in keys})).eval()
    else:
        network = bert.build(FULL, TABLES).eval()
    with torch.no_grad():  # away from the initial symmetries, so that every wrong index shows
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def tokens(blocks=40):
    return torch.randint(5, 200, (blocks, 16), generator=torch.Generator().manual_seed(2))


def states(network):
    with torch.no_grad():
        return network(input_ids=tokens()).last_hidden_state


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("heal", [False, True])
def test_the_full_size_cut_is_t(kind, heal):
    network = teacher(kind)
    copy = Cutter(network, tokens()).cut(FULL, heal=heal)
    assert torch.allclose(states(copy), states(network), atol=2e-3)


def test_a_plain_cut_copies_weights_layer_norms_included():
    network = teacher()
    cutter = Cutter(network, tokens())
    small = cutter.cut({"D": 1, "A": 2, "H": 16, "I": 20}, heal=False)
    keep = cutter._hidden_order[:16].sort().values
    last, layer = network.encoder.layer[-1], small.encoder.layer[0]
    assert torch.equal(layer.output.LayerNorm.weight, last.output.LayerNorm.weight[keep])
    assert torch.equal(small.embeddings.LayerNorm.bias, network.embeddings.LayerNorm.bias[keep])
    assert torch.equal(small.embeddings.word_embeddings.weight, network.embeddings.word_embeddings.weight[:, keep])
    heads = cutter._head_order[-1][:2].sort().values
    rows = torch.cat([torch.arange(8 * a, 8 * a + 8) for a in heads.tolist()])
    query = last.attention.self.query
    assert torch.equal(layer.attention.self.query.weight, query.weight[rows][:, keep])
    assert torch.equal(layer.attention.output.dense.weight, last.attention.output.dense.weight[keep][:, rows])
    inner = cutter._inner_order[-1][:20].sort().values
    assert torch.equal(layer.output.dense.weight, last.output.dense.weight[keep][:, inner])


@pytest.mark.parametrize("shape", [(3, 4, 32, 24), (3, 2, 16, 48), (1, 4, 32, 48), (2, 3, 24, 24)])
def test_healing_brings_the_cut_closer_to_t(shape):
    network = teacher()
    cutter = Cutter(network, tokens())
    architecture = dict(zip("DAHI", shape, strict=True))
    keep = cutter._hidden_order[: architecture["H"]].sort().values
    wanted = states(network)[..., keep]
    missed = {heal: (states(cutter.cut(architecture, heal=heal)) - wanted).square().mean() for heal in (False, True)}
    assert missed[True] < 0.9 * missed[False]


def test_cutting_leaves_t_as_it_was_and_is_repeatable():
    network = teacher()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    cutter = Cutter(network, tokens())
    first, second = (cutter.cut({"D": 2, "A": 2, "H": 16, "I": 16}) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert bert.architecture_of(first.config) == Architecture(D=2, A=2, H=16, I=16)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ({"D": 4, "A": 4, "H": 32, "I": 48}, "does not fit"),
        ({"D": 3, "A": 3, "H": 32, "I": 48}, "A=3 does not divide H=32"),
        ({"D": 3, "A": 4, "H": 32}, "no shape of this family"),
    ],
)
def test_what_cannot_be_cut_is_refused(shape, says):
    with pytest.raises(InputError, match=says):
        Cutter(teacher(), tokens()).cut(shape)


def test_pivots_take_what_is_least_explained():
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(500, 3, generator=generator, dtype=torch.float64)
    values = torch.stack([3 * base[:, 0], 2.9 * base[:, 0], base[:, 1], 2 * base[:, 2]], dim=1)
    order = _pivots(values.T @ values).tolist()
    assert order[:3] == [0, 3, 2]  # column 1 is a copy of column 0 and comes last


def test_heads_are_ranked_by_the_variance_they_write():
    network = teacher()
    cutter = Cutter(network, tokens())
    for k, layer in enumerate(network.encoder.layer):
        seen = []
        write = layer.attention.output.dense
        handle = write.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].flatten(0, 1)))
        states(network)
        handle.remove()
        variance = [
            (seen[0][:, 8 * a : 8 * a + 8] @ write.weight[:, 8 * a : 8 * a + 8].T).var(dim=0).sum() for a in range(4)
        ]
        assert cutter._head_order[k].tolist() == torch.stack(variance).argsort(descending=True).tolist()


def test_a_refitted_writer_against_its_closed_form_in_float64():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(200, 5, generator=generator) + 3, torch.randn(200, 3, generator=generator)
    module = torch.nn.Linear(5, 3).requires_grad_(False)
    weights, bias = module.weight.double(), module.bias.double()
    written = refit_writer(module, x.clone(), y)
    lacking = y.double() - x.double() @ weights.T - bias
    xc, yc = (v - v.mean(0) for v in (x.double(), lacking))
    gram = xc.T @ xc
    change = (torch.linalg.inv(gram + 0.1 * gram.diagonal().mean() * torch.eye(5, dtype=torch.float64)) @ xc.T @ yc).T
    assert torch.allclose(module.weight.double(), weights + change, atol=1e-5)
    assert torch.allclose(module.bias.double(), bias + lacking.mean(0) - change @ x.double().mean(0), atol=1e-5)
    assert torch.allclose(written, module(x), atol=1e-5)


@pytest.mark.parametrize("width", [3, 256, 300, 600])
def test_a_gram_made_in_blocks_is_the_product(width):
    values = torch.randn(50, width, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(gram_of(values), values.double().T @ values.double(), atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 4, 32, 48), (2, 3, 24, 20), (2, 2, 32, 48), (2, 4, 16, 48)])
def test_the_states_that_come_with_a_cut_are_its_own(shape):
    network, own = Cutter(teacher(), tokens()).cut_with_states(dict(zip("DAHI", shape, strict=True)))
    assert torch.allclose(own, states(network), atol=1e-4)
