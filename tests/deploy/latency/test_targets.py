import re

import pytest
import torch

from fsp.base.errors import InputError
from fsp.deploy.latency.targets import parse_targets


def test_shapes_are_whole_words_or_parts(tiny):
    words = ["minilm", "D=3", "A=8", "H=256", "I=512", "D=1,A=4,H=128,I=128", "T", "bert_large", "D=4", "A=8", "H=1024"]
    targets = parse_targets([*words, "I=768", "D=2", "A=4", "H=512", "I=256", str(tiny.teacher)])
    assert [target.name for target in targets] == [
        "minilm D=3 A=8 H=256 I=512",
        "minilm D=1 A=4 H=128 I=128",
        "minilm T",
        "bert_large D=4 A=8 H=1024 I=768",
        "bert_large D=2 A=4 H=512 I=256",
        str(tiny.teacher),
    ]
    for target in targets[:-1]:
        assert parse_targets(target.words)[0].name == target.name


def test_a_shape_has_the_same_weights_every_time(space_file):
    target = parse_targets([str(space_file), "D=1,A=2,H=16,I=16"])[0]
    loaded = target.load()
    inputs = loaded.inputs(2, 7)
    assert inputs["input_ids"].shape == (2, 7)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(**inputs), target.load().network(**inputs), rtol=0, atol=0)


def test_other_families():
    loaded = parse_targets(["mlp", "D=2,H=16"])[0].load()
    with torch.inference_mode():
        loaded.network(**loaded.inputs(3, 128))
    with pytest.raises(InputError, match="have no export; time them in eager or compile"):
        _ = loaded.serving


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a model directory"),
        (["minilm"], "no shape of minilm is named; add one, or T: fsp latency measure minilm T"),
        (["D=3,A=8,H=256,I=512"], "name the search space before its shapes"),
        (["minilm", "D=3"], "needs exactly D, A, H, I"),
        (["minilm", "D=7,A=8,H=256,I=512"], "D=7 is above the maximum point's 6"),
        (["minilm", "D=3,A=8,H=192,I=512"], "breaks the rule 'H == 32 * A'"),
        (["minilm", "D=1,A=5,H=160,I=99"], "A=5 is no choice of minilm, which has 4, 6, 8, 10, 12; T is its maximum"),
        (["minilm", "D=3,A=8,H=256,I=99"], "I=99 is no choice of minilm"),
        (["minilm", "D=3,A=8,H=256,I=512", "D=3,A=8,H=256,I=512"], "is named twice"),
        (["no_such"], "no search space 'no_such'"),
        (["T"], "no search space 'T'"),
    ],
)
def test_bad_input(words, message):
    with pytest.raises(InputError, match=re.escape(message)):
        parse_targets(words)


def test_length_out_of_range(tiny):
    with pytest.raises(InputError, match="the network takes 2 to 128"):
        parse_targets([str(tiny.teacher)])[0].load().inputs(1, 129)
