import pickle
import warnings

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)

import fsp
from fsp.search.grid import Grid, space_points
from fsp.search.history import History

optuna.logging.set_verbosity(optuna.logging.ERROR)
CHOICES = {"D": [1, 2, 3], "A": [4, 8], "H": [12, 16, 24]}
VALID = {(d, a, h) for d in (1, 2, 3) for a, h in ((4, 12), (4, 16), (4, 24), (8, 16), (8, 24))}


# repeats are what Optuna's own tests ask for, on spaces of three points
@pytest.mark.filterwarnings("ignore:all .* points of the search space were tried")
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
    grid = Grid([{"x": 0.3}, {"x": 0.4}], None, None, seed=0)
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


def test_continuous_and_conditional_parameters_fall_back_to_tpe():
    def continuous(trial):
        return (trial.suggest_float("x", -1, 1) - 0.3) ** 2 + trial.suggest_int("n", 1, 2)

    def conditional(trial):
        return trial.suggest_int("a", 1, 2) if trial.suggest_categorical("deep", [True, False]) else 0

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(fsp.FPTASSampler(seed=0), 40, continuous).best_value < 1.05
        assert len(run(fsp.FPTASSampler(seed=0), 20, conditional).trials) == 20
        declared = {"x": FloatDistribution(-1, 1), "n": IntDistribution(1, 2)}
        assert run(fsp.FPTASSampler(declared, seed=0), 40, continuous).best_value < 1.05


def test_parameters_beside_a_declared_space_are_drawn_freely():
    study = run(
        fsp.FPTASSampler({"n": [1, 2, 3]}, seed=0), 3, lambda t: t.suggest_int("n", 1, 3) + t.suggest_float("lr", 0, 1)
    )
    assert sorted(trial.params["n"] for trial in study.trials) == [1, 2, 3]


def test_of_a_larger_space_different_candidates_are_considered(monkeypatch):
    monkeypatch.setattr("fsp.search.grid.MAX_POINTS", 8)
    points = space_points(SPACES["SearchSpace"], None, seed=0)
    assert len(points) == len({tuple(point.values()) for point in points}) == 8


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
