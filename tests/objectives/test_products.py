import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsp.base.errors import InputError
from fsp.objectives.products import fit_products, relative_errors


def shapes(n, seed=0, columns=4):
    return np.random.default_rng(seed).uniform(1, 9, (n, columns))


def test_recovers_a_transformer_like_law_from_few_rows():
    x = np.stack([*np.random.default_rng(0).uniform([1, 64, 64], [24, 1024, 4096], (60, 3)).T], axis=1)
    depth, hidden, inner = x.T
    y = 3 + 1e-3 * hidden + depth * (0.2 + 2e-6 * hidden**2 + 1e-6 * hidden * inner)
    law = fit_products(x[:40], y[:40])
    assert relative_errors(law(x[40:]), y[40:]).max() < 1e-6


def test_minimises_the_squared_relative_error():
    x = shapes(50)
    y = x[:, 0] * x[:, 1] + np.random.default_rng(1).uniform(0, 5, 50)
    law = fit_products(x, y, degree=2)
    least = (relative_errors(law(x), y) ** 2).sum()
    for k in range(len(law.weights)):
        for factor in (0.99, 1.01):
            moved = law.weights.copy()
            moved[k] *= factor
            other = type(law)(law.terms, moved, law.scale)
            assert (relative_errors(other(x), y) ** 2).sum() >= least


@given(st.integers(0, 10_000))
def test_positive_and_growing_whatever_it_was_fitted_to(seed):
    generator = np.random.default_rng(seed)
    x = shapes(20, seed, columns=3)
    law = fit_products(x, generator.lognormal(size=20), degree=2)
    far = generator.uniform(0.01, 100, (30, 3))
    assert (law(far) > 0).all()
    assert (law(far * 2) >= law(far)).all()


def test_units_do_not_matter():
    x, factor = shapes(40), np.array([1e6, 1e-3, 1, 50])
    y = 1 + x[:, 0] * x[:, 2]
    scaled = fit_products(x * factor, 1e4 * y)
    np.testing.assert_allclose(scaled(x * factor), 1e4 * fit_products(x, y)(x), rtol=1e-6)


def test_description_computes_what_the_law_does():
    x = shapes(40)
    law = fit_products(x, 5 + x[:, 0] ** 2 * x[:, 1])
    described = law.describe(("a", "b", "c", "d"))
    total = sum(
        weight * np.prod([x[:, "abcd".index(name)] for name in term.split("*")], axis=0)
        if term != "constant"
        else np.full(40, weight)
        for term, weight in described.items()
    )
    np.testing.assert_allclose(total, law(x), rtol=1e-12)


def test_wide_tables_get_fewer_factors():
    x = shapes(60, columns=40)
    assert max(map(len, fit_products(x, 1 + x[:, 0] * x[:, 1]).terms)) <= 2


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (shapes(9), np.ones(9), "9 rows are too few"),
        (shapes(10), np.array([1.0] * 9 + [0.0]), "a latency is 0; latencies must be positive"),
        (-shapes(10), np.ones(10), "must not be negative"),
    ],
)
def test_bad_input(x, y, message):
    with pytest.raises(InputError, match=message):
        fit_products(x, y)
