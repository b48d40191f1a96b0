import itertools
import pickle
import warnings

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)

import fsp
from fsp.search.samplers.axis import Axis, axis_of
from fsp.search.samplers.grid import Grid, grid_points, space_points
from fsp.search.samplers.history import History

optuna.logging.set_verbosity(optuna.logging.ERROR)
CHOICES = {"D": [1, 2, 3], "A": [4, 8], "H": [12, 16, 24]}
VALID = {(d, a, h) for d in (1, 2, 3) for a, h in ((4, 12), (4, 16), (4, 24), (8, 16), (8, 24))}


# repeats and continuous spaces are what Optuna's own tests ask for
@pytest.mark.filterwarnings("ignore:all .* points of the search space were tried", "ignore:no finite search space")
class TestConformance(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self):
        return lambda: fsp.FPTASSampler(seed=1)


def is_valid(point):
    return point["H"] % point["A"] == 0


def objective(trial):
    return 1 / np.prod([float(trial.suggest_categorical(name, choices)) for name, choices in CHOICES.items()])


def by_integers(trial):
    return trial.suggest_int("D", 1, 3) * trial.suggest_int("A", 4, 8, step=4) / trial.suggest_float("H", 12, 24)


def shapes(study):
    return [tuple(trial.params[name] for name in CHOICES) for trial in study.trials]


def run(sampler, trials, function=objective, **arguments):
    study = optuna.create_study(sampler=sampler)
    study.optimize(function, n_trials=trials, **arguments)
    return study


SPACES = {
    "choices": CHOICES,
    "distributions": {
        "D": IntDistribution(1, 3),
        "A": IntDistribution(4, 8, step=4),
        "H": CategoricalDistribution([12, 16, 24]),
    },
    "SearchSpace": fsp.SearchSpace("toy", CHOICES, ("H % A == 0",), {"D": 4, "A": 8, "H": 24}, "bert"),
    "undeclared": None,
}


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("seed", range(4))
def test_only_valid_points_and_none_twice(space, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study = run(fsp.FPTASSampler(SPACES[space], is_valid=is_valid, seed=seed), len(VALID))
    assert set(shapes(study)) == VALID


@pytest.mark.parametrize("space", ["choices", "distributions", "SearchSpace"])
def test_a_declared_space_may_be_suggested_as_integers_or_floats(space):
    study = run(fsp.FPTASSampler(SPACES[space], is_valid=is_valid, seed=0), len(VALID), by_integers)
    assert set(shapes(study)) == VALID
    assert type(study.trials[0].params["H"]) is float


def test_the_rules_of_a_search_space_and_is_valid_both_hold():
    sampler = fsp.FPTASSampler(SPACES["SearchSpace"], is_valid=lambda p: p["D"] > 1, seed=0)
    assert set(shapes(run(sampler, 10))) == {shape for shape in VALID if shape[0] > 1}


def test_once_all_points_are_tried_they_repeat_with_one_warning():
    with pytest.warns(UserWarning, match="all 15 points of the search space were tried") as caught:
        study = run(fsp.FPTASSampler(CHOICES, is_valid=is_valid, seed=0), len(VALID) + 5)
    assert len(caught) == 1
    assert set(shapes(study)) == VALID


def test_the_start_is_spread_along_the_order_given_by_size():
    study = run(fsp.FPTASSampler({"x": range(100)}, size=lambda p: 1000 - p["x"], interval=25, seed=0), 4, single)
    assert [trial.params["x"] for trial in study.trials] == [76 - 1, 51 - 1, 26 - 1, 0]
    starts = run(fsp.FPTASSampler({"x": range(100)}, seed=0), 2, single)
    assert sorted(trial.params["x"] // 50 for trial in starts.trials) == [0, 1]


def test_every_point_may_be_the_start():
    study = run(fsp.FPTASSampler({"x": range(6)}, size=lambda p: -p["x"], interval=1, seed=0), 6, single)
    assert [trial.params["x"] for trial in study.trials] == [5, 4, 3, 2, 1, 0]


def single(trial):
    return (trial.suggest_int("x", 0, 99) + 1) ** -0.3


def test_the_model_finds_the_best_of_bert_large_early():
    space = fsp.load_space("bert_large")

    def law(trial):
        shape = {name: trial.suggest_categorical(name, choices) for name, choices in space.parameters.items()}
        return shape["D"] ** -0.2 * shape["H"] ** -0.3 * shape["I"] ** -0.1

    for direction, sign in (("minimize", 1), ("maximize", -1)):
        study = optuna.create_study(sampler=fsp.FPTASSampler(space, seed=0), direction=direction)
        study.optimize(lambda trial, sign=sign: sign * law(trial), n_trials=25)
        assert {n: study.best_params[n] for n in "DHI"} == {"D": 12, "H": 1024, "I": 3072}


def test_several_objectives_reach_the_whole_front():
    study = optuna.create_study(
        directions=["minimize", "maximize"], sampler=fsp.FPTASSampler({"x": range(60), "y": range(5)}, seed=0)
    )
    study.optimize(lambda t: (t.suggest_int("x", 0, 59), t.params["x"] ** 0.5 - t.suggest_int("y", 0, 4)), n_trials=60)
    front = [trial.params["x"] for trial in study.best_trials if trial.params["y"] == 0]
    assert len(set(map(str, (trial.params for trial in study.trials)))) == 60
    assert len(front) >= 15


@pytest.mark.parametrize("other", ["minimize", "maximize"])
def test_objectives_count_alike_whatever_their_scale_and_direction(other):
    tried = []
    for factor, direction in ((1, "minimize"), (2**20, other)):
        study = optuna.create_study(
            directions=["minimize", direction], sampler=fsp.FPTASSampler({"x": range(30), "y": range(5)}, seed=0)
        )
        sign = 1 if direction == "minimize" else -1

        def both(trial, factor=factor, sign=sign):
            x, y = trial.suggest_int("x", 0, 29), trial.suggest_int("y", 0, 4)
            return x + y, sign * factor * (30 - x) * (y + 1)

        study.optimize(both, n_trials=40)
        tried.append([trial.params for trial in study.trials])
    assert tried[0] == tried[1]


def test_trials_that_finish_before_an_earlier_one_are_read_once():
    study = optuna.create_study()
    space = {"x": IntDistribution(0, 3)}
    slow, fast = study.ask(space), study.ask(space)
    study.tell(fast, 1.0)
    history = History(study.study_name, None)
    for _ in range(2):
        history.read(study.get_trials())
        assert [trial.number for trial in history.done] == [fast.number]
        assert history.pending == [slow.params]
    study.tell(slow, 1.0)
    history.read(study.get_trials())
    history.read(study.get_trials())
    assert [trial.number for trial in history.done] == [fast.number, slow.number] and history.pending == []


def test_a_point_is_known_again_whatever_its_last_digits():
    grid = Grid(grid_points({"x": Axis([0.3, 0.4])}, None, seed=0), None, None, seed=0)
    assert (grid.row({"x": 0.1 + 0.2}), grid.row({"x": 0.3001})) == (0, None)


def test_threads_and_ask_and_tell_share_no_point():
    study = run(fsp.FPTASSampler(CHOICES, is_valid=is_valid, seed=0), len(VALID), n_jobs=2)
    assert set(shapes(study)) == VALID
    study = optuna.create_study(sampler=fsp.FPTASSampler(CHOICES, is_valid=is_valid, seed=0))
    asked = [study.ask({n: CategoricalDistribution(c) for n, c in CHOICES.items()}) for _ in VALID]
    assert set(shapes(study)) == VALID
    for trial in reversed(asked):
        study.tell(trial, 1.0)


def test_failed_pruned_and_enqueued_points_count_as_tried():
    def sometimes(trial):
        value = objective(trial)
        if trial.number % 3 == 0:
            raise ArithmeticError
        if trial.number % 3 == 1:
            raise optuna.TrialPruned
        return value

    sampler = fsp.FPTASSampler(CHOICES, is_valid=is_valid, seed=0)
    study = optuna.create_study(sampler=sampler)
    for shape in ((3, 8, 16), (1, 4, 12)):
        study.enqueue_trial(dict(zip(CHOICES, shape, strict=True)))
    study.optimize(sometimes, n_trials=len(VALID), catch=(ArithmeticError,))
    assert set(shapes(study)) == VALID


def test_a_partly_fixed_trial_gets_a_valid_point():
    study = optuna.create_study(sampler=fsp.FPTASSampler(CHOICES, is_valid=is_valid, seed=0))
    for _ in range(3):
        study.enqueue_trial({"A": 8})
    study.optimize(objective, n_trials=3)
    assert len(set(shapes(study))) == 3
    assert all(shape in VALID and shape[1] == 8 for shape in shapes(study))
    study.enqueue_trial({"A": 4, "beside": 0.5})  # what the space does not declare restricts nothing
    study.optimize(lambda trial: objective(trial) + trial.suggest_float("beside", 0, 1), n_trials=1)
    assert shapes(study)[3] in VALID and shapes(study)[3][1] == 4


def test_another_process_goes_on_where_the_first_one_stopped(tmp_path):
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    for _ in range(3):
        study = optuna.create_study(
            storage=storage,
            study_name="s",
            load_if_exists=True,
            sampler=fsp.FPTASSampler(CHOICES, is_valid=is_valid, seed=0),
        )
        study.optimize(objective, n_trials=5)
    assert set(shapes(study)) == VALID


def test_the_same_seed_gives_the_same_trials_also_after_pickling():
    first = run(fsp.FPTASSampler(CHOICES, seed=3), 12)
    assert shapes(first) == shapes(run(fsp.FPTASSampler(CHOICES, seed=3), 12))
    study = optuna.create_study(sampler=fsp.FPTASSampler(CHOICES, seed=3))
    study.optimize(objective, n_trials=6)
    study.sampler = pickle.loads(pickle.dumps(study.sampler))
    study.optimize(objective, n_trials=6)
    assert shapes(study) == shapes(first)


def test_a_sampler_may_serve_one_study_after_another():
    sampler = fsp.FPTASSampler(CHOICES, is_valid=is_valid, seed=0)
    for _ in range(2):
        assert set(shapes(run(sampler, len(VALID)))) == VALID


def test_text_and_stepped_floats_are_discrete_too():
    space = {"kind": ["relu", "gelu", "silu"], "rate": FloatDistribution(0.1, 0.5, step=0.1)}

    def function(trial):
        return len(trial.suggest_categorical("kind", ["relu", "gelu", "silu"])) + trial.suggest_float(
            "rate", 0.1, 0.5, step=0.1
        )

    for sampler in (fsp.FPTASSampler(space, seed=0), fsp.FPTASSampler(seed=0)):
        study = run(sampler, 15, function)
        assert len({(t.params["kind"], round(t.params["rate"], 6)) for t in study.trials}) == 15


def test_continuous_and_conditional_parameters_are_told_to_fall_back_to_tpe():
    def continuous(trial):
        return (trial.suggest_float("x", -1, 1) - 0.3) ** 2 + trial.suggest_int("n", 1, 2)

    def conditional(trial):
        return trial.suggest_int("a", 1, 2) if trial.suggest_categorical("deep", [True, False]) else 0

    declared = {"x": FloatDistribution(-1, 1), "n": IntDistribution(1, 2)}
    for space in (None, declared):
        with pytest.warns(UserWarning, match="no finite search space, as x is continuous .*TPESampler") as caught:
            assert run(fsp.FPTASSampler(space, seed=0), 40, continuous).best_value < 1.05
        assert len(caught) == 1
    with pytest.warns(UserWarning, match="no finite search space, as trials differ") as caught:
        assert len(run(fsp.FPTASSampler(seed=0), 20, conditional).trials) == 20
    assert len(caught) == 1


def test_parameters_beside_a_declared_space_are_drawn_freely():
    study = run(
        fsp.FPTASSampler({"n": [1, 2, 3]}, seed=0), 3, lambda t: t.suggest_int("n", 1, 3) + t.suggest_float("lr", 0, 1)
    )
    assert sorted(trial.params["n"] for trial in study.trials) == [1, 2, 3]


def test_of_a_larger_space_different_candidates_are_considered(monkeypatch):
    monkeypatch.setattr("fsp.search.samplers.grid.MAX_POINTS", 8)
    points = space_points(SPACES["SearchSpace"], None, seed=0)
    assert len(points) == len({tuple(points.point(row).values()) for row in range(len(points))}) == 8


def test_after_reseeding_it_goes_on_also_without_any_value():
    def fails(trial):
        objective(trial)
        raise ArithmeticError

    sampler = fsp.FPTASSampler(CHOICES, is_valid=is_valid, seed=0)
    sampler.reseed_rng()
    assert set(shapes(run(sampler, len(VALID), fails, catch=(ArithmeticError,)))) == VALID


def test_a_space_too_large_to_list_is_searched_in_part():
    axes = {name: range(100) for name in "abcde"}
    study = run(
        fsp.FPTASSampler(axes, is_valid=lambda p: p["a"] <= p["b"], seed=0),
        8,
        lambda t: sum(t.suggest_int(n, 0, 99) for n in axes),
    )
    assert all(trial.params["a"] <= trial.params["b"] for trial in study.trials)


@pytest.mark.parametrize(
    ("space", "arguments", "message"),
    [
        (CHOICES, {"interval": 0}, "interval 0 is out of range"),
        (CHOICES, {"interval": 19}, "interval 19 is out of range; choose 1 to 18"),
        (CHOICES, {"size": lambda p: float("nan")}, "size is not finite at {'D': 1, 'A': 4, 'H': 12}"),
        (CHOICES, {"is_valid": lambda p: False}, "is_valid excludes every point"),
        ({}, {}, "no parameters"),
        ({"D": []}, {}, "D needs choices"),
        ({"D": [1, 1]}, {}, "D needs choices, each once"),
    ],
)
def test_bad_arguments_are_refused_with_one_line(space, arguments, message):
    with pytest.raises(fsp.InputError) as refusal:
        fsp.FPTASSampler(space, **arguments)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_trial_that_excludes_the_declared_value_is_refused():
    with pytest.raises(fsp.InputError, match=r"D=.* excludes; suggest it with the same choices"):
        run(fsp.FPTASSampler({"D": [5, 6]}, seed=0), 1, lambda t: t.suggest_int("D", 1, 3))


def test_choices_given_are_not_changed():
    choices = {"x": [3, 1, 2]}
    run(fsp.FPTASSampler(choices, seed=0), 3, lambda t: t.suggest_int("x", 1, 3))
    assert choices == {"x": [3, 1, 2]}


# (low, high, step): the multiple of the step that is nearest to `high` lies above it, or above a choice
OVERSHOOTING = [(0, 0.3, 0.1), (0, 0.6, 0.2), (0.1, 0.7, 0.1), (0.05, 0.35, 0.05), (1e6, 1e6 + 5e-6, 1e-6)]


@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize("bounds", OVERSHOOTING)
def test_stepped_floats_are_the_points_that_optuna_makes(bounds, declared):
    low, high, step = bounds
    distribution = FloatDistribution(low, high, step=step)
    count = round((high - low) / step) + 1
    seen = []

    def function(trial):
        seen.append((trial.suggest_float("x", low, high, step=step), trial.suggest_int("n", 1, 4)))
        return sum(seen[-1])

    space = {"x": distribution, "n": [1, 2, 3, 4]} if declared else None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(fsp.FPTASSampler(space, seed=0), 4 * count, function)
    assert len(set(seen)) == 4 * count
    random = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    random.optimize(lambda trial: trial.suggest_float("x", low, high, step=step), n_trials=40 * count)
    assert {x for x, _ in seen} == {trial.params["x"] for trial in random.trials}


def kind(value):
    """A value as what tells it from any other: its type and its text."""
    return type(value).__name__, repr(value)


MIXED = {
    "equal": [1, 1.0, True, 2],
    "false": [0, False, None, 0.0],
    "NaN": [float("nan"), 1.0, "nan", None],
    "lists": [[64, 32], [128], [256, 128, 64]],
    "tuples": [(64, 32), (128,), "128"],
    "dictionaries": [{"a": 1}, {"a": True}, {"a": 2, "b": (1,)}],
}


@pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")
@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize("choices", MIXED.values(), ids=MIXED)
def test_choices_are_told_apart_by_their_position(choices, declared, stored, tmp_path):
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    seen = []

    def function(trial):
        seen.append((kind(trial.suggest_categorical("x", choices)), trial.suggest_int("y", 1, 3)))
        return trial.params["y"]

    storage = JournalStorage(JournalFileBackend(str(tmp_path / "s.journal"))) if stored else None
    study = optuna.create_study(storage=storage, study_name="s")
    for part in (len(choices), 2 * len(choices)):  # another sampler goes on from what is stored
        sampler = fsp.FPTASSampler({"x": choices, "y": [1, 2, 3]} if declared else None, seed=0)
        optuna.load_study(study_name="s", storage=study._storage, sampler=sampler).optimize(function, n_trials=part)
    assert sorted(seen) == sorted((kind(choice), y) for choice in choices for y in (1, 2, 3))


@pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")
@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize("choices", [[np.float32(0.1), 0.1, 0.2], [np.int64(1), 1, 2.0], [np.True_, True, False]])
def test_numbers_of_numpy_are_choices_of_their_own(choices, declared):
    seen = []

    def function(trial):
        value = trial.suggest_categorical("x", choices)
        seen.append(((type(value), repr(value)), trial.suggest_int("y", 1, 3)))
        return trial.params["y"]

    space = {"x": choices, "y": [1, 2, 3]} if declared else None
    run(fsp.FPTASSampler(space, seed=0), 9, function)
    assert sorted(map(str, seen)) == sorted(str(((type(c), repr(c)), y)) for c in choices for y in (1, 2, 3))


def test_integers_of_numpy_may_be_declared_and_suggested_as_integers():
    seen = []

    def function(trial):
        seen.append((trial.suggest_int("x", 1, 3), trial.suggest_int("y", 1, 3)))
        return sum(seen[-1])

    run(fsp.FPTASSampler({"x": list(np.arange(1, 4)), "y": [1, 2, 3]}, seed=0), 9, function)
    assert len(set(seen)) == 9


def test_a_fixed_choice_is_the_one_meant():
    study = optuna.create_study(sampler=fsp.FPTASSampler({"x": [1, True], "y": [1, 2]}, seed=0))
    seen = []

    def function(trial):
        seen.append((kind(trial.suggest_categorical("x", [1, True])), trial.suggest_int("y", 1, 2)))
        return 1.0

    for _ in range(2):
        study.enqueue_trial({"x": True})
    study.optimize(function, n_trials=4)
    assert [x for x, _ in seen[:2]] == [kind(True)] * 2 and len(set(seen)) == 4


def enqueued(study, *parts, trials=None):
    for part in parts:
        study.enqueue_trial(part)
    study.optimize(by_integers, n_trials=len(parts) if trials is None else trials)
    return shapes(study)


def test_more_partly_fixed_trials_than_points_repeat_valid_ones_and_say_so():
    study = optuna.create_study(sampler=fsp.FPTASSampler({**CHOICES, "D": [1]}, is_valid=is_valid, seed=0))
    with pytest.warns(UserWarning, match="trial 2: all 2 points of the search space with the fixed A=8 were tried"):
        found = enqueued(study, {"A": 8}, {"A": 8}, {"A": 8}, {"H": 12})
    assert set(found[:2]) == {(1, 8, 16), (1, 8, 24)} and found[2] in found[:2] and found[3] == (1, 4, 12)
    found = enqueued(study, trials=2)
    assert set(found) == {(1, a, h) for _, a, h in VALID}


@pytest.mark.parametrize("space", SPACES)
def test_fixed_values_beside_the_choices_are_completed_validly(space):
    """20 is no choice of H: 4 divides it and 8 does not; 13 is divided by none."""
    sampler = fsp.FPTASSampler(SPACES[space], is_valid=is_valid, seed=0)
    study = optuna.create_study(sampler=sampler)

    def function(trial):
        return trial.suggest_int("D", 1, 3) * trial.suggest_int("A", 4, 8, step=4) / trial.suggest_int("H", 12, 24)

    trials = 1 if SPACES[space] is None else 0  # a space that is found out needs a trial to be found out from
    study.optimize(function, n_trials=trials)
    for height in (20, 20, 20, 13):
        study.enqueue_trial({"H": height})
    study.optimize(function, n_trials=3)
    found = [(trial.params["D"], trial.params["A"], trial.params["H"]) for trial in study.trials[trials : trials + 3]]
    assert set(found) == {(d, 4, 20) for d in (1, 2, 3)}
    with pytest.warns(UserWarning, match=f"trial {trials + 3}: no valid point of the search space has the fixed H=13"):
        study.optimize(function, n_trials=1)


@st.composite
def problems(draw):
    """Distributions of up to three parameters, a rule that some points fulfil, and partly fixed trials."""
    number = st.integers(-1000, 1000).map(lambda n: n / 100)
    distribution = st.one_of(
        st.builds(lambda low, n, step: IntDistribution(low, low + n * step, step=step),
                  st.integers(-5, 5), st.integers(0, 3), st.integers(1, 4)),
        st.builds(lambda low, n, step: FloatDistribution(low, low + n * step, step=step),
                  number, st.integers(0, 4), st.sampled_from([0.05, 0.1, 0.2, 0.25, 0.3, 0.7])),
        st.lists(st.one_of(st.none(), st.booleans(), st.integers(-1, 2), st.sampled_from([0.0, 1.0, float("nan")]),
                           st.text("ab", max_size=2), st.lists(st.integers(0, 1), max_size=2)),
                 min_size=1, max_size=4, unique_by=kind).map(CategoricalDistribution),
    )  # fmt: skip
    space = {name: draw(distribution) for name in "abc"[: draw(st.integers(1, 3))]}
    values = {name: [kind(v) for v in axis_of(d).choices] for name, d in space.items()}
    grid = list(itertools.product(*values.values()))
    valid = set(draw(st.lists(st.sampled_from(grid), min_size=1, unique=True))) if draw(st.booleans()) else set(grid)
    choices = {name: st.sampled_from(axis_of(d).choices) for name, d in space.items()}
    parts = draw(st.lists(st.fixed_dictionaries({}, optional=choices), max_size=4))
    return space, valid, parts


@pytest.mark.filterwarnings("ignore:Choices for a categorical", "ignore:The distribution is specified by",
                            "ignore:trial .*the fixed")  # fmt: skip
@given(problem=problems(), declared=st.booleans(), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=150)
def test_every_finite_space_is_gone_through_without_repeats(problem, declared, seed):
    """A trial repeats a point, or breaks the rule, only where its fixed part leaves nothing else."""
    space, valid, parts = problem

    def allowed(point):
        return tuple(kind(point[name]) for name in space) in valid

    seen = []

    def function(trial):
        seen.append(tuple(kind(trial._suggest(name, distribution)) for name, distribution in space.items()))
        return float(len(seen))

    if not declared:  # without a space the rule is not known for the first trial
        valid = set(itertools.product(*([kind(v) for v in axis_of(d).choices] for d in space.values())))
    arguments = {"is_valid": allowed} if declared else {}
    study = optuna.create_study(sampler=fsp.FPTASSampler(space if declared else None, seed=seed, **arguments))
    for part in parts:
        study.enqueue_trial(part)
    for number in range(len(parts) + len(valid)):
        before = set(seen)
        if before >= valid:
            break
        study.optimize(function, n_trials=1)
        fixed = parts[number] if number < len(parts) else {}
        names = list(space)
        possible = {p for p in valid if all(p[names.index(n)] == kind(v) for n, v in fixed.items())}
        if set(fixed) == set(space):
            continue
        waiting = {tuple(kind(part[n]) for n in names) for part in parts[number + 1 :] if set(part) == set(space)}
        if not declared and number == 0:  # nor are the points that wait
            waiting = set()
        open_ = possible - before
        assert seen[-1] in (open_ - waiting or possible or {seen[-1]})
    assert set(seen) >= valid
