"""Longer training of selected candidates: the anchors of a law, and the finalists of a search."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fsp.base.errors import RunFailed
from fsp.base.progress import Progress
from fsp.objectives.anchored import LEAST_ANCHORS, anchor_rows, anchored, sizes_of
from fsp.studies.error_function import Error
from fsp.studies.evaluator import Evaluator


class LongRuns:
    """The errors after longer training of some candidates of a table, each measured at most once.

    Args:
        table: the evaluated candidates, see `fsp.search.evaluations.evaluation_table`.
        evaluator: the search's evaluator; the longer evaluations go into its study, under their own settings.
        longer: the error after longer training.
        factor: how many times longer.
        seed: seed of the longer evaluations.
        display: shows progress.

    Attributes:
        errors: the longer error of each row of the table, NaN if it was not measured or failed.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        evaluator: Evaluator,
        longer: Error,
        factor: int,
        *,
        seed: int,
        display: Progress,
    ):
        self._evaluate = Evaluator(longer, evaluator.space, evaluator.study, {"longer": factor})
        self._shapes = evaluator.space.architectures(table[list(evaluator.space.names)].to_numpy())
        self._cost = table["operations"].to_numpy(dtype=float)
        self._table, self._seed, self._display = table, seed, display
        self._measured: set[int] = set()
        self.errors = pd.Series(np.nan, index=table.index)

    def measure(self, rows: Sequence[int], called: str) -> None:
        """Train the candidates in these rows longer, once each; the progress display names them `called`."""
        new = [row for row in rows if row not in self._measured]
        with self._display.bar(f"training {len(new)} {called} longer", float(self._cost[new].sum())) as advance:
            self._evaluate.expect((self._shapes[row], self._seed) for row in new)
            for row in new:
                error = self._evaluate(self._shapes[row], self._seed).error
                self.errors.iloc[row] = np.nan if error is None else error
                self._measured.add(row)
                advance(self._cost[row])

    def predict(self, anchors: int) -> pd.DataFrame:
        """Train anchors longer, and return the longer errors of all rows, predicted by a law fitted to the anchors.

        Returns:
            The table of `fsp.objectives.anchored.anchored`, with the index of this table.

        Raises:
            RunFailed: too few anchors could be trained.
        """
        short, sizes, top = self._table["error"], *sizes_of(self._evaluate.space, self._table)
        self.measure(anchor_rows(short, sizes, top, self._cost, anchors), "anchors")
        trained = self.errors.count()
        if trained < LEAST_ANCHORS:
            raise RunFailed(f"{trained} of {anchors} anchors could be trained longer, too few to fit a law to")
        return anchored(short, self.errors, sizes, top).set_index(self._table.index)
