"""Replays of search methods over measured tables: what would each have found, and how soon?"""

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.base.progress import Progress
from fsp.search.candidates import Candidates
from fsp.search.driving import Trial, drive, one_by_one
from fsp.search.methods import METHODS, UNLIMITED
from fsp.trust.replay.settings import ReplaySettings
from fsp.trust.replay.table import Table


@dataclass(frozen=True)
class SearchReplay:
    """The findings of one method on a table, over several seeds.

    Attributes:
        table: the table.
        method: the name of the method.
        objective: `w` or `error`.
        feasible: number of architectures that meet the limits.
        regret: regret of each seed after each evaluation, `K x m`; if a method stopped early, its last regret is kept.
        evaluated: the table's rows that each seed evaluated, in sequence.
        best: the best row that any seed found.
        optimum: the best of all rows.
        seconds: time of all seeds together, without any training.
        certificate: certificate of the first seed, None if the method gives none.
    """

    table: Table
    method: str
    objective: str
    feasible: int
    regret: NDArray[np.float64]
    evaluated: list[list[int]]
    best: int
    optimum: int
    seconds: float
    certificate: dict[str, Any] | None

    def describe(self) -> dict[str, Any]:
        """Return the replay as a JSON-like value.

        `regret_mean` and `regret_max` are over seeds, after the last evaluation; `curve` is the mean regret after
        1, 2, ... evaluations. `evaluations` is the most of any seed, `unique_evaluations` the fewest of any seed.
        """
        final = self.regret[:, -1]
        return {
            "method": self.method,
            "objective": self.objective,
            "evaluations": max(len(rows) for rows in self.evaluated),
            "seeds": len(self.evaluated),
            "regret_mean": float(final.mean()),
            "regret_max": float(final.max()),
            "best": self._row(self.best),
            "optimum": self._row(self.optimum),
            "unique_evaluations": min(len(set(rows)) for rows in self.evaluated),
            "seconds": self.seconds,
            "curve": self.regret.mean(axis=0).tolist(),
            "architectures": len(self.table),
            "feasible": self.feasible,
            "rows_read": self.table.rows_read,
            "rows_missing": self.table.rows_missing,
            "rows_merged": self.table.rows_merged,
            **({} if self.certificate is None else {"certificate": self.certificate}),
        }

    def _row(self, row: int) -> dict[str, Any]:
        return {
            "parameters": dict(zip(self.table.names, self.table.parameters[row].tolist(), strict=True)),
            "size": float(self.table.size[row]),
            "speed": float(self.table.speed[row]),
            "error": float(self.table.error[row]),
            "line": int(self.table.lines[row]),
        }


def replay_search(table: Table, settings: ReplaySettings, *, display: Progress | None = None) -> SearchReplay:
    """Return what a search method would have found on a measured table with a number of evaluations.

    The methods get parameters, p and i of every row within the limits, and the error of a row once they propose it.
    For `w`, p(T) and i(T) are the largest p and i of the whole table.

    Args:
        table: the measurements.
        settings: the method is a name in `fsp.search.methods.METHODS`; if fewer rows than evaluations meet the limits,
            all of them are evaluated; seeds are 0, 1, ... The regret is (W* - W)/W* for `w` and (e - e*)/e* for
            `error`; the asterisk marks the best within the limits.
        display: shows progress.

    Raises:
        InputError: the method is unknown, evaluations are out of range, no row meets the limits, or W is 0 in each.

    Example:
        >>> d = np.arange(1.0, 31.0)
        >>> table = Table(("d",), d[:, None], np.array([False]), d, d, 1 / d, np.arange(30), 30, 0, 0)
        >>> settings = ReplaySettings("params", evaluations=5, objective="error", max_size=20)
        >>> replay_search(table, settings).regret.tolist()
        [[0.0, 0.0, 0.0, 0.0, 0.0]]
    """
    method, evaluations, objective, seeds = settings.method, settings.evaluations, settings.objective, settings.seeds
    if method not in METHODS:
        raise InputError(f"no method {method!r}; there are {', '.join(METHODS)}")
    if not 1 <= evaluations <= table.rows_read:
        raise InputError(f"evaluations {evaluations} is out of range; choose 1 to {table.rows_read}, the table's rows")
    rows = _within(table, settings.max_size, settings.max_speed)
    maximum = (float(table.size.max()), float(table.speed.max())) if objective == "w" else None
    candidates = Candidates(
        table.parameters[rows], table.size[rows], table.speed[rows], maximum, table.neutral, table.names
    )
    gain = candidates.gain
    if gain is not None and not gain.any():
        raise InputError("W is 0 in every row within the limits, as p or i is the table's largest: nothing to search")
    errors = table.error[rows]
    scores = -errors if gain is None else gain / errors
    budget = len(rows) if method in UNLIMITED else min(evaluations, len(rows))
    regret = np.empty((seeds, budget))
    evaluated = []
    certificate = None
    start = time.perf_counter()
    with (display or Progress()).bar(f"{method}, {seeds} seeds", seeds) as advance:
        for seed in range(seeds):
            found, end = _search(candidates, errors, method, budget, seed)
            best = np.maximum.accumulate(scores[found])
            best = np.append(best, np.full(budget - len(best), best[-1]))
            regret[seed] = (scores.max() - best) / abs(scores.max())
            evaluated.append(rows[found].tolist())
            certificate = end if seed == 0 else certificate
            advance(1)
    seconds = time.perf_counter() - start
    tried = np.isin(rows, np.concatenate(evaluated))
    return SearchReplay(
        table,
        method,
        objective,
        len(rows),
        regret,
        evaluated,
        int(rows[np.where(tried, scores, -math.inf).argmax()]),
        int(rows[scores.argmax()]),
        seconds,
        certificate,
    )


def _search(
    candidates: Candidates, errors: NDArray[np.float64], method: str, budget: int, seed: int
) -> tuple[list[int], dict[str, Any] | None]:
    """Return the rows that one search evaluates, in sequence, and its certificate if it ends with one."""
    found: list[int] = []

    def look_up(trial: Trial) -> float:
        found.append(trial.row)
        return float(errors[trial.row])

    proposals = METHODS[method](candidates, budget, seed)
    return found, drive(one_by_one(proposals, [seed], budget), look_up)


def _within(table: Table, max_size: float | None, max_speed: float | None) -> NDArray[np.int64]:
    met = np.ones(len(table), dtype=bool)
    for values, limit, name in ((table.size, max_size, "size"), (table.speed, max_speed, "speed")):
        if limit is None:
            continue
        if not (limit > 0 and math.isfinite(limit)):
            raise InputError(f"the largest {name} allowed, {limit}, is no positive number")
        if not (met & (values <= limit)).any():
            raise InputError(f"no row meets the limits; the least {name} among those left is {values[met].min():g}")
        met &= values <= limit
    return np.flatnonzero(met)
