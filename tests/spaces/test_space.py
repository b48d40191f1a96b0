import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsp.base.errors import InputError
from fsp.families.architecture import Architecture
from fsp.spaces.loading import load_space, shipped_spaces
from fsp.spaces.space import SearchSpace

GOOD = {"D": (1, 2), "H": (4, 8)}


def space(**changes):
    return SearchSpace(
        **{"name": "s", "parameters": GOOD, "rules": (), "maximum": {"D": 2, "H": 8}, "family": "bert", **changes}
    )


def test_the_papers_space_has_300_of_360():
    paper = load_space("bert_large")
    grid = list(itertools.product(*paper.parameters.values()))
    assert len(grid) == 360
    assert len(paper.candidates) == 300
    assert [list(point) for point in grid if point[2] % point[1] == 0] == paper.candidates.tolist()
    assert dict(paper.maximum) == {"D": 24, "A": 16, "H": 1024, "I": 4096}


def test_minilm_has_100_candidates_or_more_below_t():
    minilm = load_space("minilm")
    assert len(minilm.candidates) >= 100
    assert (minilm.candidates <= minilm.point(minilm.maximum)).all()
    assert not (minilm.candidates == minilm.point(minilm.maximum)).all(axis=1).any()


@pytest.mark.parametrize("name", shipped_spaces())
def test_shipped_spaces_load(name):
    described = load_space(name).describe()
    assert described["name"] == name
    assert described["candidates"] == len(load_space(name).candidates)


@given(st.dictionaries(st.sampled_from("ABCD"), st.sets(st.integers(1, 9), min_size=1, max_size=4), min_size=1))
def test_candidates_are_the_grid_without_t(parameters):
    choices = {name: tuple(sorted(values)) for name, values in parameters.items()}
    maximum = {name: max(values) for name, values in choices.items()}
    expected = [p for p in itertools.product(*choices.values()) if p != tuple(maximum.values())]
    if not expected:
        with pytest.raises(InputError, match="exclude every candidate"):
            SearchSpace("s", choices, (), maximum, "bert")
        return
    found = SearchSpace("s", choices, (), maximum, "bert").candidates
    assert [tuple(row) for row in found.tolist()] == expected
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"parameters": {}}, "no parameters"),
        ({"parameters": {"D": (), "H": (4,)}}, "D has no choices"),
        ({"parameters": {"D": (1, 1), "H": (4,)}}, "twice"),
        ({"parameters": {"D": (0, 1), "H": (4,)}}, "no positive integer"),
        ({"parameters": {"D": (1.5,), "H": (4,)}}, "no positive integer"),
        ({"parameters": {"D": (True,), "H": (4,)}}, "no positive integer"),
        ({"parameters": {"D": (3,), "H": (4,)}}, "exceeds the maximum"),
        ({"maximum": {"D": 2}}, "exactly D, H"),
        ({"rules": ("D > 5",)}, "exclude every candidate"),
        ({"rules": ("X > 5",)}, "'X'"),
        ({"parameters": {f"p{k}": tuple(range(1, 40)) for k in range(6)}, "maximum": {f"p{k}": 99 for k in range(6)}}, "grid"),
    ],
)  # fmt: skip
def test_bad_spaces_say_what_is_wrong(changes, says):
    with pytest.raises(InputError, match=says) as caught:
        space(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("family = ", "not valid TOML"),
        ('family = "bert"\n[parameters]\nD = [1]', "'maximum' is missing"),
        ('family = "bert"\ncolour = 1\n[parameters]\nD = [1]\n[maximum]\nD = 2', "unknown key 'colour'"),
        ('family = "bert"\n[parameters]\nD = 1\n[maximum]\nD = 2', "list of integers"),
        ('family = "bert"\nrules = [1]\n[parameters]\nD = [1]\n[maximum]\nD = 2', "each rule"),
        ('family = "bert"\n[parameters]\nD = [1]\n[maximum]\nD = "2"', "positive integer"),
        ('family = "bert"\nD = 1\nD = 2', "not valid TOML"),
        ('family = "bert"\n[parameters]\nD = [1]\n[maximum]\nD = 2\n[teacher]\npackage = "x"', "exactly name, package"),
        ('family = "bert"\n[parameters]\nD = [1]\n[maximum]\nD = 2\n[constants]\nx = 0', "positive integer"),
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path, content, says):
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(InputError, match=says):
        load_space(path)


def test_unknown_names_list_the_known():
    with pytest.raises(InputError, match="bert_large, distilbert, gpt2"):
        load_space("no_such_space")


def test_a_file_is_named_after_itself(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('family = "bert"\n[parameters]\nD = [1]\n[maximum]\nD = 2')
    assert load_space(path).name == "mine"


@given(st.dictionaries(st.from_regex("[A-Z][a-z]?", fullmatch=True), st.integers(1, 10**6), min_size=1))
def test_architectures_survive_their_text(values):
    architecture = Architecture(values)
    assert Architecture.parse(str(architecture)) == architecture
    assert Architecture.parse(str(architecture).replace(" ", ",")) == architecture
    assert hash(Architecture(dict(reversed(values.items())))) == hash(architecture)


@pytest.mark.parametrize("text", ["", "D", "D=", "D=x", "D=-1", "D=0", "D=1 D=2", "D=1.5", "=3", "D=99999999999"])
def test_bad_architectures(text):
    with pytest.raises(InputError):
        Architecture.parse(text)


def test_points_need_exactly_the_parameters():
    with pytest.raises(InputError, match="exactly D, H"):
        space().point({"D": 1})
    assert np.array_equal(space().point({"H": 4, "D": 1}), [[1, 4]])
