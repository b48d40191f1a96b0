"""A prediction of errors not yet measured, for planning only: no certified bound depends on it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from fsp.search.certificates.bounds import Floats, Order

_SLOPE = -0.15  # prior slope of log e in the log of a size
_STIFFNESS = 0.05  # weight of the prior slopes, in evaluations


def log_linear(order: Order, rows: Sequence[int], log_mean: ArrayLike) -> Floats:
    """Return log e of all candidates, predicted by a ridge regression on the logs of the parameters, `(n,)`.

    Args:
        order: the candidates.
        rows: the evaluated ones, `m` row numbers.
        log_mean: their mean log e, `(m,)`.

    Example:
        >>> order = Order(np.array([[1], [2], [4]]), np.empty((3, 0)), np.empty((3, 0)))
        >>> log_linear(order, [0, 2], np.log([0.4, 0.1])).argsort().tolist()
        [2, 1, 0]
    """
    columns = np.concatenate([order.sizes, order.equal, order.neutral], axis=1).astype(np.float64)
    scale = np.abs(columns).max(axis=0)
    features = np.log(np.maximum(np.abs(columns) / np.where(scale > 0, scale, 1.0), 1e-9))
    prior = np.zeros(features.shape[1])
    prior[: order.sizes.shape[1]] = _SLOPE
    known = features[list(rows)]
    design = np.column_stack([np.ones(len(known)), known])
    penalty = np.diag([1e-6, *np.full(len(prior), _STIFFNESS)])
    weights = np.linalg.solve(design.T @ design + penalty, design.T @ (np.asarray(log_mean) - known @ prior))
    return weights[0] + features @ (weights[1:] + prior)
