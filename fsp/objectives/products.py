"""A law for latencies without knowledge of structure: a sum of products of parameters with positive coefficients."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError

DEGREES = (1, 2, 3)
Term = tuple[int, ...]
_FOLDS = 5
_MAX_TERMS = 3_000  # for wide tables the degree is reduced, so that a fit takes only seconds
LEAST_ROWS = 2 * _FOLDS


@dataclass(frozen=True)
class Products:
    """A sum of products of parameters, `sum_k weights[k] * prod_j (x[j] / scale[j])`, where j runs over `terms[k]`.

    The cost of a layer is a sum of products of widths, and that of a network is its depth times as much. No weight is
    negative, so a prediction is positive for positive parameters and grows with each of them.

    Attributes:
        terms: the columns multiplied in each product, none for the constant; products with weight 0 are left out.
        weights: coefficients in the unit of the fitted values, `(k,)`.
        scale: scale of each column, `(d,)`.
    """

    terms: tuple[Term, ...]
    weights: NDArray[np.float64]
    scale: NDArray[np.float64]

    def __call__(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the predictions `(n,)` for an `n x d` array."""
        return _products(parameters / self.scale, self.terms) @ self.weights

    def describe(self, names: tuple[str, ...]) -> dict[str, float]:
        """Return each product, written as `D*H*I`, and its coefficient in the parameters' own units."""
        return {
            "*".join(names[j] for j in term) or "constant": float(weight / self.scale[list(term)].prod())
            for term, weight in zip(self.terms, self.weights, strict=True)
        }


def fit_products(
    parameters: NDArray[np.float64], values: NDArray[np.float64], *, degree: int | None = None
) -> Products:
    """Return the sum of products with the least squared relative error on measured rows.

    Args:
        parameters: `n x d`, not negative.
        values: the measured values, `(n,)`, positive.
        degree: the largest number of factors of a product; by default the one of `DEGREES` with the least mean
            relative error in five-fold cross-validation over these rows.

    Raises:
        InputError: a value is not positive, a parameter is negative, or there are fewer than `LEAST_ROWS` rows.

    Source:
        Non-negative least squares: Lawson and Hanson, Solving Least Squares Problems (1974), chapter 23.

    Example:
        >>> depth, width = np.meshgrid([1.0, 2.0, 3.0], [1.0, 2.0, 5.0, 7.0])
        >>> shapes = np.stack([depth.ravel(), width.ravel()], axis=1)
        >>> law = fit_products(shapes, 2 + 3 * shapes[:, 0] * shapes[:, 1])
        >>> {term: round(weight, 6) for term, weight in law.describe(("D", "H")).items() if weight > 1e-6}
        {'constant': 2.0, 'D*H': 3.0}
    """
    if len(values) < LEAST_ROWS:
        raise InputError(f"{len(values)} rows are too few to fit a predictor; give at least {LEAST_ROWS}")
    columns = parameters.shape[1]
    if degree is None:
        allowed = [d for d in DEGREES if math.comb(columns + d, d) <= _MAX_TERMS] or DEGREES[:1]
        degree = min(allowed, key=lambda d: _cross_validated(parameters, values, d))
    return fit_terms(parameters, values, products_up_to(degree, range(columns)))


def products_up_to(degree: int, columns: Iterable[int]) -> list[Term]:
    """Return all products of at most `degree` columns, with repetition; the constant comes first.

    Example:
        >>> products_up_to(2, [0, 1])
        [(), (0,), (1,), (0, 0), (0, 1), (1, 1)]
    """
    columns = list(columns)
    return [term for k in range(degree + 1) for term in itertools.combinations_with_replacement(columns, k)]


def fit_terms(parameters: NDArray[np.float64], values: NDArray[np.float64], terms: Sequence[Term]) -> Products:
    """Return the sum of the given products with the least squared relative error; arguments as for `fit_products`.

    Raises:
        InputError: a value is not positive, or a parameter is negative.
    """
    from scipy.optimize import nnls

    if not (values > 0).all():
        raise InputError(f"a latency is {values.min():g}; latencies must be positive")
    if (parameters < 0).any():
        raise InputError(f"a parameter is {parameters.min():g}; parameters must not be negative")
    scale = parameters.mean(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    unit = float(values.mean())
    relative = _products(parameters / scale, terms) * (unit / values)[:, None]
    weights, _ = nnls(relative, np.ones(len(values)), maxiter=20 * len(terms))
    used = np.flatnonzero(weights)
    return Products(tuple(terms[int(k)] for k in used), unit * weights[used], scale)


def relative_errors(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the absolute relative error of each prediction, `(n,)`."""
    return np.abs(predicted - measured) / measured


def _cross_validated(parameters: NDArray[np.float64], values: NDArray[np.float64], degree: int) -> float:
    """Return the mean relative error of fits on held-out rows."""
    fold = np.random.default_rng(0).permutation(len(values)) % _FOLDS  # tables are often in grid order
    terms = products_up_to(degree, range(parameters.shape[1]))
    errors = []
    for k in range(_FOLDS):
        held = fold == k
        law = fit_terms(parameters[~held], values[~held], terms)
        errors.append(relative_errors(law(parameters[held]), values[held]))
    return float(np.concatenate(errors).mean())


def _products(scaled: NDArray[np.float64], terms: Sequence[Term]) -> NDArray[np.float64]:
    return np.stack([scaled[:, list(term)].prod(axis=1) for term in terms], axis=1)
