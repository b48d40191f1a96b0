"""A search applied to a space: its candidates, p, i, limits and planned evaluations, before any error is known."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.families.architecture import Architecture
from fsp.objectives.latency import Calibration, stored
from fsp.objectives.table import objectives_at_maximum, objectives_of
from fsp.search.candidates import Candidates
from fsp.search.options import SearchOptions
from fsp.search.question import Question
from fsp.search.settings import Certified, Rows, Search
from fsp.spaces.space import SearchSpace


@dataclass(frozen=True)
class Plan:
    """What an extraction will evaluate, known before any training.

    Attributes:
        method: the name of the method.
        table: p and i of the candidates that may be evaluated; unless the errors decide, all are, in this order.
        limits: the limits as absolute numbers.
        interval: K, None if the method has none.
        feasible: number of candidates that meet the limits.
        maximum: p and i of T.
        candidates: the most candidates that are evaluated.
        seeds: evaluations of each.
        again: how many of them may be evaluated again, on as many fresh seeds.
        maximal: how many feasible candidates are maximal, None if the method does not determine it.
        audit: how many rows of the table, the last ones, are not maximal and are evaluated to test M.
    """

    method: str
    table: pd.DataFrame
    limits: dict[str, float]
    interval: int | None
    feasible: int
    maximum: dict[str, float]
    candidates: int
    seeds: int = 1
    again: int = 0
    maximal: int | None = None
    audit: int = 0


@dataclass(frozen=True)
class Asked:
    """A search applied to a space; p and i of all candidates are computed once, here.

    Attributes:
        space: the search space, with the constants of its family.
        search: the search.
        calibration: predicts the latency that is i; None if i is the operations.
        maximum: p and i of T.
        question: the search's question, with absolute limits.
        everything: p and i of all candidates, in the order of `space.candidates`.
        within: the rows of the candidates that meet the limits.
    """

    space: SearchSpace
    search: Search
    calibration: Calibration | None
    maximum: dict[str, float]
    question: Question
    everything: pd.DataFrame
    within: NDArray[np.intp]

    @classmethod
    def of(cls, space: SearchSpace, search: Search, speed: str | Calibration = "operations") -> "Asked":
        """Apply a search to a space.

        Args:
            space: the search space, with the constants of its family.
            search: the search.
            speed: the measure of i, see `fsp.extract`.

        Raises:
            InputError: no candidate meets the limits, the speed is unknown, an interval is out of range, or there are
                more anchors than planned candidates.
        """
        calibration = calibration_for(space, speed, "certified" if isinstance(search.method, Certified) else "")
        also = search.question.limits or ()
        maximum = objectives_at_maximum(space, calibration, also)
        question = search.question.resolved(maximum)
        everything = objectives_of(space, space.candidates, calibration, also)
        asked = cls(space, search, calibration, maximum, question, everything, question.feasible(everything))
        anchors = search.second_look.anchors if search.second_look else 0
        if anchors > asked.rows.most:
            raise InputError(
                f"{asked.rows.most} planned candidates cannot give {anchors} anchors; ask for fewer, or evaluate more "
                "(--interval 1 takes all)"
            )
        return asked

    @property
    def feasible(self) -> int:
        """How many candidates meet the limits."""
        return len(self.within)

    @cached_property
    def table(self) -> pd.DataFrame:
        """P and i of the rows that the method may use: those within the limits, or all for a certificate."""
        if isinstance(self.search.method, Certified):
            return self.everything
        return self.everything.iloc[self.within].reset_index(drop=True)

    @cached_property
    def candidates(self) -> Candidates:
        """The table's rows as the input of the method."""
        w = self.question.objective == "w"
        return Candidates(
            self.table[list(self.space.names)].to_numpy(),
            self.table["encoder_parameters"].to_numpy(),
            self.table[self.question.speed].to_numpy(),
            (self.maximum[self.question.size], self.maximum[self.question.speed]) if w else None,
            np.isin(self.space.names, self.space.neutral),
            weighed=self.table[self.question.size].to_numpy(),
            exponents=self.question.exponents,
            record=self._record,
        )

    def _record(self, settings: Any, gap: float) -> dict[str, Any]:
        return self.question.record(self.space, self.table, settings, gap)

    @cached_property
    def rows(self) -> Rows:
        """The rows of the table to evaluate, as far as they are known before any evaluation."""
        return self.search.method.plan(self.candidates, seed=self.search.seed)

    def shape(self, row: int) -> Architecture:
        """Return a row of the table as an architecture."""
        return self.space.architectures(self.candidates.parameters[[row]])[0]

    @property
    def plan(self) -> Plan:
        """The planned evaluations."""
        method, rows = self.search.method, self.rows
        table = self.table.iloc[np.asarray(rows.rows)]
        seeds, again, most = self.search.seeds, rows.again, rows.most
        if isinstance(method, Certified):
            table, seeds = self.table.iloc[self.within], method.under(seeded=True).seeds
            most, again = min(most, self.feasible), min(again, self.feasible)
        return Plan(
            method.name,
            table.reset_index(drop=True),
            self.question.limits,
            rows.interval,
            self.feasible,
            self.maximum,
            most,
            seeds,
            again,
            rows.maximal,
            rows.audit,
        )


def asked_for(space: SearchSpace, search: Search | None, options: Mapping[str, Any]) -> Search:
    """Return a search, or the one that the options of `SearchOptions` make.

    Raises:
        InputError: both are given, or the options do not go together.
    """
    if search is None:
        known = [one.name for one in fields(SearchOptions)]
        if unknown := sorted(set(options) - set(known)):
            raise TypeError(f"no option {unknown[0]!r} of a search; there are {', '.join(known)}")
        return SearchOptions(**options).search(space)
    if options:
        raise InputError(f"give a search or options, not both; the search already decides {', '.join(options)}")
    return search


def plan(
    space: SearchSpace, search: Search | None = None, *, speed: str | Calibration = "operations", **options: Any
) -> Plan:
    """Return the candidates that an extraction evaluates, or may evaluate if the errors decide; needs no teacher.

    Args:
        space: the search space, with the constants of its family.
        search: the search; None to make it from the options.
        speed: as in `fsp.extract`.
        options: see `fsp.search.options.SearchOptions`.

    Raises:
        InputError: no candidate meets the limits, options do not go together, or a number is out of range.

    Example:
        >>> from fsp.spaces.loading import load_space
        >>> len(plan(load_space("minilm"), interval=20).table)
        7
        >>> planned = plan(load_space("minilm"))
        >>> planned.method, planned.maximal, planned.audit, planned.candidates, planned.feasible
        ('maximal', 17, 3, 20, 139)
    """
    return Asked.of(space, asked_for(space, search, options), speed).plan


def calibration_for(space: SearchSpace, speed: str | Calibration, method: str = "interval") -> Calibration | None:
    """Return the calibration that a speed names, None for `operations`; see `fsp.extract`.

    Raises:
        InputError: the speed is unknown, this device has no calibration, the calibration is of a space with other
            parameters, or the method is `certified`.
    """
    if speed == "operations":
        return None
    if method == "certified":
        raise InputError("a certificate needs an exact i, and a calibration predicts it; use speed 'operations'")
    calibration = stored(space, speed) if isinstance(speed, str) else speed
    if calibration.names != space.names:
        raise InputError(f"the calibration is of {calibration.settings['space']}, not of space {space.name}")
    return calibration
