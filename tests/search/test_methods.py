import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsp.search.candidates import Candidates
from fsp.search.methods import METHODS
from fsp.search.samplers.fitted import stratified
from fsp.search.samplers.optuna_samplers import unit_ranks
from fsp.testing import MethodContract

BY_COLUMN = ("tpe", "nsga2", "gp")  # Optuna draws a point column by column, so that their order decides


class Contract(MethodContract):
    @pytest.fixture(autouse=True)
    def _method(self, name):
        self.method, self.complete = METHODS[name], name not in ("maximal", "certified")
        self.rows = 8 if name == "gp" else 25


@pytest.mark.parametrize("name", [name for name in METHODS if name not in BY_COLUMN])
class TestMethods(Contract):
    pass


@pytest.mark.parametrize("name", BY_COLUMN)
class TestOptunasSamplers(Contract):
    test_the_order_and_names_of_parameters_do_not_matter = None


def candidates(seed, count=40, gain=False):
    generator = np.random.default_rng(seed)
    points = generator.uniform(1, 100, size=(count, 3))
    size = points.prod(axis=1)
    maximum = (size.max(), 2 * size.max() ** 0.9) if gain else None
    return Candidates(points, size, size**0.9, maximum, np.zeros(3, dtype=bool))


def rows_of(method, rows, error, evaluations, seed):
    contract = MethodContract()
    contract.method = METHODS[method]
    return contract.asked(rows, error, evaluations, seed)


def test_interval_takes_every_kth_of_the_order():
    rows = candidates(1, 40)
    found = rows_of("interval", rows, np.ones(40), 10, 0)
    assert found == np.argsort(rows.size)[3::4].tolist()


def test_params_goes_down_and_params_ascending_up():
    rows = candidates(1, 40)
    assert rows_of("params", rows, np.ones(40), 5, 0) == np.argsort(-rows.size)[:5].tolist()
    assert rows_of("params-ascending", rows, np.ones(40), 5, 0) == np.argsort(rows.size)[:5].tolist()


@pytest.mark.parametrize("gain", [False, True])
@pytest.mark.parametrize("exponent", [0.1, 0.5])
def test_fitted_finds_the_best_of_a_power_law_with_few_evaluations(gain, exponent):
    for seed in range(5):
        rows = candidates(seed, 200, gain)
        error = 1 / (rows.parameters[:, 0] * rows.parameters[:, 1] ** 0.5) ** exponent
        scores = np.array([rows.score(k, error[k]) for k in range(200)])
        found = rows_of("fitted", rows, error, 15, seed)
        assert scores[found].max() == scores.max()


def test_fitted_beats_random_on_a_noisy_law():
    regret = {"fitted": [], "random": []}
    for seed in range(20):
        rows = candidates(seed, 150, gain=True)
        noise = np.random.default_rng(seed).normal(size=150)
        error = rows.size**-0.3 * np.exp(0.03 * noise)
        scores = rows.gain / error
        for method, values in regret.items():
            values.append(1 - scores[rows_of(method, rows, error, 20, seed)].max() / scores.max())
    assert np.mean(regret["fitted"]) < 0.5 * np.mean(regret["random"])


@pytest.mark.parametrize("method", ["tpe", "nsga2"])
def test_samplers_learn_from_what_they_are_told(method):
    regret = {method: [], "random": []}
    for seed in range(10):
        rows = candidates(seed, 400)
        error = 1 / rows.size
        for name, values in regret.items():
            values.append(np.log(error[rows_of(name, rows, error, 40, seed)].min() / error.min()))
    assert np.mean(regret[method]) < 0.5 * np.mean(regret["random"])


def test_fitted_ends_with_the_rows_that_cannot_win():
    rows = candidates(2, 30, gain=True)  # its largest row has W = 0
    assert rows_of("fitted", rows, 1 / rows.size, 30, 1).index(int(rows.size.argmax())) >= 1
    everything = rows_of("fitted", rows, 1 / rows.size, 30, 1)
    assert sorted(everything) == list(range(30))


def test_constant_parameters_are_no_obstacle():
    size = np.arange(1.0, 11.0)
    rows = Candidates(np.column_stack([size, np.full(10, 7.0)]), size, np.ones(10), None, np.zeros(2, dtype=bool))
    for method in set(METHODS) - {"gp"}:
        assert rows_of(method, rows, 1 / size, 10, 0)


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 99))
def test_stratified_takes_one_of_each_part(elements, count, seed):
    found = stratified(np.arange(elements), count, seed=seed)
    assert len(found) == len(set(found.tolist())) == min(count, elements)
    edges = np.linspace(0, elements, len(found) + 1).astype(int)
    assert (np.histogram(found, bins=np.append(edges[:-1], elements))[0] == 1).all()


def test_ranks_keep_ties_and_ignore_scale():
    values = np.array([[1e9, 5.0], [1.0, 5.0], [1.0, 5.0], [30.0, 5.0]])
    np.testing.assert_allclose(unit_ranks(values), [[1, 0], [0, 0], [0, 0], [0.5, 0]])
