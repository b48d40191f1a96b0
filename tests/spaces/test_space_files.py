"""Spaces in files and from packages, neutral parameters, and rules that are functions."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsp.base.errors import InputError
from fsp.spaces.loading import installed_spaces, load_space
from fsp.spaces.rules import FunctionRule
from fsp.spaces.space import SearchSpace

PYTHON = """
from fsp import SearchSpace
space = SearchSpace("mine", {"D": (1, 2), "H": (4, 8)}, (lambda D, H: D < 2 or H < 8,), {"D": 3, "H": 8}, "mlp")
"""


def space(**changes):
    base = {"parameters": {"D": (1, 2), "A": (1, 2), "H": (4, 6)}, "maximum": {"D": 2, "A": 2, "H": 8}}
    return SearchSpace(**{"name": "s", "rules": (), "family": "bert", **base, **changes})


@given(
    st.dictionaries(
        st.sampled_from("ABC"), st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True), min_size=2
    ),
    st.sampled_from(["A % 2 == 0 or B > 3", "B * 2 > A", "A != B and A + B < 12", "1 < 2"]),
)
def test_text_and_function_rules_agree_with_plain_python(parameters, text):
    parameters = {"A": [1], "B": [5], **parameters}
    maximum = dict.fromkeys(parameters, 99)
    expected = [
        list(point)
        for point in itertools.product(*parameters.values())
        if eval(text, {}, dict(zip(parameters, point, strict=True)))
    ]
    if not expected:
        return
    functions = (lambda A, B: bool(eval(text, {}, {"A": A, "B": B})), lambda: True)
    for rules in ((text,), functions):
        found = SearchSpace("s", {k: tuple(v) for k, v in parameters.items()}, rules, maximum, "bert").candidates
        assert found.tolist() == expected


def test_candidates_are_contiguous_by_column_and_never_t():
    found = space(maximum={"D": 2, "A": 2, "H": 6}).candidates
    assert found.dtype == np.int64
    assert len(found) == 7
    assert all(found[:, j].flags.c_contiguous for j in range(3))


def test_a_function_rule_is_asked_once_a_combination_of_what_it_takes():
    asked = []

    def small(H):
        asked.append(H)
        return H < 6

    found = space(rules=(small,))
    assert asked == [4, 6]
    assert set(found.candidates[:, 2]) == {4}
    assert found.describe()["rules"] == ["small"]


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (lambda X: True, "takes 'X', which is no parameter; there are D, A, H"),
        (lambda D: D / 0 > 1, "fails at D=1: ZeroDivisionError"),
        (lambda D: D, "returns 1; it must return True or False"),
        (lambda D, H: None, "returns None"),
        (lambda *shape: True, "takes 'shape'"),
        (7, "rule int"),
        (lambda D: D > 9, "exclude every candidate; relax <lambda>"),
    ],
)
def test_bad_function_rules_say_what_is_wrong(rule, says):
    with pytest.raises(InputError, match=says) as caught:
        space(rules=(rule,))
    assert "\n" not in str(caught.value)


def test_function_rules_take_flat_columns_too():
    rule = FunctionRule(lambda D, H: H > 2 * D, names=("D", "H"))
    assert rule({"D": np.array([1, 2, 3]), "H": np.array([3, 3, 9])}).tolist() == [True, False, True]


def test_broken_rules_are_named_for_any_shape():
    ruled = space(rules=("H % A == 0", "D < 5"))
    assert ruled.broken_rules({"D": 9, "A": 3, "H": 10}) == ["H % A == 0", "D < 5"]
    assert ruled.broken_rules({"D": 1, "A": 3, "H": 9}) == []


def test_neutral_parameters_are_no_sizes():
    assert space().sizes == ("D", "A", "H")
    assert space(neutral=("A",)).sizes == ("D", "H")
    assert space(neutral=("A",)).describe()["neutral"] == ["A"]
    assert load_space("bert_large").neutral == ("A",)


@pytest.mark.parametrize("neutral", [("X",), ("A", "A")])
def test_bad_neutral_parameters(neutral):
    with pytest.raises(InputError, match="no parameter or listed twice; there are D, A, H"):
        space(neutral=neutral)


@pytest.mark.parametrize(("line", "says"), [("neutral = 'A'", "must be a list"), ("neutral = [1]", "parameter names")])
def test_bad_neutral_in_toml(tmp_path, line, says):
    path = tmp_path / "mine.toml"
    path.write_text(f"{line}\nfamily = 'bert'\n[parameters]\nD = [1]\n[maximum]\nD = 2")
    with pytest.raises(InputError, match=says):
        load_space(path)


def test_a_python_file_defines_a_space(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PYTHON)
    assert load_space(path).candidates.tolist() == [[1, 4], [1, 8], [2, 4]]
    assert load_space(str(path)).describe()["rules"] == ["<lambda>"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("space = (", r"not valid Python: .*line 1"),
        ("x = 1\n\ny = x / 0", "fails in line 3: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)", "fails in line 2: SystemExit: 3"),
        ("x = 1", "must define space = SearchSpace"),
        ("space = {'D': [1]}", "must define space = SearchSpace"),
        (PYTHON.replace("(4, 8)", "()"), "H has no choices"),
        ("raise ValueError('two\\nlines')", "fails in line 1: ValueError"),
        ("\0", "not valid Python|fails"),
    ],
)
def test_bad_python_files_say_what_is_wrong(tmp_path, content, says):
    path = tmp_path / "mine.py"
    path.write_text(content)
    with pytest.raises(InputError, match=says):
        load_space(path)


@pytest.mark.parametrize("name", ["missing.py", "missing.toml"])
def test_missing_files(tmp_path, name):
    with pytest.raises(InputError, match="cannot read the search space"):
        load_space(tmp_path / name)


@pytest.fixture
def install(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def do(module, entry):
        (tmp_path / f"{module}.py").write_text(PYTHON)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[fsp.search_spaces]\n{entry}\n")

    return do


def test_an_installed_space_is_found_by_name(install):
    install("their_spaces", "theirs = their_spaces:space\nminilm = their_spaces:space")
    assert load_space("theirs").name == "mine"
    assert load_space("minilm").family == "bert"  # ours goes before theirs
    assert set(installed_spaces()) >= {"theirs", "minilm"}
    with pytest.raises(InputError, match=r"there are bert_large, distilbert, .*vit, theirs, or give"):
        load_space("nope")


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("theirs = bad_spaces:nothing", "cannot be loaded: AttributeError"),
        ("theirs = bad_spaces:SearchSpace", "is no SearchSpace"),
        ("theirs = no_such_module_there:space", "cannot be loaded: ModuleNotFoundError"),
    ],
)
def test_installed_spaces_that_do_not_work_say_why(install, entry, says):
    install("bad_spaces", entry)
    with pytest.raises(InputError, match=says):
        load_space("theirs")
