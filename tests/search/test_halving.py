import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsp.base.errors import InputError, RunFailed
from fsp.search.extraction import extract
from fsp.search.halving import successive_halving
from fsp.spaces.loading import load_space
from fsp.studies.error_function import as_error

SPACE = load_space("minilm")


class Learning:
    """An error that falls with the steps, by a law of each shape's own."""

    def __init__(self, steps=16):
        self.steps, self.calls = steps, []

    @property
    def settings(self):
        return {"error": "learning", "steps": self.steps}

    def with_steps(self, steps):
        other = Learning(steps)
        other.calls = self.calls
        return other

    def __call__(self, architecture):
        self.calls.append((self.steps, architecture))
        if architecture["D"] == 1:
            return math.nan
        return 1 / (architecture["D"] * architecture["H"]) * (1 + 1 / (1 + self.steps))


def test_each_rung_keeps_the_best_third():
    error = Learning()
    found = extract(SPACE, error=error, interval=3, fidelities=[0, 4, 16])
    counts = [sum(steps == s for s, _ in error.calls) for steps in (0, 4, 16)]
    assert counts[0] == len(found.table)
    assert counts[1:] == [math.ceil(counts[0] / 3), math.ceil(math.ceil(counts[0] / 3) / 3)]
    assert found.table["steps"].value_counts().to_dict() == {
        0: counts[0] - counts[1],
        4: counts[1] - counts[2],
        16: counts[2],
    }
    best = found.table[found.table["steps"] == 16]
    assert found.row(found.selected)["error"] == best["error"].min()
    assert set(found.pareto()["steps"]) == {16}


def test_the_choice_is_the_one_of_a_search_at_full_length_where_ranks_do_not_change():
    assert extract(SPACE, error=Learning(), interval=1, fidelities=[0, 16]).selected == (
        extract(SPACE, error=Learning(16), interval=1).selected
    )


def test_evaluations_of_every_rung_are_kept(tmp_path):
    error = Learning()
    first = extract(SPACE, error=error, interval=10, fidelities=[0, 16], study=tmp_path / "s.journal")
    calls = len(error.calls)
    again = extract(SPACE, error=error, interval=10, fidelities=[0, 16], study=tmp_path / "s.journal")
    assert len(error.calls) == calls
    assert again.table.equals(first.table)


@pytest.mark.parametrize("fidelities", [[16], [16, 16], [16, 4], [-1, 4]])
def test_fidelities_that_do_not_rise(fidelities):
    with pytest.raises(InputError, match="rising"):
        extract(SPACE, error=Learning(), fidelities=fidelities)


def test_fidelities_need_an_error_that_has_them():
    with pytest.raises(InputError, match="with_steps"):
        extract(SPACE, error=lambda a: 1.0, fidelities=[0, 16])


@pytest.mark.parametrize("wrong", [{"method": "certified"}, {"finalists": 3}])
def test_what_does_not_go_with_fidelities(wrong):
    with pytest.raises(InputError, match="fidelities"):
        extract(SPACE, error=Learning(), fidelities=[0, 16], **wrong)


def test_the_cause_that_is_named_is_one_of_the_last_rung():
    class Failing(Learning):
        def with_steps(self, steps):
            return Failing(steps)

        def __call__(self, architecture):
            if architecture["D"] == 1 or self.steps == 16:
                raise ArithmeticError(f"failed at {self.steps}")
            return 1 / architecture["D"]

    with pytest.raises(RunFailed, match=r"candidates failed; the first: ArithmeticError: failed at 16"):
        extract(SPACE, Failing(), interval=3, fidelities=[0, 16])


def test_an_error_after_other_steps_has_their_settings():
    assert [as_error(Learning()).with_steps(steps).settings["steps"] for steps in (0, 3)] == [0, 3]


def reached_of(rows, rungs, score):
    """Return the last rung of each row; `score` is called with a rung and the rows still in it."""
    reached, halving = {}, successive_halving(rows, rungs)
    try:
        rung, remaining = next(halving)
        while True:
            reached |= dict.fromkeys(remaining, rung)
            rung, remaining = halving.send(score(rung, remaining))
    except StopIteration:
        return np.array([reached[row] for row in rows])


@given(st.lists(st.floats(0, 1) | st.just(math.nan), min_size=1, max_size=40), st.integers(2, 4))
def test_who_goes_on_is_never_worse_than_who_does_not(scores, rungs):
    values = np.array(scores)
    reached = reached_of(range(len(values)), rungs, lambda rung, rows: values[rows])
    assert (np.isnan(values) <= (reached == 0)).all()
    for rung in range(rungs - 1):
        on, off = values[reached > rung], values[reached == rung]
        assert not len(on) or not len(off[~np.isnan(off)]) or on.min() >= np.nanmax(off)
