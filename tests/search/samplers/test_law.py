import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from fsp.search.samplers.law import _CURVATURES, _FENCE, _NOISES, QuadraticLaw, expected_improvement, log_features


def by_dense_algebra(features, rows, values):
    """The same model written as a Gaussian process, the evidence of every setting by brute force."""
    first, second = np.triu_indices(features.shape[1])
    linear = np.column_stack([np.ones(len(features)), features])
    products = features[:, first] * features[:, second]
    lower, upper = np.quantile(values, (0.25, 0.75))
    values = np.minimum(values, upper + _FENCE * (upper - lower))
    centre, scale = values.mean(), values.std()
    target = (values - centre) / scale
    best = None
    for curvature in _CURVATURES:
        kernel = linear @ linear.T + curvature * products @ products.T
        for noise in _NOISES:
            covariance = kernel[np.ix_(rows, rows)] + noise * np.eye(len(rows))
            variance = target @ np.linalg.solve(covariance, target) / len(rows)
            evidence = -0.5 * (len(rows) * np.log(variance) + np.linalg.slogdet(covariance)[1])
            if best is None or evidence > best[0]:
                cross = np.linalg.solve(covariance, kernel[rows]).T
                mean = cross @ target
                spread = variance * (np.diag(kernel) - (cross * kernel[:, rows]).sum(axis=1) + noise)
                best = evidence, centre + scale * mean, scale * np.sqrt(spread)
    return best[1:]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(3, 25))
def test_predictions_equal_those_of_dense_algebra(seed, parameters, observed):
    generator = np.random.default_rng(seed)
    features = log_features(generator.uniform(1, 100, size=(40, parameters)))
    rows = generator.choice(40, observed, replace=False)
    values = features[rows] @ generator.normal(size=parameters) + generator.normal(size=observed) / 10
    mean, deviation = QuadraticLaw(features).predict(rows, values)
    expected_mean, expected_deviation = by_dense_algebra(features, rows, values)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(deviation, expected_deviation, rtol=1e-4)


def test_a_power_law_is_found_from_few_points():
    sizes = np.geomspace(1, 1000, 60)
    rows = np.arange(0, 60, 10)
    mean, _ = QuadraticLaw(log_features(sizes)).predict(rows, -0.3 * np.log(sizes[rows]))
    np.testing.assert_allclose(mean, -0.3 * np.log(sizes), atol=0.02)


def test_one_diverged_training_does_not_hide_the_law():
    sizes = np.geomspace(1, 1000, 60)
    rows = np.arange(0, 60, 4)
    values = -0.3 * np.log(sizes[rows])
    values[7] = 60.0
    mean, _ = QuadraticLaw(log_features(sizes)).predict(rows, values)
    assert mean[0] > mean[30] > mean[59]


def test_one_observation_and_equal_observations_give_finite_predictions():
    law = QuadraticLaw(log_features(np.arange(1.0, 6.0)))
    for rows in (np.array([2]), np.array([0, 4])):
        mean, deviation = law.predict(rows, np.full(len(rows), 1.5))
        assert np.isfinite(mean).all()
        assert np.isfinite(deviation).all()


def test_columns_that_do_not_vary_or_are_not_positive():
    features = log_features(np.array([-1.0, 0.0, 1.0]), np.ones(3), np.array([1.0, 10.0, 100.0]))
    assert features.shape == (3, 2)
    np.testing.assert_allclose(features[:, 0], features[:, 1])
    assert log_features(np.ones(3)).shape == (3, 0)


def test_inputs_are_not_changed():
    column, rows, values = np.array([1.0, 2.0, 4.0, 8.0]), np.array([0, 1, 3]), np.array([1.0, 2.0, 300.0])
    QuadraticLaw(log_features(column)).predict(rows, values)
    assert column.tolist() == [1, 2, 4, 8]
    assert rows.tolist() == [0, 1, 3]
    assert values.tolist() == [1, 2, 300]


@given(st.floats(-5, 5), st.floats(0.01, 5), st.floats(-5, 5))
def test_expected_improvement_is_the_expectation(mean, deviation, best):
    quantiles = norm.ppf((np.arange(20000) + 0.5) / 20000, mean, deviation)
    expected = np.maximum(quantiles - best, 0).mean()
    found = expected_improvement(np.array([mean]), np.array([deviation]), best)[0]
    assert found == pytest.approx(expected, abs=2e-3)
