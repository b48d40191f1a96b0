"""Re-ranking the finalists: what the search cannot tell apart is evaluated again, with longer training."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fsp.errors import InputError
from fsp.evaluating import ErrorFunction, Evaluator
from fsp.progress import Silent
from fsp.search.finalists import undecided
from fsp.space import Architecture

LONGER = 4  # times the search's steps


def longer_of(error: ErrorFunction) -> ErrorFunction:
    """Return the error with `LONGER` times the training. Raises InputError where it offers none."""
    longer = getattr(error, "longer", None)
    if not callable(longer):
        raise InputError("finalists need an error with a method longer(factor); add one, or leave finalists at 1")
    return longer(LONGER)


def rerank(
    table: pd.DataFrame,
    score: NDArray[np.float64],
    evaluator: Evaluator,
    longer: ErrorFunction,
    most: int,
    *,
    seed: int,
    display: Silent,
) -> tuple[pd.Series, tuple[Architecture, ...]]:
    """Evaluate the candidates that cannot be told from the best again, with longer training.

    Args:
        table: the evaluated candidates, see `fsp.evaluating.evaluation_table`.
        score: of each, larger is better, NaN where it failed, `(n,)`.
        evaluator: that of the search; the longer evaluations go into its study, under settings of their own.
        longer: see `longer_of`.
        most: how many candidates at most.
        seed: of the longer evaluations.
        display: where progress goes.

    Returns:
        The longer error of each row of the table (NaN where not evaluated, or failed), and the finalists, best score
        first; none where nothing comes near the best.
    """
    space = evaluator.space
    shapes = space.architectures(table[list(space.names)].to_numpy())
    rows = undecided(score, [evaluator.errors_of(shape) for shape in shapes], most)
    errors = pd.Series(np.nan, index=table.index)
    if len(rows) < 2:
        return errors, ()
    evaluate = Evaluator(longer, space, evaluator.study, {"longer": LONGER})
    cost = table["operations"].to_numpy(dtype=float)
    evaluate.expect((shapes[row], seed) for row in rows)
    with display.bar(f"training {len(rows)} finalists longer", float(cost[rows].sum())) as advance:
        for row in rows:
            error = evaluate(shapes[row], seed).error
            errors.iloc[row] = np.nan if error is None else error
            advance(cost[row])
    return errors, tuple(shapes[row] for row in rows)
