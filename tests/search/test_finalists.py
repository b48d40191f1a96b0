import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsp.base.errors import InputError, RunFailed
from fsp.search.choice import choose
from fsp.search.extraction import extract
from fsp.search.finalists import TOLERANCE, undecided
from fsp.spaces.loading import load_space
from fsp.studies.study import stored_studies

SPACE = load_space("minilm")
SHAPES = SPACE.architectures(SPACE.candidates)


class Toy:
    """An error of random values near a law, with other random values after longer training."""

    def __init__(self, spread=0.1, seed=0, factor=1, failing=()):
        self.spread, self.seed, self.factor, self.failing = spread, seed, factor, failing
        self.calls = []
        draws = np.random.default_rng([seed, factor]).uniform(0, spread, size=len(SHAPES))
        self.values = {shape: float(1 + draw) for shape, draw in zip(SHAPES, draws, strict=True)}

    @property
    def settings(self):
        return {"error": "toy", "spread": self.spread, "seed": self.seed}  # does not tell the longer one apart

    def longer(self, factor):
        self.after = Toy(self.spread, self.seed, factor, self.failing)
        return self.after

    def __call__(self, architecture):
        self.calls.append(architecture)
        return math.nan if self.factor > 1 and architecture in self.failing else self.values[architecture]


def expected(error, shapes, score, most):
    """The finalists, best first, and the choice, by brute force."""
    best = sorted(shapes, key=lambda shape: -score(shape, error.values[shape]))
    near = [s for s in best if score(s, error.values[s]) >= (1 - TOLERANCE) * score(best[0], error.values[best[0]])]
    finalists = near[:most] if len(near[:most]) > 1 else []
    if not finalists:
        return [], best[0]
    return finalists, max(finalists, key=lambda shape: score(shape, error.after.values[shape]))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 30), st.sampled_from([0.01, 0.1, 1.0]), st.integers(1, 12))
def test_the_choice_is_the_best_finalist(seed, most, spread, interval):
    error = Toy(spread, seed)
    found = extract(SPACE, error=error, finalists=most, interval=interval)
    shapes = SPACE.architectures(found.table[list(SPACE.names)].to_numpy())
    finalists, choice = expected(error, shapes, lambda shape, e: 1 / e, most)
    assert list(found.finalists) == finalists == error.after.calls
    assert found.selected == choice
    for shape, longer in zip(shapes, found.table["finalist_error"], strict=True):
        assert longer == error.after.values[shape] if shape in finalists else np.isnan(longer)


def test_the_choice_by_w_is_the_best_finalist():
    error = Toy(0.1, 5)
    found = extract(SPACE, error=error, objective="w", finalists=6, interval=1)
    w = {shape: found.row(shape)["w_total"] * found.row(shape)["error"] for shape in SHAPES}
    finalists, choice = expected(error, SHAPES, lambda shape, e: w[shape] / e, 6)
    assert (list(found.finalists), found.selected) == (finalists, choice)
    assert len(finalists) > 1


def test_one_finalist_is_none():
    found = extract(SPACE, error=Toy(), interval=1)
    assert "finalist_error" not in found.table
    assert found.finalists == ()


def test_failed_finalists_are_not_chosen():
    error = Toy(0.001)
    winner = extract(SPACE, error=error, interval=1).selected
    found = extract(SPACE, error=Toy(0.001, failing=[winner]), finalists=3, interval=1)
    assert found.finalists[0] == winner != found.selected
    assert found.table["finalist_error"].count() == 2
    found = extract(SPACE, error=Toy(0.001, failing=SHAPES), finalists=3, interval=1)
    assert found.selected == winner
    assert len(found.finalists) == 3


def test_longer_evaluations_are_kept_under_settings_of_their_own(tmp_path):
    journal, error, again = tmp_path / "s.journal", Toy(0.001), Toy(0.001)
    first = extract(SPACE, error=error, finalists=4, study=journal)
    second = extract(SPACE, error=again, finalists=4, study=journal)
    assert len(error.calls) == len(first.table)
    assert len(error.after.calls) == 4
    assert again.calls == again.after.calls == []
    assert (second.selected, second.finalists) == (first.selected, first.finalists)
    longer = [stored for stored in stored_studies(journal) if stored.settings.get("longer") == 8]
    assert [len(stored.evaluations) for stored in longer] == [4]
    # a finished study is still asked without saying which
    answer = choose(journal, SPACE)
    assert len(answer.table) == len(first.table)
    assert len(choose(journal, SPACE, name=longer[0].name).table) == 4


def test_where_seeds_tell_the_noise_it_decides_who_is_near():
    score = [1.0, 0.999, 0.98, 0.90]
    assert undecided(score, [[1.0]] * 4, 4) == [0, 1, 2]
    quiet = [[value, value * 1.0001] for value in (1.0, 1.1, 1.2, 1.3)]
    assert undecided(score, quiet, 4) == [0]
    loud = [[value, value * 1.2] for value in (1.0, 1.1, 1.2, 1.3)]
    assert undecided(score, loud, 4) == [0, 1, 2, 3]
    assert undecided(score, loud, 2) == [0, 1]


def test_other_seeds_in_the_study_give_the_noise(tmp_path):
    class Seeded(Toy):
        def __call__(self, architecture, seed):
            return super().__call__(architecture) * (1 + 1e-6 * seed)

    error = Seeded(0.001)
    for seed in (0, 1):
        extract(SPACE, error=error, study=tmp_path / "s.journal", seed=seed)
    assert extract(SPACE, error=error, finalists=5, study=tmp_path / "s.journal").finalists == ()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"finalists": 0}, "finalists 0 is out of range"),
        ({"finalists": 2, "error": lambda a: 1 / a["D"]}, "need an error with a method longer"),
        ({"anchors": 4, "error": lambda a: 1 / a["D"]}, "need an error with a method longer"),
        ({"anchors": 3}, "anchors 3 is out of range"),
        ({"anchors": 40}, "planned candidates cannot give 40 anchors"),
        ({"longer": 0}, "longer 0 is out of range"),
        ({"anchors": 4, "method": "certified"}, "a certified choice is not re-ranked"),
        ({"anchors": 4, "fidelities": (0, 2)}, "leave finalists at 1 and anchors at 0"),
        ({"finalists": 2, "method": "certified"}, "a certified choice is not re-ranked"),
    ],
)
def test_bad_arguments_are_refused_before_any_evaluation(arguments, says):
    error = Toy()
    with pytest.raises(InputError, match=says):
        extract(SPACE, **{"error": error, **arguments})
    assert error.calls == []


@pytest.fixture
def run(monkeypatch, in_process, tmp_path_factory):
    """Run the command line in this process, in an empty folder; return its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path_factory.mktemp("current"))
    return in_process


def test_extract_with_finalists_from_the_command_line(run, tiny):
    code, out, err = run(
        "extract", tiny.space_file, *tiny.arguments(), "--steps", 0, "--limit", "operations=90%",
        "--interval", 1, "--finalists", 3, "--json",
    )  # fmt: skip
    assert code == 0, err
    rows = json.loads(out)["evaluations"]
    near = [row for row in rows if row["error"] <= min(r["error"] for r in rows) / (1 - TOLERANCE)]
    again = [row for row in rows if row["finalist_error"] is not None]
    assert len(again) == (min(3, len(near)) if len(near) > 1 else 0)
    best = min(again or rows, key=lambda row: row["finalist_error"] if again else row["error"])
    assert json.loads(out)["selected"] == {name: best[name] for name in "DAHI"}


class Curves(Toy):
    """Short errors that flatter shallow shapes: after longer training depth counts for more."""

    def __init__(self, factor=1, failing=()):
        super().__init__(0.0, 0, factor, failing)
        for shape in SHAPES:
            size = shape["D"] ** 0.2 * shape["H"] ** 0.2 * shape["I"] ** 0.1
            self.values[shape] = 3 / size * (0.7 * shape["D"] ** -0.15 if factor > 1 else 1)

    def longer(self, factor):
        self.after = Curves(factor, self.failing)
        return self.after


def test_anchors_find_what_short_training_hides():
    truth = Curves(factor=8).values
    space = {"interval": 1, "limits": {"encoder_parameters": "25%"}}
    bare, error = extract(SPACE, error=Curves(), **space), Curves()
    found = extract(SPACE, error=error, anchors=8, finalists=3, **space)
    within = [row for row in SPACE.architectures(found.table[list(SPACE.names)].to_numpy())]
    best = min(within, key=lambda shape: truth[shape])
    assert truth[found.selected] == truth[best] < truth[bare.selected]
    assert len(error.after.calls) <= 8 + 3
    assert found.finalists[0] in error.after.calls
    told = found.table.set_index(list(SPACE.names))
    for shape in within:
        row = told.loc[tuple(shape[name] for name in SPACE.names)]
        assert row["predicted_low"] <= row["predicted_error"] <= row["predicted_high"]
        if shape in error.after.calls and shape not in found.finalists:  # anchors are known
            assert row["predicted_error"] == pytest.approx(row["finalist_error"])
        assert row["predicted_error"] == pytest.approx(truth[shape], rel=0.1)  # the law is of 1/D, this of log D


def test_anchors_choose_among_what_was_trained_long():
    found = extract(SPACE, error=Toy(0.3, 3), anchors=5, interval=1)
    measured = found.table["finalist_error"]
    assert 5 <= measured.count() <= 6  # anchors, and the one that the law calls best
    assert found.row(found.selected)["finalist_error"] == measured.min()


def test_anchors_that_all_fail_say_so():
    with pytest.raises(RunFailed, match="0 of 4 anchors could be trained longer"):
        extract(SPACE, error=Toy(0.3, 3, failing=SHAPES), anchors=4, interval=1)


def test_extract_with_anchors_from_the_command_line(run, tiny):
    code, out, err = run(
        "extract", tiny.space_file, *tiny.arguments(), "--steps", 0, "--limit", "operations=100%",
        "--interval", 1, "--anchors", 4, "--finalists", 2, "--longer", 3, "--json",
    )  # fmt: skip
    assert code == 0, err
    rows = json.loads(out)["evaluations"]
    measured = [row for row in rows if row["finalist_error"] is not None]
    assert 4 <= len(measured) <= 6
    assert json.loads(out)["selected"] == {n: min(measured, key=lambda r: r["finalist_error"])[n] for n in "DAHI"}
    assert all(row["predicted_low"] <= row["predicted_error"] <= row["predicted_high"] for row in rows)
    code, out, err = run("extract", "minilm", "--plan", "--anchors", 4, "--longer", 3, "--steps", 2)
    assert code == 0, err
    assert "6 of a finalist or anchor" in out
