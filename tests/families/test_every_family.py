"""What holds for each family alike; tests/families/test_bert.py has more on bert."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fsp.base.errors import InputError
from fsp.families.family import family_of_type, load_family
from fsp.spaces.loading import load_space, shipped_spaces
from fsp.spaces.space import SearchSpace
from fsp.testing import FamilyContract

TEXT = {"vocabulary": 90, "positions": 256}
LLAMA = (
    {"D": 3, "A": 4, "K": 2, "H": 32, "I": 48},
    {"D": 2, "A": 2, "K": 1, "H": 16, "I": 20},
    lambda d, a, k, h, i, n: 2 * n * d * (2 * h * 10 * (a + k) + 3 * h * i + 2 * n * 10 * a),
)
VARIANTS = {"electra": "bert", "deit": "vit", "qwen2": "llama", "qwen3": "llama"}  # families by constants of their own
# family or variant: constants, T, a smaller shape, products of matrices in one pass (D, A, H, I, tokens n)
FAMILIES = {
    "bert": (
        {**TEXT, "token_types": 2},
        {"D": 3, "A": 4, "H": 32, "I": 48},
        {"D": 2, "A": 2, "H": 16, "I": 20},
        lambda d, a, h, i, n: 2 * n * d * (4 * h * h + 2 * h * i + 2 * n * h),
    ),
    "electra": (
        {**TEXT, "token_types": 2, "embedding": 12},
        {"D": 3, "A": 4, "H": 32, "I": 48},
        {"D": 2, "A": 2, "H": 16, "I": 20},
        lambda d, a, h, i, n: 2 * n * d * (4 * h * h + 2 * h * i + 2 * n * h) + 2 * n * 12 * h,
    ),
    "distilbert": (
        TEXT,
        {"D": 3, "A": 4, "H": 32, "I": 48},
        {"D": 2, "A": 2, "H": 16, "I": 20},
        lambda d, a, h, i, n: 2 * n * d * (4 * h * h + 2 * h * i + 2 * n * h),
    ),
    "llama": ({**TEXT, "head_size": 10}, *LLAMA),
    "qwen2": ({**TEXT, "head_size": 10, "qkv_bias": 1}, *LLAMA),
    "qwen3": ({**TEXT, "head_size": 10, "qk_norm": 1}, *LLAMA),
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
    "deit": (
        {"image": 24, "patch": 4, "channels": 3, "distillation": 1},
        {"D": 3, "A": 4, "H": 32, "I": 48},
        {"D": 2, "A": 2, "H": 16, "I": 20},
        lambda d, a, h, i, n: 2 * 38 * d * (4 * h * h + 2 * h * i + 2 * 38 * h) + 2 * 36 * 48 * h,
    ),
    "mlp": (
        {"inputs": 20, "outputs": 5},
        {"D": 5, "H": 32},
        {"D": 2, "H": 12},
        lambda d, h, n: 2 * h * 25 + 2 * d * h * h,
    ),
}
every_family = pytest.mark.parametrize("name", FAMILIES)


def family_of(name):
    return load_family(VARIANTS.get(name, name))


class Contract(FamilyContract):
    def __init_subclass__(cls):
        constants, full, small, _ = FAMILIES[cls.name]
        choices = {key: (small[key], full[key]) for key in full}
        rules = ("A % K == 0", "A <= 2 * K") if "K" in full else ("H == 8 * A",) if "A" in full else ()
        cls.space = SearchSpace(cls.name, choices, rules, full, VARIANTS.get(cls.name, cls.name), constants)


class TestBert(Contract):
    name = "bert"


class TestELECTRA(Contract):
    name = "electra"


class TestDistilBERT(Contract):
    name = "distilbert"


class TestLlama(Contract):
    name = "llama"


class TestQwen2(Contract):
    name = "qwen2"


class TestQwen3(Contract):
    name = "qwen3"


class TestDeiT(Contract):
    name = "deit"


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
    family = family_of(name)
    network = family.build(full, constants)
    ends = {"embeddings", "embeddings_project", "embed_tokens", "wte", "wpe", "first", "last"}
    embeddings = sum(w.numel() for key, w in network.named_parameters() if key.split(".")[0] in ends)
    assert int(family.parameters(full, constants)["embedding_parameters"]) == embeddings


@every_family
@pytest.mark.parametrize(("batch", "length"), [(1, 128), (3, 32)])
@pytest.mark.parametrize("scale", [1, 8])
def test_operations_are_torchs_flops_and_little_more(name, batch, length, scale):
    constants, full, _, products = FAMILIES[name]
    shape = {key: value * (1 if key in "DAK" else scale) for key, value in full.items()}
    family = family_of(name)
    with torch.device("meta"), torch.no_grad():
        network = family.build(shape, constants).eval()
        with FlopCounterMode(display=False) as counter:
            network(**family.inputs(constants, batch=batch, length=length))
    beside = counter.get_total_flops() - batch * products(*shape.values(), length)
    # older versions of transformers make tables of rotary angles, of which ModernBERT has two, by a matrix product
    angles = {"modernbert": 2 * length * shape["H"] // shape.get("A", 1), "llama": length * 10}
    assert beside in (0, angles.get(VARIANTS.get(name, name), 0))
    counted = int(family.operations(shape, constants, batch=batch, length=length))
    assert int(family.operations(shape, constants)) == int(family.operations(shape, constants, batch=1, length=128))
    assert 1 <= counted / counter.get_total_flops() < (1.25 if scale == 1 else 1.05)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "mlp"])
def test_heads_must_partition_the_hidden_size(name):
    with pytest.raises(InputError, match="does not divide"):
        family_of(name).build({"D": 1, "A": 3, "K": 3, "H": 32, "I": 8}, FAMILIES[name][0])


@every_family
def test_what_is_built_also_runs(name):
    """Every small head size and number of heads is refused by `build`, or works in the forward pass."""
    constants, full, _, _ = FAMILIES[name]
    family = family_of(name)
    built = 0
    for heads in (1, 2, 3):
        for hidden in range(1, 13):
            shape = {**full, "D": 1, "H": hidden, **({"A": heads} if "A" in full else {})}
            if "K" in full:
                shape["K"] = 2 if heads == 2 else 1
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
        ("bert", {"is_decoder": True}, "a bert that is a decoder"),
        ("roberta", {"add_cross_attention": True}, "a roberta that is a decoder"),
        ("bert", {"position_embedding_type": "relative_key"}, "relative_key positions"),
        ("electra", {"position_embedding_type": "relative_key_query"}, "a electra with relative_key_query positions"),
        ("gpt2", {"add_cross_attention": True}, "without"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "the layer's number"),
        ("modernbert", {"mlp_bias": True}, "biases"),
        ("vit", {"qkv_bias": False}, "with biases"),
        ("deit", {"image_size": [32, 64]}, "square"),
        ("llama", {"attention_bias": True}, "llama with attention_bias or mlp_bias"),
        ("qwen3", {"attention_bias": True}, "qwen3 with attention_bias or mlp_bias"),
        ("llama", {"mlp_bias": True}, "it takes one without"),
        ("mistral", {"hidden_size": 90, "num_attention_heads": 32}, "A=32 does not divide H=90"),
        ("qwen2", {"num_attention_heads": 32, "num_key_value_heads": 5}, "K=5 does not divide A=32"),
    ],
)
def test_variants_the_closed_forms_do_not_count_are_refused(kind, changes, says):
    from transformers import AutoConfig

    config = AutoConfig.for_model(kind, **changes)
    for function in (family_of_type(kind).architecture_of, family_of_type(kind).constants_of):
        with pytest.raises(InputError, match=says):
            function(config)


@pytest.mark.parametrize(
    ("kind", "changes", "constants"),
    [
        ("bert", {}, {"vocabulary": 30522, "positions": 512, "token_types": 2}),
        ("electra", {}, {"vocabulary": 30522, "positions": 512, "token_types": 2, "embedding": 128}),
        ("electra", {"embedding_size": 256}, {"vocabulary": 30522, "positions": 512, "token_types": 2}),
        ("deit", {}, {"image": 224, "patch": 16, "channels": 3, "distillation": 1}),
        ("mistral", {}, {"vocabulary": 32000, "positions": 131072, "head_size": 128}),
        ("qwen2", {}, {"vocabulary": 151936, "positions": 32768, "head_size": 128, "qkv_bias": 1}),
        ("qwen3", {"head_dim": 64}, {"vocabulary": 151936, "positions": 32768, "head_size": 64, "qk_norm": 1}),
    ],
)
def test_constants_of_a_configuration(kind, changes, constants):
    from transformers import AutoConfig

    assert family_of_type(kind).constants_of(AutoConfig.for_model(kind, **changes)) == constants


@pytest.mark.parametrize("width", [16, 32, 64])
def test_embeddings_of_any_width_are_counted(width):
    """Where their width is H, they are not projected."""
    constants, full, _, _ = FAMILIES["electra"]
    constants = {**constants, "embedding": width}
    with torch.device("meta"):
        network = load_family("bert").build(full, constants)
        with FlopCounterMode(display=False) as counter:
            network(**load_family("bert").inputs(constants, batch=1, length=32))
    built = sum(weight.numel() for weight in network.parameters())
    assert int(load_family("bert").parameters(full, constants)["parameters"]) == built
    assert (width == 32) == (not hasattr(network, "embeddings_project"))
    plain = {key: value for key, value in constants.items() if key != "embedding"}
    more = load_family("bert").operations(full, constants, length=32) - load_family("bert").operations(
        full, plain, length=32
    )
    assert int(more) == (0 if width == 32 else 32 * (2 * width * 32 + 9 * (width - 32)))
    assert counter.get_total_flops() < int(load_family("bert").operations(full, constants, length=32))


def test_llamas_that_there_are_not_are_refused():
    constants, full, _, _ = FAMILIES["llama"]
    with pytest.raises(InputError, match=r"heads of 5 values .* give an even head_size"):
        load_family("llama").build(full, {**constants, "head_size": 5})
    with pytest.raises(InputError, match="K=3 does not divide A=4"):
        load_family("llama").build({**full, "K": 3}, constants)
    with pytest.raises(InputError, match="no network with both"):
        load_family("llama").build(full, {**constants, "qkv_bias": 1, "qk_norm": 1})


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
