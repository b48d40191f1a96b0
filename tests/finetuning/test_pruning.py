from dataclasses import astuple, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsp.base.errors import InputError
from fsp.finetuning.pruning import RULES, lcs_keep, lcs_paper, longest_run, pruning_rule, ties
from fsp.finetuning.theta import BORT, SMALL, Hyperparameters, grid, load_theta

theta = st.builds(
    Hyperparameters,
    learning_rate=st.sampled_from([1e-4, 1e-5]),
    weight_decay=st.sampled_from([0.0, 10.0, 100.0]),
    warmup=st.just(0.1),
    batch=st.sampled_from([8, 16]),
    seed=st.sampled_from([0, 1]),
)
scored = st.lists(theta, min_size=1, max_size=12, unique=True).flatmap(
    lambda sets: st.tuples(
        st.just(sets),
        st.lists(st.sampled_from([-1.0, 0.5, 0.6, 0.7]), min_size=len(sets), max_size=len(sets)),
    )
)


def run_by_brute_force(sets):
    """Try every length and every coordinate that is not the same everywhere."""
    values = [astuple(one) for one in sets]
    telling = [c for c in range(len(values[0])) if len({v[c] for v in values}) > 1]
    lengths = [n for n in range(1, len(sets)) for c in telling if len({v[c] for v in values[: n + 1]}) == 1]
    return max(lengths, default=0)


@given(scored)
def test_the_longest_run_is_what_brute_force_finds(case):
    assert longest_run(case[0]) == run_by_brute_force(case[0])


@given(scored)
def test_the_lcs_rules_remove_the_root_and_the_run_after_it(case):
    sets, accuracies = case
    best_first = sorted(range(len(sets)), key=lambda i: (-accuracies[i], i))
    run = run_by_brute_force([sets[i] for i in best_first])
    assert lcs_paper(sets, accuracies) == set(best_first[: run + 1])

    incumbent = best_first[0]
    worst_first = [*sorted(set(range(len(sets))) - {incumbent}, key=lambda i: (accuracies[i], i)), incumbent]
    run = run_by_brute_force([sets[i] for i in worst_first])
    expected = set(worst_first[: run + 1])
    assert lcs_keep(sets, accuracies) == (expected if len(sets) == 1 else expected - {incumbent})


@pytest.mark.parametrize("name", RULES)
@given(case=scored)
def test_every_rule_strictly_shrinks_and_does_not_look_at_the_scale(name, case):
    sets, accuracies = case
    going = RULES[name](sets, accuracies)
    assert going and going <= set(range(len(sets)))
    assert RULES[name](sets, [2 * a + 1 for a in accuracies]) == going
    left = [s for i, s in enumerate(sets) if i not in going]
    assert len(left) < len(sets)


@pytest.mark.parametrize("name", ["lcs-keep", "ties", "halving"])
@given(case=scored)
def test_the_incumbent_stays_unless_it_is_alone(name, case):
    sets, accuracies = case
    incumbent = accuracies.index(max(accuracies))
    assert (incumbent in RULES[name](sets, accuracies)) == (len(sets) == 1)


def test_the_paper_rule_gives_the_leader_away():
    sets = grid(learning_rate=[1e-4, 1e-5], batch=[8, 16])
    assert lcs_paper(sets, [0.9, 0.8, 0.7, 0.6]) == {0, 1}  # both at 1e-4
    assert lcs_keep(sets, [0.9, 0.8, 0.7, 0.6]) == {3, 2}


def test_an_empty_run_removes_the_root_alone():
    sets = [Hyperparameters(1e-4, batch=8), Hyperparameters(1e-5, batch=16), Hyperparameters(1e-4, batch=32)]
    assert longest_run([sets[1], sets[0], sets[2]]) == 0
    assert lcs_keep(sets, [0.7, 0.5, 0.9]) == {1}


def test_a_coordinate_that_is_the_same_everywhere_is_no_run():
    sets = [replace(SMALL[0], learning_rate=rate) for rate in (1e-4, 2e-4, 3e-4)]
    assert longest_run(sets) == 0


def test_ties_removes_all_that_are_as_bad_as_the_worst():
    assert ties(SMALL, [0.5, 0.5, 0.7, 0.6, 0.5, 0.7]) == {0, 1, 4}
    assert ties(SMALL, [0.5] * 6) == {1, 2, 3, 4, 5}


def test_an_unknown_rule_is_refused():
    with pytest.raises(InputError, match="no pruning rule 'best'; there are lcs-keep"):
        pruning_rule("best")


def test_the_presets():
    assert len(set(BORT)) == len(BORT) == 480
    assert {t.learning_rate for t in BORT} == {1e-4, 1e-5, 9e-6}
    assert {t.weight_decay for t in BORT} == {0, 10, 100, 350}
    assert len(set(SMALL)) == len(SMALL)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "no hyperparameter sets; give at least one"),
        ("{}", "must hold a list"),
        ("[1]", "must hold a list"),
        ('[{"batch": 8}]', "set 1: give learning_rate"),
        ('[{"learning_rate": 1e-4, "momentum": 1}]', "set 1: give learning_rate"),
        ('[{"learning_rate": 0}]', "set 1: need learning_rate > 0"),
        ('[{"learning_rate": "1e-4"}]', "learning_rate must be a number"),
        ('[{"learning_rate": true}]', "learning_rate must be a number"),
        ('[{"learning_rate": 1e-4, "batch": 8.5}]', "batch must be an integer"),
        ('[{"learning_rate": NaN}]', "learning_rate must be a number"),
        ('[{"learning_rate": 1e-4}, {"learning_rate": 1e-5}, {"learning_rate": 0.0001}]', "sets 1 and 3 are equal"),
        ("[", "not valid JSON"),
    ],
)
def test_unusable_sets_are_refused(tmp_path, content, message):
    (tmp_path / "theta.json").write_text(content)
    with pytest.raises(InputError, match=message):
        load_theta(tmp_path / "theta.json")


def test_sets_from_a_file(tmp_path):
    (tmp_path / "theta.json").write_text('[{"learning_rate": 1, "batch": 4}]')
    assert load_theta(tmp_path / "theta.json") == (Hyperparameters(1.0, batch=4),)
    with pytest.raises(InputError, match="no hyperparameter sets nope; name small or bort"):
        load_theta("nope")
