import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsp.base.errors import RunFailed
from fsp.finetuning.algorithm import Budget, Fit, agora
from fsp.finetuning.pruning import RULES
from fsp.finetuning.rivals import grid_search, hyperband, random_sets
from fsp.finetuning.theta import BORT, SMALL, grid

SETS = grid(learning_rate=[1e-4, 2e-4, 3e-4], weight_decay=[0.0, 0.1], batch=[8, 16])


def noisy(requests):
    """Fits whose accuracy depends on everything a fit may depend on, by arithmetic."""
    for request in requests:
        mix = hash((request.theta, request.attempt, request.added)) % 1009
        mistakes = tuple(i for i in range(10) if (mix >> i) % 2)
        yield Fit(1 - len(mistakes) / 10, mistakes, seconds=1.0)


def two_each(mistakes, number):
    return [(number, i, k) for i in mistakes for k in range(2)]


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=25)
@given(n=st.integers(1, 12), replays=st.integers(0, 2))
def test_theta_shrinks_rounds_are_bounded_and_the_best_never_falls(name, n, replays):
    outcome = agora(SETS[:n], noisy, two_each, RULES[name], replays=replays)
    assert len(outcome.rounds) <= n * (1 + replays)
    bests = [one.best for one in outcome.rounds]
    assert bests == sorted(bests)
    assert outcome.best.fit.accuracy == max(tried.fit.accuracy for tried in outcome.fits) == bests[-1]
    by_round = {one.number: [t.theta for t in one.tried] for one in outcome.rounds}
    for before, after in itertools.pairwise(by_round.values()):
        assert set(after) < set(before)
    for one in outcome.rounds:
        worst = max(len(tried.fit.mistakes) for tried in one.tried)
        assert len(one.added) <= 2 * worst
    if outcome.stopped == "pruned":
        removed = [theta for one in outcome.rounds for theta in one.removed]
        assert sorted(removed) == sorted(SETS[:n])


def test_each_round_sees_all_points_added_before_it_and_mistakes_of_its_leader():
    seen, asked = [], []

    def train(requests):
        seen.append(requests[0].added)
        return [Fit(0.5 + 0.01 * i, mistakes=(i, 7)) for i, _ in enumerate(requests)]

    def expand(mistakes, number):
        asked.append(mistakes)
        return [f"{number}-{i}" for i in mistakes]

    agora(SMALL[:3], train, expand, RULES["halving"])
    assert asked == [(2, 7), (1, 7)]  # none after the last round: no fit would see them
    assert seen == [(), ("0-2", "0-7"), ("0-2", "0-7", "1-1", "1-7")]


def test_no_mistakes_generate_nothing_and_end_the_search():
    def never(mistakes, number):
        raise AssertionError

    outcome = agora(SMALL, lambda requests: [Fit(1.0) for _ in requests], never, RULES["lcs-keep"])
    assert outcome.stopped == "perfect" and len(outcome.rounds) == 1


def test_a_round_is_replayed_with_new_seeds_only_while_it_does_not_improve():
    made = []

    def train(requests):
        made.append((requests[0].attempt, len(requests), len(requests[0].added)))
        improves = requests[0].attempt == 2 or not requests[0].added
        return [Fit(0.5 + 0.1 * len(made) * improves, mistakes=(0,)) for _ in requests]

    outcome = agora(SMALL[:2], train, lambda m, k: ["x"], RULES["halving"], replays=3)
    assert made == [(0, 2, 0), (0, 1, 1), (1, 1, 1), (2, 1, 1)]
    assert [(r.number, r.attempt) for r in outcome.rounds] == [(0, 0), (1, 0), (1, 1), (1, 2)]
    assert outcome.best.attempt == 2


def test_of_a_rounds_attempts_the_one_with_the_best_leader_counts():
    accuracies = iter([[0.9, 0.8, 0.7], [0.5, 0.6], [0.7, 0.6], [0.6, 0.5], [0.1], [0.2], [0.1]])
    asked = []

    def train(requests):
        return [Fit(a, mistakes=(round(10 * a),)) for a in next(accuracies)]

    outcome = agora(SMALL[:3], train, lambda m, k: asked.append(m) or [], RULES["halving"], replays=2)
    assert asked == [(9,), (7,)]
    assert [r.removed for r in outcome.rounds] == [(SMALL[2],), (), (), (SMALL[1],), (), (), (SMALL[0],)]


def test_of_equally_good_attempts_the_first_counts():
    mistakes = iter([(0,), (1,), (2,), (3,), (4,)])
    asked = []

    def train(requests):
        made = next(mistakes)
        return [Fit(0.5, mistakes=made) for _ in requests]

    agora(SMALL[:2], train, lambda m, k: asked.append(m) or [], RULES["halving"], replays=1)
    assert asked == [(0,)]  # the first round improves on nothing; the second has two attempts, but nothing follows it
    mistakes = iter([(9,), (8,), (0,), (1,), (2,)])
    accuracies = iter([0.9, 0.5, 0.5, 0.5, 0.5])
    asked.clear()

    def fall(requests):
        made, accuracy = next(mistakes), next(accuracies)
        return [Fit(accuracy, mistakes=made) for _ in requests]

    agora(SMALL[:3], fall, lambda m, k: asked.append(m) or [], RULES["halving"], replays=1)
    assert asked == [(9,), (8,)]


def test_after_each_round_and_replay_it_is_told_with_the_sets_that_are_left():
    told = []
    outcome = agora(
        SETS, noisy, two_each, RULES["halving"], replays=1, after_round=lambda one, left: told.append((one, left))
    )
    assert [(one.number, one.attempt) for one, _ in told] == [(one.number, one.attempt) for one in outcome.rounds]
    for (one, left), after in zip(told, outcome.rounds, strict=True):
        assert left == len(one.tried) - len(one.removed)
        assert one == after


def test_budget_of_fits_and_of_time():
    for most in range(1, 30):
        by_fits = agora(SETS, noisy, two_each, RULES["lcs-keep"], budget=Budget(fits=most))
        for seconds in (most - 0.5, most):  # a fit takes 1 s; none begins once they are used up
            assert agora(SETS, noisy, two_each, RULES["lcs-keep"], budget=Budget(seconds=seconds)) == by_fits
        assert len(by_fits.fits) == most or by_fits.stopped == "pruned"
    unlimited = agora(SETS, noisy, two_each, RULES["lcs-keep"])
    assert unlimited.fits[:9] == agora(SETS, noisy, two_each, RULES["lcs-keep"], budget=Budget(9)).fits


def test_a_failed_fit_is_the_first_to_go_and_all_failed_is_an_error():
    def train(requests):
        for request in requests:
            bad = request.theta == SMALL[1]
            yield Fit(None, failure="out of memory") if bad else Fit(0.6, (1, 2))

    outcome = agora(SMALL[:3], train, two_each, RULES["halving"])
    assert outcome.rounds[0].removed == (SMALL[1],)
    with pytest.raises(RunFailed, match="all 0 fits failed; the first: none was made"):
        agora(SMALL, train, two_each, RULES["ties"], budget=Budget(fits=0))
    for method in (
        lambda t: agora(SMALL, t, two_each, RULES["ties"], replays=1),
        lambda t: grid_search(SMALL, t, budget=Budget(6)),
        lambda t: hyperband(SMALL, t, budget=Budget(6), seed=0),
    ):
        with pytest.raises(RunFailed, match=r"all \d+ fits failed; the first: out of memory"):
            method(lambda requests: [Fit(None, failure="out of memory") for _ in requests])


class Lookup:
    """Knows half of the dev set, and of the rest what it was given a correctly labelled point of."""

    def __init__(self, rows):
        self.rows = rows

    def __call__(self, requests):
        for request in requests:
            known = {row for row, correct in request.added if correct}
            mistakes = tuple(row for row in range(self.rows // 2, self.rows) if row not in known)
            yield Fit(1 - len(mistakes) / self.rows, mistakes)


@pytest.mark.parametrize("sets", range(1, 11))
def test_ideal_conditions_give_the_accuracy_and_the_gain_of_the_theorem(sets):
    """A labeller right on every second point halves the mistakes: 1 - 2^-k exactly, gain 2 (1 - 2^-|Θ|) exactly."""
    rows = 2**10
    one_by_one = RULES["halving"] if sets < 4 else lambda s, a: {len(s) - 1}
    outcome = agora(
        BORT[:sets],
        Lookup(rows),
        lambda mistakes, number: [(row, place % 2 == 0) for place, row in enumerate(mistakes)],
        one_by_one,
    )
    bests = [one.best for one in outcome.rounds]
    assert bests == [1 - 2.0 ** -(k + 1) for k in range(len(bests))]
    if len(bests) == sets:
        enumeration = grid_search(BORT[:sets], Lookup(rows), budget=Budget(sets)).best.fit.accuracy
        assert bests[-1] / enumeration == 2 * (1 - 2.0**-sets)


@given(right=st.floats(0, 1), sets=st.integers(1, 8), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_with_any_labeller_the_gain_over_enumeration_is_between_one_and_two(right, sets, seed):
    import random

    draw = random.Random(seed)
    label = lambda mistakes, number: [(row, draw.random() < right) for row in mistakes]  # noqa: E731
    outcome = agora(BORT[:sets], Lookup(64), label, lambda s, a: {len(s) - 1})
    gain = outcome.best.fit.accuracy / 0.5
    assert 1 <= gain <= 2


def test_grid_search_makes_every_fit_once_then_again_with_new_seeds():
    once = grid_search(SETS, noisy, budget=Budget(len(SETS)))
    assert [t.theta for t in once.fits] == list(SETS)
    more = grid_search(SETS, noisy, budget=Budget(len(SETS) + 3))
    assert [(t.theta, t.attempt) for t in more.fits[-3:]] == [(theta, 1) for theta in SETS[:3]]
    assert more.best.fit.accuracy == max(t.fit.accuracy for t in more.fits)


def test_random_sets_stay_in_the_box_of_theta():
    drawn = random_sets(BORT, 200, seed=3)
    assert drawn == random_sets(BORT, 200, seed=3) != random_sets(BORT, 200, seed=4)
    assert len(set(drawn)) == 200
    for name in ("learning_rate", "weight_decay", "warmup", "batch", "seed"):
        values = [getattr(one, name) for one in BORT]
        assert all(min(values) <= getattr(one, name) <= max(values) for one in drawn)
    fixed = random_sets(SMALL, 5, seed=0)
    assert {one.warmup for one in fixed} == {0.1} and math.isclose(fixed[0].weight_decay, 0.01)


def test_hyperband_follows_the_published_brackets_and_spends_what_it_may():
    outcome = hyperband(SETS, noisy, budget=Budget(9), seed=0)
    assert [(len(r.tried), r.tried[0].share) for r in outcome.rounds[:6]] == [
        (9, 1 / 9), (3, 1 / 3), (1, 1), (5, 1 / 3), (1, 1), (3, 1),
    ]  # fmt: skip
    assert 9 <= sum(t.share for t in outcome.fits) < 10
    first, second = outcome.rounds[:2]
    threshold = sorted((t.fit.accuracy for t in first.tried), reverse=True)[2]
    assert all(t.fit.accuracy >= threshold for t in first.tried if t.theta in {u.theta for u in second.tried})
    assert outcome.best.share == 1
    assert [(one.number, one.attempt) for one in outcome.rounds] == [(k, 0) for k in range(len(outcome.rounds))]


def test_hyperband_draws_no_set_with_the_same_seed_twice_until_all_were_drawn():
    outcome = hyperband(SETS, noisy, budget=Budget(30), seed=0)
    heads = [0, 3, 5]  # where a bracket of each cycle of six rounds begins
    entrants = [(t.theta, t.attempt) for k, one in enumerate(outcome.rounds) if k % 6 in heads for t in one.tried]
    assert len(entrants) > 2 * len(SETS)
    for start in range(0, len(entrants), len(SETS)):
        several = entrants[start : start + len(SETS)]
        assert {attempt for _, attempt in several} == {start // len(SETS)}
        assert len(set(several)) == len(several)
