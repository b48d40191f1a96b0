"""The `fitted` method: a stratified start along the order, then the best candidates according to a fitted law."""

import math

import numpy as np
from numpy.typing import NDArray

from fsp.search.candidates import Candidates, Proposals
from fsp.search.interval import order
from fsp.search.samplers.law import QuadraticLaw, expected_improvement, log_features


def stratified(ordered: NDArray[np.int64], count: int, *, seed: int | None) -> NDArray[np.int64]:
    """Return one random element from each of `count` equal parts of an order, in random sequence.

    Example:
        >>> sorted(stratified(np.arange(100), 4, seed=0) // 25)
        [np.int64(0), np.int64(1), np.int64(2), np.int64(3)]
    """
    generator = np.random.default_rng(seed)
    edges = np.linspace(0, len(ordered), min(count, len(ordered)) + 1).astype(np.int64)
    return generator.permutation(ordered[generator.integers(edges[:-1], edges[1:])])


def start_size(parameters: int) -> int:
    """Return how many candidates are evaluated before the first fit: the terms of a linear law of d parameters."""
    return parameters + 1


def best_expected(
    law: QuadraticLaw,
    rows: NDArray[np.int64],
    values: NDArray[np.float64],
    open_rows: NDArray[np.bool_],
    offset: NDArray[np.float64] | float = 0.0,
) -> int:
    """Return the open row with the largest expected improvement of `offset - value` over the best one observed.

    If no observed row has a score yet, or no improvement is expected, the largest predicted mean decides.

    Args:
        law: the law over the `n` rows.
        rows: the observed rows, `(m,)`.
        values: their values, `(m,)`, finite.
        open_rows: which rows may be returned, `(n,)`, at least one.
        offset: the known part of the maximised score, `(n,)`; -inf excludes a row while others remain.
    """
    mean, deviation = law.predict(rows, values)
    known = np.broadcast_to(np.asarray(offset, dtype=np.float64), mean.shape)
    expected = known - mean
    best = float((known[rows] - values).max())
    gains = expected_improvement(expected, deviation, best) if math.isfinite(best) else expected
    if not (gains[open_rows] > 0).any():
        gains = expected
    candidates = np.flatnonzero(open_rows)
    return int(candidates[gains[candidates].argmax()])


def fitted(candidates: Candidates, evaluations: int, seed: int) -> Proposals:
    """Propose rows by a law of log e: first a stratified start, then the largest expected improvement in log score.

    The start takes one candidate from each of d + 1 equal parts of the order. The one with the largest gain (for the
    least error, the largest one) comes first, so that an interrupted search is still useful.

    The law is a quadratic in the logarithms of the parameters, p and i (`fsp.search.samplers.law`). The score's other
    factor, the gain of W, is known beforehand, so only the error is modelled. A failed evaluation (NaN) is not
    repeated and not fitted.

    Args:
        candidates: what to choose from.
        evaluations: the budget; at most half of it goes into the start.
        seed: determines the start; everything after it is deterministic.

    Example:
        >>> size = np.arange(1.0, 101.0)
        >>> rows = Candidates(size[:, None], size, size, (100.0, 100.0), np.array([False]))
        >>> search, best = fitted(rows, 12, seed=0), -math.inf
        >>> row = next(search)
        >>> for _ in range(11):
        ...     error = size[row] ** -0.5
        ...     best = max(best, rows.score(row, error))
        ...     row = search.send(error)
        >>> bool(best > 0.999 * ((1 - size / 100) ** 2 * size**0.5).max())
        True
    """
    points = candidates.parameters
    ordered = order(candidates.size, candidates.speed, points, seed=seed)
    spread = stratified(ordered, min(start_size(points.shape[1]), math.ceil(evaluations / 2)), seed=seed)
    promise = candidates.size if candidates.gain is None else candidates.gain  # the score without its error
    start = spread[np.argsort(promise[spread], kind="stable")].tolist()
    law = QuadraticLaw(log_features(points, candidates.size, candidates.speed))
    if candidates.gain is None:
        offset = np.zeros(len(candidates))
    else:
        offset = np.log(candidates.gain, out=np.full(len(candidates), -np.inf), where=candidates.gain > 0)
    open_rows = np.ones(len(candidates), dtype=bool)
    rows: list[int] = []
    values: list[float] = []
    while open_rows.any():
        if start:
            row = start.pop()
        elif rows:
            row = best_expected(law, np.array(rows), np.array(values), open_rows, offset)
        else:
            row = int(ordered[open_rows[ordered]][0])
        open_rows[row] = False
        error = yield row
        if math.isfinite(error):
            rows.append(row)
            values.append(math.log(error))
    return None
