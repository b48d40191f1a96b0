import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsp.base.errors import InputError
from fsp.spaces.rules import Rule

NAMES = ("A", "B")

numbers = st.one_of(st.sampled_from(NAMES), st.integers(0, 50).map(str))
arithmetic = st.recursive(
    numbers, lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*"]), inner), max_leaves=5
)
comparisons = st.builds("{} {} {}".format, arithmetic, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), arithmetic)
rules = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner),
        st.builds("(not {})".format, inner),
    ),
    max_leaves=4,
)


@given(rules, st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=8))
def test_agrees_with_python(text, points):
    columns = {name: np.array([point[j] for point in points]) for j, name in enumerate(NAMES)}
    expected = [bool(eval(text, {}, dict(zip(NAMES, point, strict=True)))) for point in points]
    assert np.broadcast_to(Rule(text, NAMES)(columns), len(points)).tolist() == expected


@pytest.mark.parametrize(
    "text",
    ["A", "A + B", "__import__('os')", "A.real == 1", "A[0] == 1", "f(A) == 1", "A == 'x'", "C == 1", "A ==", "",
     "(lambda: A) == 1", "A == 1.5", "A ** B > 1", "A == 99999999999", "A == 1 if B else A == 2", "A == " + "1+" * 400 + "1"],
)  # fmt: skip
def test_refuses_what_is_no_rule(text):
    with pytest.raises(InputError):
        Rule(text, NAMES)


def test_chains():
    assert Rule("1 < A <= B", NAMES)({"A": np.array([1, 2, 3]), "B": np.array([5, 2, 2])}).tolist() == [
        False,
        True,
        False,
    ]


def test_never_runs_code(tmp_path):
    target = tmp_path / "written"
    with pytest.raises(InputError):
        Rule(f"open({str(target)!r}, 'w') == 1", NAMES)
    assert not target.exists()
