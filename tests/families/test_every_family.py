"""What holds for each family alike; tests/families/test_bert.py has more on bert."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fsp.base.errors import InputError
from fsp.families.family import load_family
from fsp.spaces.loading import load_space, shipped_spaces
from fsp.spaces.space import SearchSpace
from fsp.testing import FamilyContract

TEXT = {"vocabulary": 90, "positions": 256}
# family: constants, T, a smaller shape, products of matrices in one pass (D, A, H, I, tokens n)
FAMILIES = {
    "bert": (
        {**TEXT, "token_types": 2},
        {"D": 3, "A": 4, "H": 32, "I": 48},
        {"D": 2, "A": 2, "H": 16, "I": 20},
        lambda d, a, h, i, n: 2 * n * d * (4 * h * h + 2 * h * i + 2 * n * h),
    ),
    "gpt2": (
        TEXT,
        {"D": 3, "A": 4, "H": 32, "I": 48},
        {"D": 2, "A": 2, "H": 16, "I": 20},
        lambda d, a, h, i, n: 2 * n * d * (4 * h * h + 2 * h * i + 2 * n * h),
    ),
    "modernbert": (
        TEXT,
        {"D": 4, "A": 4, "H": 32, "I": 48},
        {"D": 2, "A": 2, "H": 16, "I": 20},
        lambda d, a, h, i, n: 2 * n * d * (4 * h * h + 3 * h * i + 2 * n * h),
    ),
    "vit": (
        {"image": 24, "patch": 4, "channels": 3},
        {"D": 3, "A": 4, "H": 32, "I": 48},
        {"D": 2, "A": 2, "H": 16, "I": 20},
        lambda d, a, h, i, n: 2 * 37 * d * (4 * h * h + 2 * h * i + 2 * 37 * h) + 2 * 36 * 48 * h,
    ),
    "mlp": (
        {"inputs": 20, "outputs": 5},
        {"D": 5, "H": 32},
        {"D": 2, "H": 12},
        lambda d, h, n: 2 * h * 25 + 2 * d * h * h,
    ),
}
every_family = pytest.mark.parametrize("name", FAMILIES)


class Contract(FamilyContract):
    def __init_subclass__(cls):
        constants, full, small, _ = FAMILIES[cls.name]
        choices = {key: (small[key], full[key]) for key in full}
        cls.space = SearchSpace(cls.name, choices, ("H == 8 * A",) if "A" in full else (), full, cls.name, constants)


class TestBert(Contract):
    name = "bert"


class TestGPT2(Contract):
    name = "gpt2"


class TestModernBERT(Contract):
    name = "modernbert"


class TestViT(Contract):
    name = "vit"


class TestMLP(Contract):
    name = "mlp"


CONTRACTS = {contract.name: contract() for contract in Contract.__subclasses__()}


@pytest.mark.parametrize("name", shipped_spaces())
def test_every_candidate_of_a_shipped_space_is_counted_as_it_is_built(name):
    contract = FamilyContract()
    contract.space = load_space(name)
    assert len(contract.shapes) > 100
    contract.test_a_network_is_counted_as_it_is_built_and_tells_what_it_was_built_as()


@every_family
def test_embeddings_and_encoder_are_told_apart(name):
    constants, full, _, _ = FAMILIES[name]
    family = load_family(name)
    network = family.build(full, constants)
    ends = {"embeddings", "wte", "wpe", "first", "last"}
    embeddings = sum(w.numel() for key, w in network.named_parameters() if key.split(".")[0] in ends)
    assert int(family.parameters(full, constants)["embedding_parameters"]) == embeddings


@every_family
@pytest.mark.parametrize(("batch", "length"), [(1, 128), (3, 32)])
@pytest.mark.parametrize("scale", [1, 8])
def test_operations_are_torchs_flops_and_little_more(name, batch, length, scale):
    constants, full, _, products = FAMILIES[name]
    shape = {key: value * (1 if key in "DA" else scale) for key, value in full.items()}
    family = load_family(name)
    with torch.device("meta"), torch.no_grad():
        network = family.build(shape, constants).eval()
        with FlopCounterMode(display=False) as counter:
            network(**family.inputs(constants, batch=batch, length=length))
    beside = counter.get_total_flops() - batch * products(*shape.values(), length)
    # older versions of transformers make ModernBERT's two tables of rotary angles by a matrix product
    assert beside in ((0, 2 * length * shape["H"] // shape["A"]) if name == "modernbert" else (0,))
    counted = int(family.operations(shape, constants, batch=batch, length=length))
    assert int(family.operations(shape, constants)) == int(family.operations(shape, constants, batch=1, length=128))
    assert 1 <= counted / counter.get_total_flops() < (1.25 if scale == 1 else 1.04)


@pytest.mark.parametrize("name", ["bert", "gpt2", "modernbert", "vit"])
def test_units_that_do_nothing_are_cut_first(name):
    _, full, _, _ = FAMILIES[name]
    network = CONTRACTS[name].trained()
    idle = torch.tensor([0, 3, 4, 17, 40])
    axes = {"I": idle, "2I": torch.cat([idle, idle + full["I"]])}
    with torch.no_grad():
        for key, weight in network.state_dict().items():
            pattern = key.replace(f".{next((p for p in key.split('.') if p.isdigit()), '')}.", ".*.", 1)
            for dimension, label in enumerate(load_family(name)._AXES.get(pattern, ())):
                if label in axes:
                    weight.index_fill_(dimension, axes[label], 0)
    smaller = load_family(name).cut(network, {**full, "I": full["I"] - len(idle)})
    assert torch.allclose(CONTRACTS[name].output(smaller), CONTRACTS[name].output(network), atol=1e-4)


def test_heads_are_kept_whole():
    network = CONTRACTS["gpt2"].trained()
    with torch.no_grad():
        for block in network.h:
            for weight in (block.attn.c_attn.weight, block.attn.c_attn.bias):
                weight.unflatten(-1, (3, 4, 8))[..., [0, 2], :] *= 0.01
    cut = load_family("gpt2").cut(network, {"D": 3, "A": 2, "H": 16, "I": 48})
    for small, block in zip(cut.h, network.h, strict=True):
        bias = block.attn.c_attn.bias.unflatten(0, (3, 4, 8))[:, [1, 3]].flatten()
        assert torch.equal(small.attn.c_attn.bias, bias)


def test_modernbert_keeps_the_kinds_of_its_layers():
    network = CONTRACTS["modernbert"].trained()
    cut = load_family("modernbert").cut(network, {"D": 2, "A": 4, "H": 32, "I": 48})
    assert network.config.layer_types == [f"{kind}_attention" for kind in ("full", "sliding", "sliding", "full")]
    assert cut.config.layer_types == ["full_attention", "full_attention"]
    assert torch.equal(cut.layers[1].mlp.Wo.weight, network.layers[3].mlp.Wo.weight)


def test_a_modernbert_of_one_layer_computes_what_t_does_up_to_its_first():
    """T's last layer cannot be it: it reads its input through a norm of its own, which a first layer does not have."""
    network = CONTRACTS["modernbert"].trained()
    single = load_family("modernbert").cut(network, {"D": 1, "A": 4, "H": 32, "I": 48})
    tokens = torch.randint(5, 80, (3, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        states = network(input_ids=tokens, output_hidden_states=True).hidden_states
        assert torch.equal(single(input_ids=tokens).last_hidden_state, network.final_norm(states[1]))


def test_a_pooler_is_left_behind():
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, image_size=32)
    cut = load_family("vit").cut(ViTModel(config), {"D": 1, "A": 2, "H": 16, "I": 8})
    assert cut.pooler is None


def test_a_cut_that_is_refused_says_which_could_be():
    _, full, small, _ = FAMILIES["gpt2"]
    network = CONTRACTS["gpt2"].trained()
    for shape, says in (
        ({**full, "D": 4}, "only smaller shapes"),
        ({"D": 1}, "no shape of this family; give D"),
        ({**small, "A": 1}, r"head size 16.* 8; choose H = 8 \* A"),
    ):
        with pytest.raises(InputError, match=says):
            load_family("gpt2").cut(network, shape)


@pytest.mark.parametrize("name", ["bert", "gpt2", "modernbert", "vit"])
def test_heads_must_partition_the_hidden_size(name):
    with pytest.raises(InputError, match="does not divide"):
        load_family(name).build({"D": 1, "A": 3, "H": 32, "I": 8}, FAMILIES[name][0])


@every_family
def test_what_is_built_also_runs(name):
    """Every small head size and number of heads is refused by `build`, or works in the forward pass."""
    constants, full, _, _ = FAMILIES[name]
    family = load_family(name)
    built = 0
    for heads in (1, 2, 3):
        for hidden in range(1, 13):
            shape = {**full, "D": 1, "H": hidden, **({"A": heads} if "A" in full else {})}
            try:
                network = family.build(shape, constants).eval()
            except InputError:
                continue
            assert CONTRACTS[name].output(network).isfinite().all(), shape
            assert family.architecture_of(network.config) == shape
            built += 1
    assert built >= 10


def test_modernbert_takes_heads_of_even_size_only():
    from transformers import ModernBertConfig

    with pytest.raises(InputError, match=r"A=2 H=14 has heads of 7 values.*so that H % \(2 \* A\) == 0"):
        load_family("modernbert").build({"D": 1, "A": 2, "H": 14, "I": 8}, TEXT)
    config = ModernBertConfig(hidden_size=14, num_attention_heads=2, num_hidden_layers=1)
    with pytest.raises(InputError, match="heads of 7 values"):
        load_family("modernbert").architecture_of(config)


@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        ("gpt2", {"add_cross_attention": True}, "without cross-attention"),
        ("modernbert", {"mlp_bias": True}, "biases"),
        ("vit", {"qkv_bias": False}, "with biases"),
        ("vit", {"image_size": [32, 64]}, "square"),
    ],
)
def test_variants_the_closed_forms_do_not_count_are_refused(kind, changes, says):
    from transformers import AutoConfig

    with pytest.raises(InputError, match=says):
        load_family(kind).architecture_of(AutoConfig.for_model(kind, **changes))


def test_gpt2_without_inner_size_has_four_times_the_hidden():
    from transformers import GPT2Config

    assert load_family("gpt2").architecture_of(GPT2Config()) == {"D": 12, "A": 12, "H": 768, "I": 3072}


@pytest.mark.parametrize(("vocabulary", "special"), [(90, 89), (50257, 50256), (60000, 50256)])
def test_gpt2_begins_and_ends_texts_with_its_own_token_or_the_last_of_a_smaller_vocabulary(vocabulary, special):
    with torch.device("meta"):
        config = load_family("gpt2").build({"D": 1, "A": 1, "H": 8, "I": 8}, {**TEXT, "vocabulary": vocabulary}).config
    assert (config.bos_token_id, config.eos_token_id) == (special, special)


def test_patches_must_tile_the_image():
    with pytest.raises(InputError, match="do not tile"):
        load_family("vit").build({"D": 1, "A": 1, "H": 8, "I": 8}, {"image": 30, "patch": 16, "channels": 3})
