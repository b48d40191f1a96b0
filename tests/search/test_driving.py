"""Every method that can be replayed can be run, through the same loop, and evaluates the same rows."""

import copy
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest

from fsp.base.errors import InputError
from fsp.objectives.table import objectives_of
from fsp.search.driving import Trial, drive, in_turn, mean_error, one_by_one
from fsp.search.extraction import extract
from fsp.search.limits import resolve_limits, within
from fsp.search.methods import METHODS, UNLIMITED
from fsp.search.planning import Asked, plan
from fsp.search.question import LargestW, Limits
from fsp.search.settings import Certified, Halving, Interval, Maximal, Proposed, Search, SecondLook
from fsp.spaces.loading import load_space
from fsp.trust.replay.search import replay_search
from fsp.trust.replay.settings import ReplaySettings
from fsp.trust.replay.table import Table

SPACE = load_space("minilm")
SHARE = {"encoder_parameters": "20%", "operations": "20%"}


def toy(architecture):
    return 1 / (architecture["D"] * architecture["H"] ** 1.1 * architecture["I"] ** 0.3)


def measured(space, limits):
    """What is feasible, as a table for replays, with the errors of `toy`."""
    everything = objectives_of(space, space.candidates)
    maximum = objectives_of(space, space.point(space.maximum)).iloc[0].to_dict()
    rows = everything[within(everything, resolve_limits(limits, maximum))].reset_index(drop=True)
    points = rows[list(space.names)].to_numpy(dtype=float)
    errors = np.array([toy(dict(zip(space.names, point, strict=True))) for point in points])
    return Table(
        space.names,
        points,
        np.isin(space.names, space.neutral),
        rows["encoder_parameters"].to_numpy(dtype=float),
        rows["operations"].to_numpy(dtype=float),
        errors,
        np.arange(len(rows)),
        len(rows),
        0,
        0,
    )


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("maximal", "interval", "certified", "gp")])
def test_a_run_evaluates_what_a_replay_evaluates(name):
    table = measured(SPACE, SHARE)
    found = extract(SPACE, toy, Search(Limits(SHARE), Proposed(name, 8)))
    replayed = replay_search(table, ReplaySettings(name, 8, objective="error"))
    rows = [tuple(row) for row in found.table[list(SPACE.names)].to_numpy()]
    assert rows == [tuple(row) for row in table.parameters[replayed.evaluated[0]].astype(int)]
    assert found.method == name
    assert len(rows) == (len(table) if name in UNLIMITED else 8)
    assert found.row(found.selected)["error"] == found.table["error"].min()


def test_seeds_are_averaged_before_a_method_sees_them():
    sent = []

    def own(candidates, evaluations, seed):
        for row in range(evaluations):
            sent.append((yield row))

    def noisy(architecture, seed):
        return toy(architecture) * 2.0 ** (seed - 4)

    found = extract(SPACE, noisy, Search(Limits(SHARE), Proposed(own, 3), seeds=3, seed=3))
    assert sent == pytest.approx(found.table["error"].tolist())
    assert found.method == "own"


def test_a_failed_seed_is_sent_as_nan():
    sent = []

    def rows():
        for row in range(2):
            sent.append((yield row))

    drive(one_by_one(rows(), [0, 1], 2), lambda trial: None if trial == Trial(1, 1) else 4.0)
    assert sent[0] == 4.0
    assert math.isnan(sent[1])


def test_rows_in_turn_give_their_means():
    asked, told = [], []
    trials = in_turn([5, 7], [0, 1], told.append, rung=2)
    found = drive(trials, lambda trial: asked.append(trial) or float(trial.row * 4**trial.seed))
    assert asked == [Trial(5, 0, 2), Trial(5, 1, 2), Trial(7, 0, 2), Trial(7, 1, 2)]
    assert told == [asked]
    assert found == pytest.approx([10.0, 14.0])
    assert math.isnan(mean_error([1.0, None]))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Search(LargestW(), Maximal()), "need not be a maximal shape's"),
        (lambda: Search(method=Certified(), second_look=SecondLook()), "not re-ranked"),
        (lambda: Search(method=Certified(), seeds=2), "seeds of a certified search"),
        (lambda: Search(method=Halving((0, 16)), second_look=SecondLook()), "train the best candidates longer"),
        (lambda: Search(seeds=0), "seeds 0"),
        (lambda: Proposed("magic"), "no method 'magic'"),
        (lambda: Proposed("random", 0), "evaluations 0"),
        (lambda: extract(SPACE, toy, Search(), interval=2), "give a search or options, not both"),
        (lambda: plan(SPACE, Search(), limits=SHARE), "already decides limits"),
        (lambda: Halving((16, 0)), "rising"),
        (lambda: Halving((0, 2), Proposed("random", 4)), "fidelities belong to"),
        (lambda: Proposed("certified", 4), "Certified"),
        (lambda: Proposed(3), "neither a method's name nor a function"),
        (lambda: Interval(0), "interval 0"),
        (lambda: Interval("2"), "interval 2"),
        (lambda: Maximal(2.5), "evaluations 2.5"),
        (lambda: SecondLook(2.5), "finalists 2.5"),
        (lambda: LargestW("foo"), "no size 'foo'"),
        (lambda: LargestW(exponents=(1,)), "exponents"),
        (lambda: Limits({"operations": "abc"}), "limit operations=abc"),
        (lambda: Limits(5), "no limits by name"),
        (lambda: Search("w"), "no question"),
        (lambda: Search(method="maximal"), "no method"),
        (lambda: Search(method=Maximal), "no method"),
        (lambda: Search(second_look=3), "no second look"),
        (lambda: Search(seed=1.5), "seed must be a whole number"),
        (lambda: Search(seeds=1.5), "seeds 1.5"),
        (lambda: extract(SPACE, toy, size="foo"), "no size 'foo'"),
        (lambda: extract(SPACE, toy, method="exhaustive", evaluations=3), "does not belong to method 'exhaustive'"),
        (lambda: SecondLook(anchors=2), "anchors 2"),
        (lambda: Asked.of(SPACE, Search(method=Interval(1000))).rows, "interval 1000"),
    ],
)
def test_what_does_not_go_together_is_refused_when_it_is_made(make, says):
    with pytest.raises(InputError, match=says):
        make()


def test_p_and_i_of_all_candidates_are_counted_once(monkeypatch):
    from fsp.search import planning

    counted = []
    usual = planning.objectives_of
    monkeypatch.setattr(planning, "objectives_of", lambda *arguments: counted.append(1) or usual(*arguments))
    extract(SPACE, toy, Search(Limits(SHARE), Proposed("fitted", 4)))
    assert len(counted) == 1


def test_a_plan_says_how_many_at_most():
    planned = plan(SPACE, Search(Limits(SHARE), Proposed("fitted", 4)))
    assert (planned.candidates, planned.method, planned.interval) == (4, "fitted", None)
    assert len(planned.table) == planned.feasible


@pytest.mark.parametrize("row", [-1, 10_000, 1.5, "a", None])
def test_a_method_that_asks_for_what_is_no_row_is_named(row):
    def own(candidates, evaluations, seed):
        yield row

    with pytest.raises(InputError, match="method own asks for row"):
        extract(SPACE, toy, Search(Limits(SHARE), Proposed(own)))


def test_a_method_that_asks_for_nothing_is_named():
    with pytest.raises(InputError, match="asks for no evaluation"):
        extract(SPACE, toy, Search(Limits(SHARE), Proposed(lambda candidates, evaluations, seed: iter(()))))


def test_what_a_method_of_ones_own_returns_is_no_certificate():
    def own(candidates, evaluations, seed):
        yield 3
        return {"selected": 0}

    found = extract(SPACE, toy, Search(Limits(SHARE), Proposed(own)))
    assert found.certificate is None
    assert len(found.table) == 1


def test_an_unknown_option_is_named():
    with pytest.raises(TypeError, match="no option 'typo'"):
        extract(SPACE, toy, typo=3)


def test_a_search_can_be_copied_pickled_and_hashed():
    search = Search(Limits(SHARE), Halving([0, 16]), seed=3)
    assert pickle.loads(pickle.dumps(search)) == copy.deepcopy(search) == search
    assert hash(search) == hash(replace(search))
