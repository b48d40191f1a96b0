"""The maximal shapes: those that no other shape exceeds. The least error is among them if larger is never worse."""

import numpy as np
from numpy.typing import NDArray

from fsp.base.rounding import at_most
from fsp.search.certificates.bounds import Order
from fsp.search.interval import order

AUDIT = 3  # the most shapes below maximal ones that are evaluated to test M


def maximal(points: NDArray[np.int64 | np.float64], neutral: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the rows that no other row exceeds: none is as large in every size, larger in one, and equal in the rest.

    Under assumption M(0) (docs/certificate.md) the least error of all rows is among them.

    Args:
        points: architectures, `n x d`, no two of them equal.
        neutral: which parameters are not sizes and must be equal in comparable shapes, `(d,)`.

    Source: Kung, Luccio and Preparata, Journal of the ACM 22 (1975), as implemented in moocore.

    Example:
        >>> maximal(np.array([[1, 8], [2, 4], [2, 2], [1, 4]]), np.array([False, False])).tolist()
        [0, 1]
    """
    import moocore

    if neutral.all():
        return np.arange(len(points))
    found = np.zeros(len(points), dtype=bool)
    groups = np.unique(points[:, neutral], axis=0, return_inverse=True)[1].ravel()
    for group in range(groups.max() + 1):
        rows = np.flatnonzero(groups == group)
        sizes = points[np.ix_(rows, ~neutral)].astype(np.float64)
        found[rows] = moocore.is_nondominated(sizes, maximise=True, keep_weakly=True)
    return np.flatnonzero(found)


def with_audit(
    points: NDArray[np.int64], neutral: NDArray[np.bool_], size: NDArray, speed: NDArray, evaluations: int, *, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """Return which rows to evaluate: maximal ones, and some below them that could contradict M.

    The audit gets a quarter of the evaluations, at most `AUDIT`, or fewer if all maximal rows fit only then. If there
    are more maximal rows than the remaining evaluations, those with the largest p, then i, are taken: judged by long
    training, their regret was lower than that of rows spread over the shapes (experiments/ground_truth/regret.py).

    The audit takes the rows whose i is closest to that of an evaluated maximal row above them: first one for each set
    of parameters in which such a pair differs, then the next closest. M is refuted most easily between similar shapes.

    Args:
        points: architectures, `n x d`.
        neutral: as for `maximal`.
        size: p of each row, `(n,)`.
        speed: i of each row, `(n,)`, positive.
        evaluations: how many rows to return at most, audit included.
        seed: of the order among exact ties.

    Returns:
        The maximal rows from the smallest to the largest, those of the audit, and how many maximal rows there are.

    Example:
        >>> d = np.array([[1], [2], [3], [4]])
        >>> with_audit(d, np.array([False]), d[:, 0], d[:, 0], 8, seed=0)
        (array([3]), array([2, 1]), 1)
    """
    top = maximal(points, neutral)
    most = min(AUDIT, evaluations // 4, len(points) - len(top))
    if len(top) <= evaluations:
        most = min(most, evaluations - len(top))
    ranked = top[order(size[top], speed[top], points[top], seed=seed)][-(evaluations - most) :]
    audit = _below(
        points, neutral, np.asarray(speed, dtype=np.float64), ranked, np.setdiff1d(np.arange(len(points)), top)
    )
    return ranked, audit[:most], len(top)


def _below(
    points: NDArray[np.int64],
    neutral: NDArray[np.bool_],
    speed: NDArray[np.float64],
    top: NDArray[np.intp],
    rest: NDArray,
) -> NDArray[np.intp]:
    """Return the rows of `rest` that are below one of `top`, in the order in which they are to be evaluated."""
    kept = np.zeros(len(points))  # the largest ratio of a row's i to that of a maximal row above it
    nearest = np.full(len(points), -1)
    comparable = Order(points[:, ~neutral], points[:, neutral], np.empty((len(points), 0)))
    for row in top.tolist():
        nearer = comparable.below(row) & (speed / speed[row] > kept)
        kept[nearer], nearest[nearer] = (speed / speed[row])[nearer], row
    below = rest[nearest[rest] >= 0]
    below = below[np.argsort(-kept[below], kind="stable")]
    steps = points[below] != points[nearest[below]]
    first = np.sort(np.unique(steps, axis=0, return_index=True)[1]) if len(below) else np.empty(0, dtype=np.intp)
    return np.concatenate([below[first], np.delete(below, first)])


def evidence_text(pairs: int, against: int, least_tau: float) -> str:
    """Return the evidence about M as a sentence; see `fsp.search.certificates.bounds.Evidence`.

    Example:
        >>> evidence_text(9, 0, 0.0)
        'M (no larger shape has a larger error) was tested on 9 comparable pairs: none is against it'
    """
    said = "M (no larger shape has a larger error) was tested on"
    compared = f"{pairs} comparable pair{'s' if pairs > 1 else ''}"
    if not pairs:
        return f"{said} 0 comparable pairs: nothing here could have contradicted it"
    if not against:
        return f"{said} {compared}: none is against it"
    return (
        f"{said} {compared}: {against} against it, by up to {at_most(least_tau)}, so a shape that is not "
        "maximal may be better; --interval 1 evaluates all"
    )
