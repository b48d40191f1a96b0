import numpy as np
import pytest

from fsp.families import mlp
from fsp.families.family import load_family
from fsp.objectives.checks import check_space, head_dims
from fsp.spaces.loading import load_space, shipped_spaces
from fsp.spaces.space import SearchSpace


@pytest.mark.parametrize("name", shipped_spaces())
def test_shipped_spaces_pass(name):
    space = load_space(name)
    report = check_space(space)
    assert report["passed"], report["problems"]
    assert report["built"] == 13
    assert 0.9 < report["flops_share"]["least"] <= report["flops_share"]["most"] <= 1
    assert report["maximum_breaks"] == []
    assert report["monotone"] == {n: {"parameters": True, "operations": True} for n in space.sizes}


def test_how_far_the_papers_space_is_ab_to_the_n_c():
    space = load_space("bert_large")
    report = check_space(space)
    share = report["middle_share"]["parameters"]
    assert share["below_half"] == pytest.approx(0.77, abs=0.005)  # embeddings outweigh the encoder in 77%
    assert report["middle_share"]["operations"]["least"] > 0.99
    assert report["head_dim"] == head_dims(space) == {"least": 32, "most": 256}
    assert check_space(load_space("mlp"))["head_dim"] is None
    assert check_space(load_space("smollm"))["head_dim"] is None  # its heads do not partition H


def bert(**changes):
    base = {"D": (1, 2), "A": (2, 3), "H": (8, 12), "I": (8,)}
    maximum = {"D": 2, "A": 4, "H": 16, "I": 16}
    constants = {"vocabulary": 50, "positions": 16, "token_types": 1}
    return SearchSpace(**{"name": "s", "parameters": base, "rules": (), "maximum": maximum, "family": "bert",
                          "constants": constants, **changes})  # fmt: skip


def test_a_missing_rule_is_found():
    report = check_space(bert())
    assert not report["passed"]
    assert "A=3 does not divide H=8" in report["problems"][0]
    assert "add a rule that excludes it" in report["problems"][0]
    assert check_space(bert(rules=("H % A == 0",)))["passed"]


def test_rules_that_t_breaks_are_told_but_allowed():
    report = check_space(bert(rules=("H % A == 0", "D * H < 20")))
    assert report["passed"]
    assert report["maximum_breaks"] == ["D * H < 20"]


class Wrong:
    """The family mlp with some members wrong."""

    def __init__(self, **members):
        self.__dict__.update(vars(mlp), **members)


def shrinking(shape, constants, *, batch=1, length=128):
    return 10**9 - mlp.operations(shape, constants)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"parameters": lambda *a: {k: v + 1 for k, v in mlp.parameters(*a).items()}}, "has .* family mlp counts"),
        ({"operations": lambda *a, **k: np.asarray(mlp.operations(*a) // 2)}, "operations by torch's FLOP counter"),
        ({"build": lambda *a: 1 / 0}, "cannot be built: division by zero"),
        ({"operations": shrinking}, "has more operations than the maximum point"),
    ],
)
def test_families_that_count_wrong_are_found(monkeypatch, members, says):
    wrong = Wrong(**members)
    for module in ("fsp.objectives.checks", "fsp.objectives.counts", "fsp.objectives.counts"):
        monkeypatch.setattr(f"{module}.family_of", lambda space: wrong)
    report = check_space(load_space("mlp"))
    assert not report["passed"]
    assert any(__import__("re").search(says, problem) for problem in report["problems"]), report["problems"]
    if members.get("operations") is shrinking:
        assert report["monotone"]["D"] == {"parameters": True, "operations": False}
    assert load_family("mlp") is mlp
