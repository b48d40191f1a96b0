"""Skipping bad batches: those whose loss or gradient is not finite, or whose loss is far above recent ones."""

import math
import statistics
from collections import deque
from typing import Any

from fsp.base.errors import RunFailed

_SPIKE = 2.0  # times the median of the recent losses
_RECENT, _LEAST = 100, 20  # the most and the fewest losses in the median


class Health:
    """Judges each step and counts what is skipped.

    Args:
        most: the largest number of skipped batches in a row that is tolerated.

    Example:
        >>> health = Health(most=1)
        >>> health.judge(2.5, 1.0), health.judge(float("nan"), 1.0)
        (None, 'the loss is nan')
        >>> health.skipped
        1
    """

    def __init__(self, most: int):
        self._most = most
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._in_a_row = 0
        self.skipped = 0

    def judge(self, loss: float, gradient_norm: float) -> str | None:
        """Return why a step must be skipped; None to keep it.

        Raises:
            RunFailed: more than `most` steps in a row must be skipped.
        """
        reason = None
        if not math.isfinite(loss):
            reason = f"the loss is {loss}"
        elif not math.isfinite(gradient_norm):
            reason = f"the gradient is {gradient_norm}"
        elif len(self._recent) >= _LEAST and loss > _SPIKE * (usual := statistics.median(self._recent)):
            reason = f"the loss is {loss:.3g} after {usual:.3g}"
        if reason is None:
            self._recent.append(loss)
            self._in_a_row = 0
            return None
        self.skipped += 1
        self._in_a_row += 1
        if self._in_a_row > self._most:
            raise RunFailed(f"{self._in_a_row} batches in a row had to be skipped; in the last one, {reason}")
        return reason

    def state(self) -> dict[str, Any]:
        """Return the state to store in a checkpoint."""
        return {"recent": list(self._recent), "in_a_row": self._in_a_row, "skipped": self.skipped}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self._recent.extend(state["recent"])
        self._in_a_row, self.skipped = state["in_a_row"], state["skipped"]
