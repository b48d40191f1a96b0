"""Optimal subarchitecture extraction: evaluate part of a search space and choose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fsp.base.errors import AllFailed, InputError
from fsp.base.progress import Progress
from fsp.families.architecture import Architecture
from fsp.families.family import load_family
from fsp.objectives.fitted import FittedError
from fsp.objectives.hull import in_hull
from fsp.objectives.latency import Calibration
from fsp.objectives.table import objectives_of
from fsp.search.certificates.bounds import Evidence, Noise, Order, evidence
from fsp.search.driving import Trial, drive
from fsp.search.evaluations import evaluation_table
from fsp.search.finalists import undecided
from fsp.search.pareto import pareto_front
from fsp.search.planning import Asked, asked_for
from fsp.search.question import Objective
from fsp.search.second_look import LongRuns
from fsp.search.settings import Certified, Halving, Search, SecondLook
from fsp.spaces.space import SearchSpace
from fsp.studies.error_function import AnyError, Error, as_error
from fsp.studies.evaluator import Evaluator
from fsp.studies.store import Store, open_store
from fsp.studies.study import Evaluation


@dataclass(frozen=True)
class Extraction:
    """The outcome of an extraction.

    With anchors, the table also has `predicted_error`, the longer error of all its rows (the measured one if known),
    with the ends `predicted_low` and `predicted_high` of its 90% interval, see `fsp.objectives.anchored`.

    With fidelities, the table has a column `steps`, the number of training steps behind each error; only errors after
    the most steps are compared with one another.

    Attributes:
        space: the search space.
        selected: the chosen architecture.
        table: one row per evaluated candidate: its parameters, p, i, error (NaN if it failed), `w_total`, `w_encoder`,
            seconds, and why it failed; if the head size of any differs from T's, also whether that of each does.
        method: name of the search method.
        objective: `limits` or `w`.
        limits: the limits as absolute numbers.
        interval: K, None if the method has none.
        feasible: number of candidates that meet the limits.
        maximum: p and i of the maximum point T.
        certificate: the proof about the choice (see docs/certificate.md), None if the method proves nothing.
        finalists: the candidates evaluated again by the longer error, the search's best first; the table then has a
            column `finalist_error` (NaN if that failed, and for all others except anchors).
        maximal: how many feasible candidates are maximal (see `fsp.search.maximal`), None if the method does not
            determine it.
        audit: how many evaluated candidates are not maximal and were evaluated to test M.
    """

    space: SearchSpace
    selected: Architecture
    table: pd.DataFrame
    method: str
    objective: Objective
    limits: dict[str, float]
    interval: int | None
    feasible: int
    maximum: dict[str, float]
    certificate: dict[str, Any] | None = None
    finalists: tuple[Architecture, ...] = ()
    maximal: int | None = None
    audit: int = 0

    @property
    def compared(self) -> pd.DataFrame:
        """The rows whose errors can be compared: all or, with fidelities, those after the most steps."""
        return self.table[self.table["steps"] == self.table["steps"].max()] if "steps" in self.table else self.table

    def evidence(self) -> Evidence:
        """Return the evidence about M(0): the number of comparable pairs of evaluated candidates, and those against it.

        A pair is against M(0) if the larger shape has the larger error, however small the difference: no noise is
        assumed.
        """
        known = self.compared.dropna(subset="error").reset_index(drop=True)
        shapes = {name: known[name].to_numpy() for name in self.space.names}
        order = Order.of(shapes, equal=self.space.neutral, neutral={}, tau=0.0)
        log_mean = np.log(known["error"].to_numpy(dtype=np.float64))
        return evidence(order, range(len(known)), log_mean, np.ones(len(known)), Noise(0.0), alpha=0.05)

    def edges(self) -> dict[str, str]:
        """Return the parameters in which the choice has the `least` or the `largest` value of the space.

        Parameters with a single choice are left out.
        """
        ends = {name: (min(choices), max(choices)) for name, choices in self.space.parameters.items()}
        return {
            name: "least" if self.selected[name] == low else "largest"
            for name, (low, high) in ends.items()
            if low < high and self.selected[name] in (low, high)
        }

    def row(self, architecture: Mapping[str, int]) -> pd.Series:
        """Return the table's row of an evaluated architecture. Raises KeyError if it was not evaluated."""
        match = np.logical_and.reduce([self.table[name] == architecture[name] for name in self.space.names])
        if not match.any():
            raise KeyError(f"{architecture} was not evaluated")
        return self.table[match].iloc[0]

    def best_by(self, column: str) -> Architecture:
        """Return the evaluated candidate with the largest value in a column, e.g. `w_encoder`."""
        return _architecture(self.space, self.compared.iloc[self.compared[column].argmax()])

    def pareto(self, objectives: tuple[str, ...] = ("encoder_parameters", "operations", "error")) -> pd.DataFrame:
        """Return the rows of the table that no other row beats in all objectives."""
        return pareto_front(self.compared, objectives)

    def filled(self) -> pd.DataFrame:
        """Return p, i and error of all candidates: measured errors, and those that a fitted law predicts between them.

        A candidate is between the evaluated ones if the logarithms of its sizes lie in the convex hull of theirs. For
        all others `error`, `low` and `high` are NaN: a power law does not reach the error of T, which is 0, and its
        intervals hold only for shapes like those it was fitted to. With fidelities, the training steps count as a size,
        and all errors are those after the most steps.

        Columns `low` and `high` are the ends of 90% intervals (the error itself if measured); `fitted` is true for rows
        that were not measured. If only the largest shapes within limits were evaluated, few candidates lie between
        them; `method="interval"` spreads evaluations over all sizes.

        Raises:
            InputError: too few candidates were evaluated successfully, see `FittedError.fit`.
        """
        names = list(self.space.names)
        steps = "steps" if "steps" in self.table else None
        law = FittedError.fit(self.table, parameters=names, steps=steps)
        table = objectives_of(self.space, self.space.candidates)
        predicted = law.predict(table, steps=law.at)[["error", "low", "high"]]
        evaluated = self.table.dropna(subset="error")
        between = in_hull(law.logs(table, law.at), law.logs(evaluated, None if steps is None else evaluated[steps]))
        predicted[~between] = np.nan
        table = table.join(predicted)
        measured = evaluated if steps is None else evaluated[evaluated[steps] == law.at]
        known = measured.set_index(names)["error"]
        rows = table.set_index(names).index
        for column in predicted:
            table[column] = known.reindex(rows).fillna(pd.Series(table[column].to_numpy(), index=rows)).to_numpy()
        return table.assign(fitted=~rows.isin(known.index))


def extract(
    space: SearchSpace,
    error: AnyError,
    search: Search | None = None,
    *,
    speed: str | Calibration = "operations",
    study: str | Path | Store | None = None,
    display: Progress | None = None,
    **options: Any,
) -> Extraction:
    """Search a space for its best architecture, and return it with all that was evaluated.

    Args:
        space: the search space.
        error: e(f), smaller is better and positive: a function of an architecture, and of `seed` if it has a
            parameter of that name; or an `fsp.studies.ErrorFunction`, which declares what else its values depend on.
        search: the question, the method and the second look; None to make the search from the options.
        speed: the measure of i(f): `operations` of one sequence of 128 tokens; `calibrated` for the milliseconds
            predicted by the calibration that `fsp latency calibrate` stored on this device; the file of a calibration;
            or a `Calibration`.
        study: a journal file or a database URL (`sqlite:///FILE`, `postgresql://USER@HOST/DATABASE`) in which
            evaluations are kept and from which finished ones are taken. Processes that share it share the work; see
            docs/workers.md.
        display: shows progress.
        options: instead of a search: `objective`, `method`, `limits`, `interval`, `evaluations`, `finalists`, `seed`
            and so on, see `fsp.search.options.SearchOptions`.

    Raises:
        InputError: no candidate meets the limits, options do not go together, a number is out of range, several seeds
            are given for an error that takes none, a second look for an error without `longer`, or fidelities for an
            error without `with_steps`.
        RunFailed: every candidate failed.

    Example:
        >>> from fsp.spaces.loading import load_space
        >>> toy = lambda a: 1 / (a["D"] * a["H"])
        >>> result = extract(load_space("minilm"), error=toy, interval=1)
        >>> result.selected
        Architecture(D=6, A=8, H=256, I=128)
        >>> result = extract(load_space("minilm"), error=toy, method="certified")
        >>> result.selected, len(result.table), result.certificate["result"]["gap"]
        (Architecture(D=6, A=8, H=256, I=256), 17, 0.0)
    """
    return answer(Asked.of(space, asked_for(space, search, options), speed), error, study=study, display=display)


def answer(
    asked: Asked, error: AnyError, *, study: str | Path | Store | None = None, display: Progress | None = None
) -> Extraction:
    """Evaluate the candidates that a search asks for, and choose one; see `extract`."""
    display, given = display or Progress(), as_error(error)
    space, search, question, seed = asked.space, asked.search, asked.question, asked.search.seed
    method, look = search.method, search.second_look
    if search.seeds > 1 and not given.seeded:
        raise InputError(f"{search.seeds} evaluations of an error that takes no seed are one; give it a parameter seed")
    long_error = given.longer(look.longer) if look else None
    count = search.seeds
    if isinstance(method, Certified):
        settings = method.under(given.seeded)
        method, count = replace(method, settings=settings), settings.seeds
    seeds = range(seed, seed + count)
    errors = [given.with_steps(steps) for steps in method.fidelities] if isinstance(method, Halving) else [given]
    store = study if isinstance(study, Store) else open_store(study) if study else None
    evaluators = [Evaluator(one, space, store) for one in errors]

    cost = asked.table["operations"].to_numpy(dtype=float)  # larger candidates take longer
    planned = cost[np.asarray(asked.rows.rows)]
    made: dict[int, list[Evaluation]] = {}
    rungs: dict[int, int] = {}
    label = f"evaluating {'some' if asked.rows.most < len(planned) else len(planned)} of {asked.feasible} candidates"
    with display.bar(label, float(planned.mean() * asked.rows.most)) as advance:

        def expect(trials: Sequence[Trial]) -> None:
            for rung in {trial.rung for trial in trials}:
                evaluators[rung].expect((asked.shape(t.row), t.seed) for t in trials if t.rung == rung)

        def evaluate(trial: Trial) -> float | None:
            if not isinstance(trial.row, Integral) or not 0 <= trial.row < len(cost):
                raise InputError(f"method {method.name} asks for row {trial.row!r}; there are {len(cost)}, from 0")
            if rungs.setdefault(trial.row, trial.rung) != trial.rung:  # errors after less training are discarded
                rungs[trial.row], made[trial.row] = trial.rung, []
            evaluation = evaluators[trial.rung](asked.shape(trial.row), trial.seed)
            made.setdefault(trial.row, []).append(evaluation)
            advance(cost[trial.row] / len(seeds) / len(errors))
            return evaluation.error

        try:
            ended = drive(method.trials(asked.candidates, asked.rows, seeds, expect), evaluate)
            certificate = ended if isinstance(method, Certified) else None
        except AllFailed as problem:
            first = next(e.failure for found in made.values() for e in found if e.failure)
            raise AllFailed(f"{problem}; the first: {first}") from None

    if not made:
        raise InputError(f"method {method.name} asks for no evaluation")
    table = evaluation_table(asked.table, made, asked.maximum, seed, question.speed)
    anatomy = load_family(space.family).anatomy
    changed = [anatomy.resizes_heads(space.maximum, asked.shape(row)) for row in table.index] if anatomy else []
    if any(changed):
        table["head_size_changed"] = changed
    score = question.score(table)
    if isinstance(method, Halving):
        reached = np.array([rungs[row] for row in table.index])
        table["steps"] = np.array(method.fidelities)[reached]
        score[reached < reached.max()] = np.nan
        if np.isnan(score).all():
            failure = table["failure"][reached == reached.max()].dropna().iloc[0]
            raise AllFailed(f"all {(reached == reached.max()).sum()} candidates failed; the first: {failure}")
    finals: tuple[Architecture, ...] = ()
    if look is not None and long_error is not None:
        table, score, finals = _looked_again(asked, look, long_error, table, score, evaluators[0], display)
    best = certificate["selected"] if certificate is not None else table.index[int(np.nanargmax(score))]
    return Extraction(
        space=space,
        selected=asked.shape(best),
        table=table.reset_index(drop=True),
        method=method.name,
        objective=question.objective,
        limits=question.limits,
        interval=asked.rows.interval,
        feasible=asked.feasible,
        maximum=asked.maximum,
        certificate=certificate,
        finalists=finals,
        maximal=asked.rows.maximal,
        audit=asked.rows.audit,
    )


def _looked_again(
    asked: Asked,
    look: SecondLook,
    long_error: Error,
    table: pd.DataFrame,
    score: NDArray[np.float64],
    evaluator: Evaluator,
    display: Progress,
) -> tuple[pd.DataFrame, NDArray[np.float64], tuple[Architecture, ...]]:
    """Train anchors and finalists longer; return the table with their longer errors, new scores and the finalists."""
    question, shapes = asked.question, [asked.shape(row) for row in table.index]
    runs = LongRuns(table, evaluator, long_error, look.longer, seed=asked.search.seed, display=display)
    errors: list[list[float]] = []  # behind the score; their noise decides which candidates are near-equals
    finals: tuple[Architecture, ...] = ()
    if look.anchors:
        predicted = runs.predict(look.anchors)
        score = question.score(table.assign(error=predicted["error"]))
        table = table.assign(**predicted.add_prefix("predicted_"))
    else:
        errors = [evaluator.errors_of(shape) for shape in shapes]
    rows = undecided(score, errors, look.finalists, runs=asked.search.seeds)
    if look.anchors or len(rows) > 1:
        runs.measure(rows, "finalists")
        finals = tuple(shapes[row] for row in rows)
    table["finalist_error"] = runs.errors
    if runs.errors.notna().any():
        score = question.score(table.assign(error=runs.errors))
    return table, score, finals


def _architecture(space: SearchSpace, row: pd.Series) -> Architecture:
    return Architecture({name: int(row[name]) for name in space.names})
