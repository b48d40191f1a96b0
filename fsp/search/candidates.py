"""The input of a search method: all that is known about a finite set of architectures before any evaluation."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsp.search.certificates.settings import CertifiedSettings
from fsp.search.coefficient import w_coefficient

# A method yields the row to evaluate next and is sent that row's error (NaN if the evaluation failed). When it has
# nothing more to evaluate, it returns a certificate or None.
Proposals = Generator[int, float, dict[str, Any] | None]


@dataclass(frozen=True)
class Candidates:
    """Rows to choose from, with all that is known about them without evaluation.

    Attributes:
        parameters: architectural parameters, `n x d`, real-valued.
        size: p of each row, by which rows are ordered, `(n,)`.
        speed: i of each row, `(n,)`.
        maximum: p_T and i_T for the W-coefficient; None to search for the least error.
        neutral: which parameters are not sizes, `(d,)`: larger is not expected to be better.
        names: names of the `d` parameters, used by certificates only; x0, x1, ... if empty.
        weighed: p of each row in W, if it differs from `size`.
        exponents: exponents of the factors of p and i in W.
        record: returns the record of a certificate before any evaluation (docs/certificate.md) from settings and a gap;
            None to make the record from the other fields.

    Example:
        >>> rows = Candidates(np.array([[1.0], [2.0]]), np.array([5, 9]), np.array([5, 9]), None, np.array([False]))
        >>> len(rows), rows.score(0, 0.25)
        (2, -0.25)
    """

    parameters: NDArray[Any]
    size: NDArray[Any]
    speed: NDArray[Any]
    maximum: tuple[float, float] | None
    neutral: NDArray[np.bool_]
    names: tuple[str, ...] = ()
    weighed: NDArray[Any] | None = None
    exponents: tuple[float, float] = (1.0, 1.0)
    record: Callable[[CertifiedSettings, float], dict[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self.parameters)

    @cached_property
    def gain(self) -> NDArray[np.float64] | None:
        """W without its error, (1 - p/p_T)(1 - i/i_T) of each row, `(n,)`; None to search for the least error."""
        if self.maximum is None:
            return None
        weighed = self.size if self.weighed is None else self.weighed
        return w_coefficient(weighed, self.speed, np.ones(len(self)), maximum=self.maximum, exponents=self.exponents)

    def score(self, row: int, error: float) -> float:
        """Return the score of a row with this error, to be maximised: W or the negative error."""
        return -error if self.gain is None else float(self.gain[row]) / error


Method = Callable[[Candidates, int, int], Proposals]  # of the candidates, the number of evaluations, and a seed
