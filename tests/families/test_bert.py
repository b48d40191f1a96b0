import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fsp.base.errors import InputError
from fsp.families import bert
from fsp.families.architecture import Architecture
from fsp.families.family import load_family
from fsp.objectives.counts import operations
from fsp.spaces.loading import load_space

BERT_LARGE = {"vocabulary": 50265, "positions": 512, "token_types": 1}


@pytest.mark.parametrize("shape", [(4, 8, 1024, 768), (2, 4, 512, 256), (12, 16, 768, 3072)])
@pytest.mark.parametrize(("batch", "length"), [(1, 128), (3, 32)])
def test_operations_are_torchs_flops_and_little_more(shape, batch, length):
    architecture = dict(zip("DAHI", shape, strict=True))
    with torch.device("meta"):
        network = bert.build(architecture, BERT_LARGE)
        tokens = torch.zeros(batch, length, dtype=torch.long)
        with FlopCounterMode(display=False) as counter:
            network(input_ids=tokens)
    counted = int(bert.operations(architecture, BERT_LARGE, batch=batch, length=length))
    # torch counts 2mnk a matrix product and nothing else: no softmax, GELU, norm or bias
    assert 1 <= counted / counter.get_total_flops() < 1.03


def test_operations_of_one_small_layer_by_hand():
    d, a, h, i, s = 1, 2, 4, 3, 5
    linear = lambda n, m: s * (m * n + m * (n - 1) + m)  # noqa: E731
    norm = s * ((h - 1) + 1 + h + h + (h - 1) + 1 + 1 + 1 + h + h + h)
    attention = a * (s * s * (h // a) + s * s * (h // a - 1))  # products and sums of Q K^T
    attention += a * s * s  # scaling
    attention += a * s * ((s - 1) + s + s + (s - 1) + s)  # softmax
    attention += a * (s * (h // a) * s + s * (h // a) * (s - 1))  # times V
    layer = 4 * linear(h, h) + attention + linear(h, i) + 5 * s * i + linear(i, h) + 2 * s * h + 2 * norm
    assert int(bert.operations({"D": d, "A": a, "H": h, "I": i}, {}, length=s)) == 2 * s * h + norm + d * layer


def test_the_published_shape_has_not_the_published_size():
    bort = bert.parameters({"D": 4, "A": 8, "H": 1024, "I": 768}, BERT_LARGE)
    assert (bort["encoder_parameters"], bort["embedding_parameters"]) == (23_108_608, 51_998_720)
    swapped = bert.parameters({"D": 4, "A": 8, "H": 768, "I": 1024}, BERT_LARGE)
    assert (swapped["encoder_parameters"], swapped["embedding_parameters"]) == (15_760_384, 38_999_040)


def test_operations_grow_with_every_size():
    space = load_space("bert_large")
    base = operations(space, space.candidates)
    for j, name in enumerate(space.names):
        larger = space.candidates.copy()
        larger[:, j] *= 2
        more = operations(space, larger)
        assert (more > base).all(), name


def test_other_model_types_and_families_are_refused():
    from transformers import AutoConfig

    with pytest.raises(InputError, match="'gpt2' is not supported"):
        bert.architecture_of(AutoConfig.for_model("gpt2"))
    with pytest.raises(InputError, match="no network family"):
        load_family("no_such_family")
    with pytest.raises(InputError, match="does not divide"):
        bert.build(Architecture(D=1, A=3, H=8, I=8), BERT_LARGE)
