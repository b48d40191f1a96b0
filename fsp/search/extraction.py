"""Optimal subarchitecture extraction: evaluate part of a search space and choose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fsp.base.defaults import LONGER
from fsp.base.errors import InputError, RunFailed
from fsp.base.progress import Silent
from fsp.families.architecture import Architecture
from fsp.families.transformer import head_size_changed
from fsp.objectives.fitted import FittedError
from fsp.objectives.hull import in_hull
from fsp.objectives.latency import Calibration, stored
from fsp.objectives.table import objectives_at_maximum, objectives_of
from fsp.search.certificates.bounds import Evidence, Noise, Order, evidence
from fsp.search.certificates.certificate import seal
from fsp.search.certificates.certified import search
from fsp.search.certificates.settings import CertifiedSettings
from fsp.search.evaluations import evaluation_table
from fsp.search.finalists import undecided
from fsp.search.halving import successive_halving
from fsp.search.pareto import pareto_front
from fsp.search.planning import check_method, method_for, plan
from fsp.search.question import Objective, Question, Size
from fsp.search.second_look import LongRuns
from fsp.spaces.space import SearchSpace
from fsp.studies.error_function import AnyError, as_error
from fsp.studies.evaluator import Evaluator
from fsp.studies.store import Store, open_store
from fsp.studies.study import Evaluation


@dataclass(frozen=True)
class Extraction:
    """The outcome of an extraction.

    selected: the chosen architecture.
    table: one row an evaluated candidate: its parameters, p, i, error (NaN where it failed), `w_total` and
        `w_encoder`, seconds, and why it failed; where there are such, whether its heads have another size than T's.
    method, objective, limits, interval: how it was chosen; no interval where the method has none.
    feasible: how many candidates meet the limits.
    maximal: how many of these are maximal (see `fsp.search.maximal`), None where the method does not look at that.
    audit: how many of the evaluated are not, and were evaluated to test M.
    maximum: p and i of the maximum point T.
    certificate: what is proven of the choice (see docs/certificate.md), None where the method proves nothing.
    finalists: the candidates evaluated again by the longer error, the search's best first; the table then has a
        column `finalist_error` (NaN for all others but anchors, and where that failed).

    With anchors the table also has `predicted_error` with the ends `predicted_low` and `predicted_high` of its 90%
    interval: the longer error of all its rows, measured where it was, see `fsp.objectives.anchored`.

    With fidelities the table has a column `steps`, after how many each error was measured; only errors after the most
    steps are compared with one another.
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
        """The rows whose errors can be compared: all, or with fidelities those after the most steps."""
        return self.table[self.table["steps"] == self.table["steps"].max()] if "steps" in self.table else self.table

    def evidence(self) -> Evidence:
        """Return what the evaluated candidates say about M(0): how many comparable pairs there are, which refute it.

        Every pair counts in which the larger shape has the larger error, by however little: noise is not allowed for.
        """
        known = self.compared.dropna(subset="error").reset_index(drop=True)
        shapes = {name: known[name].to_numpy() for name in self.space.names}
        order = Order.of(shapes, equal=self.space.neutral, neutral={}, tau=0.0)
        log_mean = np.log(known["error"].to_numpy(dtype=np.float64))
        return evidence(order, range(len(known)), log_mean, np.ones(len(known)), Noise(0.0), alpha=0.05)

    def edges(self) -> dict[str, str]:
        """Return in which parameters the choice has the `least` or the `largest` value of the space.

        Parameters with one choice only are left out.
        """
        ends = {name: (min(choices), max(choices)) for name, choices in self.space.parameters.items()}
        return {
            name: "least" if self.selected[name] == low else "largest"
            for name, (low, high) in ends.items()
            if low < high and self.selected[name] in (low, high)
        }

    def row(self, architecture: Mapping[str, int]) -> pd.Series:
        """Return the table's row of an evaluated architecture. Raises KeyError where there is none."""
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
        """Return p, i and error of all candidates: measured where they were evaluated, between them by a fitted law.

        A candidate is between the evaluated ones where the logarithms of its sizes lie in the convex hull of theirs.
        Everywhere else `error`, `low` and `high` are NaN: a power law does not reach the error of T, which is 0, and
        its intervals hold for shapes like those it was fitted to. With fidelities the training steps count as a size.

        Columns `low` and `high` are the ends of 90% intervals (the error itself where measured), `fitted` tells which
        rows nobody measured. With fidelities all errors are those after the most steps. What was evaluated for the
        largest shapes within limits has hardly anything between it: `method="interval"` spreads evaluations over all
        sizes.

        Raises:
            InputError: too few candidates were evaluated successfully, see `FittedError.fit`.
        """
        names = list(self.space.names)
        steps = "steps" if "steps" in self.table else None
        law = FittedError.fit(self.table, parameters=names, steps=steps)
        table = objectives_of(self.space, self.space.candidates)
        told = law.predict(table, steps=law.at)[["error", "low", "high"]]
        evaluated = self.table.dropna(subset="error")
        between = in_hull(law.logs(table, law.at), law.logs(evaluated, None if steps is None else evaluated[steps]))
        told[~between] = np.nan
        table = table.join(told)
        measured = evaluated if steps is None else evaluated[evaluated[steps] == law.at]
        known = measured.set_index(names)["error"]
        rows = table.set_index(names).index
        for column in told:
            table[column] = known.reindex(rows).fillna(pd.Series(table[column].to_numpy(), index=rows)).to_numpy()
        return table.assign(fitted=~rows.isin(known.index))


def extract(
    space: SearchSpace,
    *,
    error: AnyError,
    speed: str | Calibration = "operations",
    objective: Objective = "limits",
    method: Literal["maximal", "interval", "certified"] | None = None,
    limits: Mapping[str, float | str] | None = None,
    size: Size = "parameters",
    exponents: tuple[float, float] = (1.0, 1.0),
    interval: int | None = None,
    evaluations: int | None = None,
    seeds: int = 1,
    gap: float = 0.05,
    certified: CertifiedSettings | None = None,
    finalists: int = 1,
    anchors: int = 0,
    longer: int = LONGER,
    fidelities: Sequence[int] | None = None,
    study: str | Path | Store | None = None,
    seed: int = 0,
    display: Silent | None = None,
) -> Extraction:
    """Return the best architecture of a search space that the method finds.

    Args:
        space: the search space.
        error: e(f), smaller is better and positive: a function of an architecture, and of `seed` if it has a
            parameter of that name and no attribute `seeded` that is false. An attribute `settings` (JSON-like) tells
            what else its values depend on; evaluations in `study` are reused only under equal settings. Without it the
            function's name stands for them, and a change of its code goes unnoticed: then use a new study.
        speed: what i(f) is: `operations` of one sequence of 128 tokens; `calibrated`, the milliseconds predicted by
            the calibration that `fsp latency calibrate` kept on this device; a calibration's file; or itself.
        objective: `limits` chooses the least error among the candidates within hard limits; `w` the largest
            W-coefficient among all candidates.
        method: `maximal` evaluates the maximal shapes within the limits, those that no other exceeds in every size:
            the least error is among them if no larger shape has a larger error (assumption M), which up to three
            smaller shapes test; `interval`, the paper's FPTAS: every K-th candidate in the order of (encoder p, i),
            counted from the largest; `certified` evaluates until no other candidate can be better by more than the
            gap, and gives a certificate. By default `interval` for `w` and where an interval is given, else what the
            space says, else `maximal`.
        limits: for `limits`, the largest value of each named objective, a number or a share of T's such as "25%":
            `parameters`, `embedding_parameters`, `encoder_parameters`, `operations`, `peak_memory` (bytes, see
            `fsp.objectives.memory`) and, with a calibration, `latency` (milliseconds); a quarter of T's encoder
            parameters and i by default.
        size: for `w`, what p(f) is.
        exponents: for `w`, those of the factors of p and i.
        interval: for `interval`, K; by default such that about 16 candidates are evaluated.
        evaluations: for `maximal`, at most so many candidates, those that test M included; where there are more maximal
            ones, the largest by (encoder p, i). 32 by default.
        seeds: so many evaluations of each candidate, under `seed`, `seed` + 1, ...; its error is their geometric mean.
        gap: for `certified`, the gap to prove, e.g. 0.05 for 5%.
        certified: for `certified`, what is assumed and may be spent; by default no noise where the error takes no
            seed, and three seeds of each candidate where it does.
        finalists: at most so many candidates that cannot be told from the best (see `fsp.search.finalists.undecided`)
            are evaluated again by `error.longer(longer)`, an error of so many times the training, and the best of
            them is chosen; 1 for none.
        anchors: so many of the evaluated candidates, spread over the shapes, are evaluated by the longer error; a law
            fitted to them tells the longer error of all others, by which finalists are then picked, and the choice is
            made among anchors and finalists. 0 for none, else 4 or more.
        longer: how many times the training anchors and finalists get; with an error of no steps so many steps.
        fidelities: for `maximal` and `interval`, rising numbers of steps, e.g. (0, 16, 64): all candidates are
            evaluated by `error.with_steps` of the first, the best third of them after the second, and so on; see
            `fsp.search.halving.successive_halving`. The choice is made among those that got the most steps.
        study: a journal file or a database URL (`sqlite:///FILE`, `postgresql://USER@HOST/DATABASE`) in which
            evaluations are kept and from which finished ones are taken. Processes that share it share the work; see
            docs/workers.md.
        seed: of the evaluations, and of the order among exact ties.
        display: where progress goes.

    Raises:
        InputError: limits that nothing meets, an interval, evaluations, seeds, gap, finalists, anchors, longer or
            fidelities out of range, an unknown objective or method, `maximal` for W, several seeds of an error that
            takes none, finalists or anchors of an error that has no `longer`, fidelities of one that has no
            `with_steps`, any of these with what `certified` proves, or more anchors than candidates.
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
    display = display or Silent()
    how = method_for(space, method, objective=objective, interval=interval)
    check_method(
        how,
        objective=objective,
        interval=interval,
        evaluations=evaluations,
        seeds=seeds,
        gap=gap,
        finalists=finalists,
        anchors=anchors,
        longer=longer,
        fidelities=fidelities,
    )
    if seeds > 1 and how == "certified":
        raise InputError("the seeds of a certified search are those of its CertifiedSettings; give them there")
    given = as_error(error)
    if seeds > 1 and not given.seeded:
        raise InputError(f"{seeds} evaluations of an error that takes no seed are one; give it a parameter seed")
    long_error = given.longer(longer) if finalists > 1 or anchors else None
    calibration = calibration_for(space, speed, how)
    maximum = objectives_at_maximum(space, calibration, limits or ())
    question = Question.of(objective, limits, size, exponents, maximum)
    maximal, audit = None, 0
    if how != "certified":
        planned = plan(
            space,
            objective=objective,
            method=how,
            limits=limits,
            interval=interval,
            evaluations=evaluations,
            anchors=anchors,
            seed=seed,
            calibration=calibration,
        )
        candidates, interval, feasible = planned.table, planned.interval, planned.feasible
        maximal, audit = planned.maximal, planned.audit
        work = candidates["operations"].sum()
        label = f"evaluating {len(candidates)} of {feasible} candidates"
    else:
        candidates = objectives_of(space, space.candidates, also=limits or ())
        within_limits = question.feasible(candidates)
        feasible, work = len(within_limits), candidates["operations"].iloc[within_limits].sum()
        label = f"evaluating some of {feasible} candidates"
    shapes = candidates[list(space.names)].to_numpy()
    cost = candidates["operations"].to_numpy(dtype=float)  # larger candidates take longer
    store = study if isinstance(study, Store) else open_store(study) if study else None
    evaluators = [Evaluator(e, space, store) for e in (map(given.with_steps, fidelities) if fidelities else [given])]
    made: dict[int, list[Evaluation]] = {}
    all_seeds = range(seed, seed + seeds)
    certificate, reached = None, None
    with display.bar(label, float(work)) as advance:

        def shape_of(row: int) -> Architecture:
            return space.architectures(shapes[[row]])[0]

        def expect(pairs: Sequence[tuple[int, int]], rung: int = 0) -> None:
            evaluators[rung].expect((shape_of(row), seed) for row, seed in pairs)

        def evaluate(row: int, seed: int, share: float, rung: int = 0) -> float | None:
            evaluation = evaluators[rung](shape_of(row), seed)
            made.setdefault(row, []).append(evaluation)
            advance(share * cost[row])
            return evaluation.error

        def measure(rows: Sequence[int], rung: int = 0) -> None:
            every = [(row, seed) for row in rows for seed in all_seeds]
            expect(every, rung)
            for row in rows:
                made[row] = []  # not those of the rung before
            for row, one in every:
                evaluate(row, one, 1 / len(evaluators) / seeds, rung)

        def scores_at(rung: int, rows: Sequence[int]) -> NDArray[np.float64]:
            measure(rows, rung)
            found = {row: made[row] for row in rows}
            return question.score(evaluation_table(candidates, found, maximum, seed, question.speed))

        if fidelities:
            reached = successive_halving(range(len(candidates)), len(evaluators), scores_at)
        elif how != "certified":
            measure(range(len(candidates)))
        else:
            settings = certified or (CertifiedSettings() if given.seeded else CertifiedSettings(sigma=0, seeds=1))
            record = question.record(space, candidates, settings, gap)
            of_all_seeds = partial(evaluate, share=1 / settings.seeds)
            try:
                certificate = seal(search(record, cost, of_all_seeds, settings, seed=seed, expect=expect))
            except RunFailed as problem:
                first = next(e.failure for found in made.values() for e in found if e.failure)
                raise RunFailed(f"{problem}; the first: {first}") from None

    table = evaluation_table(candidates, made, maximum, seed, question.speed)
    changed = [head_size_changed(space.maximum, shape) for shape in space.architectures(shapes[table.index])]
    if any(changed):
        table["head_size_changed"] = changed
    score = question.score(table)
    if fidelities and reached is not None:
        table["steps"] = np.array(fidelities)[reached]
        score[reached < reached.max()] = np.nan
    finals: tuple[Architecture, ...] = ()
    if long_error is not None:
        runs = LongRuns(table, evaluators[0], long_error, longer, seed=seed, display=display)
        errors: list[list[float]] = []  # that the score is made of: their noise tells near-equals
        if anchors:
            told = runs.tell(anchors)
            score = question.score(table.assign(error=told["error"]))
            table = table.assign(**told.add_prefix("predicted_"))
        else:
            errors = [evaluators[0].errors_of(shape) for shape in space.architectures(shapes[table.index])]
        rows = undecided(score, errors, finalists, runs=seeds)
        if anchors or len(rows) > 1:
            runs.measure(rows, "finalists")
            finals = tuple(space.architectures(shapes[table.index[rows]]))
        table["finalist_error"] = runs.errors
        if runs.errors.notna().any():
            score = question.score(table.assign(error=runs.errors))
    best = certificate["selected"] if certificate else table.index[int(np.nanargmax(score))]
    selected = _architecture(space, table.loc[best])
    table = table.reset_index(drop=True)
    return Extraction(
        space=space,
        selected=selected,
        table=table,
        method=how,
        objective=objective,
        limits=question.limits,
        interval=interval,
        feasible=feasible,
        maximum=maximum,
        certificate=certificate,
        finalists=finals,
        maximal=maximal,
        audit=audit,
    )


def calibration_for(space: SearchSpace, speed: str | Calibration, method: str = "interval") -> Calibration | None:
    """Return the calibration that a speed asks for, None for `operations`; see `extract`.

    Raises:
        InputError: an unknown speed, no calibration on this device, one of a space with other parameters, or any for
            a method that certifies.
    """
    if speed == "operations":
        return None
    if method == "certified":
        raise InputError("a certificate needs an exact i, and a calibration predicts it; use speed 'operations'")
    calibration = stored(space, speed) if isinstance(speed, str) else speed
    if calibration.names != space.names:
        raise InputError(f"the calibration is of {calibration.settings['space']}, not of space {space.name}")
    return calibration


def _architecture(space: SearchSpace, row: pd.Series) -> Architecture:
    return Architecture({name: int(row[name]) for name in space.names})
