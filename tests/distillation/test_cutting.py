"""Cuts of every model type and head; what holds for every family is also in the contract (`fsp.testing`)."""

from dataclasses import replace

import pytest
import torch
from tiny_networks import BARE, given, outputs, perturb, tiny

from fsp.base.errors import InputError
from fsp.distillation.cutting import Cutter, _pivots
from fsp.families.family import family_of_type, load_family

ENCODERS = ("bert", "roberta", "xlm-roberta", "camembert", "electra")
DECODERS = ("llama", "mistral", "qwen2", "qwen3")
UNTIED = {"tie_word_embeddings": False}
NETWORKS = [
    *((kind, "", {}) for kind in BARE),
    *((kind, head, {}) for kind in ENCODERS for head in ("ForMaskedLM", "ForSequenceClassification")),
    *(("bert", head, {}) for head in ("ForPreTraining", "ForTokenClassification", "ForQuestionAnswering")),
    *(("electra", head, {"embedding_size": 24}) for head in ("", "ForMaskedLM", "ForSequenceClassification")),
    ("electra", "ForPreTraining", {}),
    *(("distilbert", head, {}) for head in ("ForMaskedLM", "ForSequenceClassification")),
    ("distilbert", "", {"sinusoidal_pos_embds": True}),
    *(("modernbert", head, {}) for head in ("ForMaskedLM", "ForSequenceClassification")),
    *((kind, "ForMaskedLM", UNTIED) for kind in ("bert", "roberta", "distilbert", "electra", "modernbert")),
    ("gpt2", "LMHeadModel", {}),
    ("gpt2", "LMHeadModel", UNTIED),
    ("gpt2", "ForSequenceClassification", {}),
    *((kind, "ForCausalLM", {"tie_word_embeddings": tied}) for kind in DECODERS for tied in (True, False)),
    *((kind, "ForSequenceClassification", {}) for kind in DECODERS),
    ("mistral", "", {"sliding_window": 4}),
    ("qwen2", "", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}),
    ("llama", "", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}}),
    *((kind, "ForImageClassification", {}) for kind in ("vit", "deit")),
    ("deit", "ForImageClassificationWithTeacher", {}),
    ("bert", "", {"hidden_act": "relu", "layer_norm_eps": 0.01}),
    ("gpt2", "", {"activation_function": "relu", "layer_norm_epsilon": 0.01}),
    ("llama", "", {"hidden_act": "gelu", "rms_norm_eps": 0.01}),
]
every_network = pytest.mark.parametrize(
    ("kind", "head", "settings"), NETWORKS, ids=[" ".join([k, h, *map(str, s.values())]) for k, h, s in NETWORKS]
)


def cutter_of(network):
    kind = network.config.model_type
    return Cutter(network, family_of_type(kind), given(kind))


def missed(network, wanted, hidden):
    """The mean squared error of a cut's first output, of its states at the coordinates that it kept."""
    found = next(iter(outputs(network, given(network.config.model_type)).values()))
    first = next(iter(wanted.values()))
    return float((found - (first if found.shape == first.shape else first[..., hidden])).square().mean())


@every_network
def test_the_full_size_cut_is_t(kind, head, settings):
    network = tiny(kind, head, **settings)
    wanted, cutter = outputs(network, given(kind)), cutter_of(network)
    for heal in (False, True):
        cut = cutter.cut(family_of_type(kind).architecture_of(network.config), heal=heal).network
        for name, found in outputs(cut, given(kind)).items():
            assert (found - wanted[name]).norm() < 5e-3 * wanted[name].norm(), (heal, name)


@every_network
def test_healing_brings_every_cut_closer_to_t(kind, head, settings):
    network, family = tiny(kind, head, **settings), family_of_type(kind)
    full, wanted, cutter = family.architecture_of(network.config), outputs(network, given(kind)), cutter_of(network)
    groups = {"K": 1} if "K" in full else {}
    shapes = [{**full, "D": 2, "A": 2, "H": 16, "I": 24, **groups}, {**full, "I": 24}, {**full, "D": 1}]
    shapes += [{**full, "A": 2}] if family.anatomy.reshapes_heads else [{**full, "A": 2, "H": 16, **groups}]
    for shape in shapes:
        plain, healed = (cutter.cut(shape, heal=heal) for heal in (False, True))
        assert family.architecture_of(healed.network.config) == shape
        assert missed(healed.network, wanted, healed.hidden) < missed(plain.network, wanted, plain.hidden), shape
        if healed.states is not None:
            body = healed.network.base_model
            states = outputs(body, given(kind))["last_hidden_state"]
            assert torch.allclose(healed.states, states, atol=1e-3 * float(states.abs().max()))


@pytest.mark.parametrize("kind", BARE)
def test_a_saved_cut_is_loaded_as_it_was(kind, tmp_path):
    """Also one of a T that was saved in half precision and loaded in single."""
    whole = type(tiny(kind))
    tiny(kind).half().save_pretrained(tmp_path / "t")
    network = whole.from_pretrained(tmp_path / "t", dtype=torch.float32).eval()
    full = family_of_type(kind).architecture_of(network.config)
    shape = {**full, "D": 2, "A": 2, "H": 16, "I": 24, **({"K": 1} if "K" in full else {})}
    cut = cutter_of(network).cut(shape).network
    assert {weight.dtype for weight in cut.parameters()} == {torch.float32}
    cut.save_pretrained(tmp_path / "cut")
    loaded = whole.from_pretrained(tmp_path / "cut").eval()
    assert family_of_type(kind).architecture_of(loaded.config) == shape
    for name, value in outputs(cut, given(kind)).items():
        assert torch.equal(outputs(loaded, given(kind))[name], value)


def test_a_plain_cut_copies_weights_layer_norms_included():
    network = tiny("bert")
    cutter = cutter_of(network)
    made = cutter.cut({"D": 1, "A": 2, "H": 16, "I": 20}, heal=False)
    small, keep = made.network, made.hidden
    last, layer = network.encoder.layer[-1], small.encoder.layer[0]
    assert made.layers == [2]
    assert torch.equal(keep, cutter._hidden_order[:16].sort().values)
    assert torch.equal(layer.output.LayerNorm.weight, last.output.LayerNorm.weight[keep])
    assert torch.equal(small.embeddings.LayerNorm.bias, network.embeddings.LayerNorm.bias[keep])
    assert torch.equal(small.embeddings.word_embeddings.weight, network.embeddings.word_embeddings.weight[:, keep])
    heads = cutter._order["A", 2][:2].sort().values
    rows = torch.cat([torch.arange(8 * a, 8 * a + 8) for a in heads.tolist()])
    query = last.attention.self.query
    assert torch.equal(layer.attention.self.query.weight, query.weight[rows][:, keep])
    assert torch.equal(layer.attention.output.dense.weight, last.attention.output.dense.weight[keep][:, rows])
    inner = cutter._order["I", 2][:20].sort().values
    assert torch.equal(layer.output.dense.weight, last.output.dense.weight[keep][:, inner])


@pytest.mark.parametrize("kind", BARE)
def test_units_and_heads_that_write_nothing_are_cut_first(kind):
    """Where the dropped ones write zero, the plain cut is T."""
    network, family = tiny(kind), family_of_type(kind)
    full = family.architecture_of(network.config)
    idle = {"I": [0, 3, 17, 40], "A": [2, 3]}  # of a llama one group of two
    with torch.no_grad():
        for name, weight in network.named_parameters():
            pattern = ".".join("*" if part.isdigit() else part for part in name.split("."))
            writer = next((b for b in family.anatomy.branches if pattern.endswith(f"*.{b.writes}.weight")), None)
            if writer is not None:
                axis = family.anatomy.axes[pattern].index(writer.unit)
                blocks = weight.unflatten(axis, (full[writer.unit], -1))
                blocks.index_fill_(axis, torch.tensor(idle[writer.unit]), 0)
    shape = {**full, "I": 44} if family.anatomy.partitions else {**full, "I": 44, "A": 2, "K": 1}
    for smaller in (shape, {**shape, "A": 2, "H": 16} if family.anatomy.partitions else shape):
        cut = cutter_of(network).cut(smaller, heal=False)
        if smaller["H"] == full["H"]:
            wanted = outputs(network, given(kind))["last_hidden_state"]
            assert torch.allclose(outputs(cut.network, given(kind))["last_hidden_state"], wanted, atol=1e-3)
    if family.anatomy.partitions:  # the heads that write are kept, whatever else is cut
        assert all(cut_heads == [0, 1] for cut_heads in kept_heads(network, smaller))


def kept_heads(network, shape):
    cutter = cutter_of(network)
    return [cutter._units(k, shape)["A"].tolist() for k in range(3)]


def test_kept_query_heads_belong_to_kept_groups():
    """Six query heads in three groups: each kept head reads the keys that it was trained with."""
    network = tiny("llama", num_attention_heads=6, num_key_value_heads=3, hidden_size=24, head_dim=4)
    cutter = cutter_of(network)
    size = 4

    def whose(rows, trained):
        """The head of T that each head of a cut is a copy of."""
        heads, full = rows.unflatten(0, (-1, size)), trained.unflatten(0, (-1, size))
        return [next(i for i, other in enumerate(full) if torch.equal(other, head)) for head in heads]

    for heads, groups in ((2, 2), (2, 1), (4, 2), (3, 3), (6, 3)):
        cut = cutter.cut({"D": 3, "A": heads, "K": groups, "H": 24, "I": 48}, heal=False).network
        for small, full in zip(cut.layers, network.layers, strict=True):
            queries = whose(small.self_attn.q_proj.weight, full.self_attn.q_proj.weight)
            keys = whose(small.self_attn.k_proj.weight, full.self_attn.k_proj.weight)
            assert keys == whose(small.self_attn.v_proj.weight, full.self_attn.v_proj.weight) == sorted(set(keys))
            assert whose(small.self_attn.o_proj.weight.T, full.self_attn.o_proj.weight.T) == queries
            assert [q // 2 for q in queries] == [keys[j // (heads // groups)] for j in range(heads)]


def test_a_group_and_heads_of_others_that_write_nothing_are_dropped():
    network = tiny("llama", num_attention_heads=6, num_key_value_heads=3, hidden_size=24, head_dim=4)
    with torch.no_grad():
        for layer in network.layers:
            layer.self_attn.o_proj.weight.unflatten(1, (6, 4))[:, [0, 2, 3, 5]] = 0
    cut = cutter_of(network).cut({"D": 3, "A": 2, "K": 2, "H": 24, "I": 48}, heal=False).network
    wanted = outputs(network, given("llama"))["last_hidden_state"]
    assert torch.allclose(outputs(cut, given("llama"))["last_hidden_state"], wanted, atol=1e-4)


def test_cutting_leaves_t_as_it_was_and_is_repeatable():
    network = tiny("bert", "ForMaskedLM")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    cutter = cutter_of(network)
    first, second = (cutter.cut({"D": 2, "A": 2, "H": 16, "I": 16}).network for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("kind", "shape", "says"),
    [
        ("bert", {"D": 4, "A": 4, "H": 32, "I": 48}, "does not fit"),
        ("bert", {"D": 3, "A": 3, "H": 32, "I": 48}, "A=3 does not divide H=32"),
        ("bert", {"D": 3, "A": 4, "H": 32}, "no shape of this family"),
        ("modernbert", {"D": 3, "A": 2, "H": 32, "I": 48}, r"choose H = 8 \* A"),
        ("llama", {"D": 3, "A": 4, "K": 1, "H": 32, "I": 48}, "at most 2"),
    ],
)
def test_what_cannot_be_cut_is_refused(kind, shape, says):
    with pytest.raises(InputError, match=says):
        cutter_of(tiny(kind)).cut(shape)


def test_an_electra_as_wide_as_its_embeddings_is_refused():
    cutter = cutter_of(tiny("electra", embedding_size=16))
    with pytest.raises(InputError, match=r"H=16 is the width of the embeddings.*choose another H.*'H != 16'"):
        cutter.cut({"D": 3, "A": 2, "H": 16, "I": 48})


def test_a_family_without_anatomy_and_a_part_without_name_are_refused():
    from types import SimpleNamespace

    bert = load_family("bert")
    with pytest.raises(InputError, match="declares no anatomy"):
        Cutter(tiny("bert"), SimpleNamespace(**{**vars(bert), "anatomy": None}), given("bert"))
    axes = {name: labels for name, labels in bert.anatomy.axes.items() if "word" not in name}
    other = SimpleNamespace(**{**vars(bert), "anatomy": replace(bert.anatomy, axes=axes)})
    with pytest.raises(InputError, match=r"does not name: embeddings\.word_embeddings\.weight"):
        Cutter(tiny("bert"), other, given("bert")).cut({"D": 3, "A": 2, "H": 16, "I": 48})


def test_modernbert_keeps_the_kinds_of_its_layers():
    network = tiny("modernbert", num_hidden_layers=4)
    cut = cutter_of(network).cut({"D": 2, "A": 4, "H": 32, "I": 48}, heal=False).network
    assert network.config.layer_types == [f"{kind}_attention" for kind in ("full", "sliding", "sliding", "full")]
    assert cut.config.layer_types == ["full_attention", "full_attention"]
    assert torch.equal(cut.layers[1].mlp.Wo.weight, network.layers[3].mlp.Wo.weight)


def test_a_modernbert_of_one_layer_computes_what_t_does_up_to_its_first():
    """T's last layer cannot be it: it reads its input through a norm of its own, which a first layer does not have."""
    network = tiny("modernbert")
    single = cutter_of(network).cut({"D": 1, "A": 4, "H": 32, "I": 48}, heal=False).network
    with torch.no_grad():
        states = network(**given("modernbert"), output_hidden_states=True).hidden_states
        assert torch.equal(single(**given("modernbert")).last_hidden_state, network.final_norm(states[1]))


def test_a_pooler_is_cut_with_the_rest_and_stays_away_where_there_is_none():
    from transformers import BertModel

    shape = {"D": 3, "A": 2, "H": 16, "I": 48}
    assert cutter_of(tiny("bert")).cut(shape).network.pooler.dense.weight.shape == (16, 16)
    bare = perturb(BertModel(tiny("bert").config, add_pooling_layer=False))
    assert cutter_of(bare).cut(shape).network.pooler is None


def test_tied_embeddings_stay_tied():
    for kind, head in (("gpt2", "LMHeadModel"), ("bert", "ForMaskedLM"), ("distilbert", "ForMaskedLM")):
        cut = cutter_of(tiny(kind, head)).cut({"D": 3, "A": 2, "H": 16, "I": 48}).network
        assert cut.get_output_embeddings().weight is cut.get_input_embeddings().weight


def test_pivots_take_what_is_least_explained():
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(500, 3, generator=generator, dtype=torch.float64)
    values = torch.stack([3 * base[:, 0], 2.9 * base[:, 0], base[:, 1], 2 * base[:, 2]], dim=1)
    order = _pivots(values.T @ values).tolist()
    assert order[:3] == [0, 3, 2]  # column 1 is a copy of column 0 and comes last


def test_heads_are_ranked_by_the_variance_they_write():
    network = tiny("bert")
    cutter = cutter_of(network)
    for k, layer in enumerate(network.encoder.layer):
        seen = []
        write = layer.attention.output.dense
        handle = write.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].flatten(0, 1)))
        outputs(network, given("bert"))
        handle.remove()
        variance = [
            (seen[0][:, 8 * a : 8 * a + 8] @ write.weight[:, 8 * a : 8 * a + 8].T).var(dim=0).sum() for a in range(4)
        ]
        assert cutter._order["A", k].tolist() == torch.stack(variance).argsort(descending=True).tolist()
