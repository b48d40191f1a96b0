"""FPTASSampler: the `fitted` search as a sampler for any Optuna study."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from fsp.base.errors import InputError
from fsp.search.samplers.axis import Axis, axis_of, count_of, value_in
from fsp.search.samplers.grid import MAX_POINTS, Grid, Points, grid_points, space_points
from fsp.search.samplers.history import DECLARED, History, Progress, note_value
from fsp.spaces.space import SearchSpace

_RHO = 0.05  # of ParEGO's scalarisation


class FPTASSampler(BaseSampler):
    """Proposes valid points of a finite discrete space, none twice: stratified along an order, then model-guided.

    The first points are spread along the order given by `size`. Then a quadratic law is fitted to the values (their
    logarithms, if all are positive) and the point with the largest expected improvement is proposed; several objectives
    are scalarised with random weights, drawn for each proposal. Once all points are tried, a warning is given and
    points are repeated at random. Points already tried by other workers, failed ones included, count as tried; two
    processes that ask at the same time may still draw the same point.

    Without `search_space`, the space is taken from the finished trials. Until one has finished, parameters are drawn
    one by one from the choices that `is_valid` does not exclude (it excludes nothing if it raises KeyError because a
    parameter is still missing). If a parameter is continuous, or trials differ in their parameters or ranges, Optuna's
    TPESampler takes over with a warning; it also draws the parameters that a given `search_space` does not name.

    Values are distinguished by position and type: 1, 1.0 and True are three choices, and lists and dictionaries are
    allowed. Of several equal choices Optuna's record of a trial shows the first; the objective gets the right one, and
    the trial's system attributes store it. The values of a stepped float are those that Optuna generates.

    If a trial is enqueued with some parameters fixed, the others are chosen so that the point is valid and new. If all
    valid points with the fixed values were tried, one is repeated; if there is none, the others are drawn at random;
    both with a warning.

    Args:
        search_space: a `SearchSpace`, or the choices or the distribution of each parameter by name. Trials may
            suggest the parameters by any method that allows the values.
        size: returns the size of a point, given as a dictionary; by default the mean rank of its values.
        is_valid: returns whether a point, given as a dictionary, may be proposed.
        interval: start with every K-th point along the order; by default with one point more than parameters.
        seed: seed of all random numbers.

    Raises:
        InputError: the interval is below 1 or above the number of points, no point is valid, the space is empty, or a
            trial suggests a parameter in a way that does not allow the space's value.

    Source: stratified enumeration along p and i as in arXiv 2010.08512, Algorithm 1; scalarisation of Knowles,
    ParEGO (2006).

    Example:
        >>> import optuna
        >>> optuna.logging.set_verbosity(optuna.logging.ERROR)
        >>> sampler = FPTASSampler({"A": [4, 8], "H": [12, 16]}, is_valid=lambda p: p["H"] % p["A"] == 0, seed=1)
        >>> study = optuna.create_study(sampler=sampler)
        >>> study.optimize(lambda t: t.suggest_int("A", 4, 8) / t.suggest_int("H", 12, 16), n_trials=3)
        >>> sorted((t.params["A"], t.params["H"]) for t in study.trials)
        [(4, 12), (4, 16), (8, 16)]
    """

    def __init__(
        self,
        search_space: SearchSpace | Mapping[str, BaseDistribution | Sequence[Any]] | None = None,
        *,
        size: Callable[[dict[str, Any]], float] | None = None,
        is_valid: Callable[[dict[str, Any]], bool] | None = None,
        interval: int | None = None,
        seed: int | None = None,
    ):
        if interval is not None and interval < 1:
            raise InputError(f"interval {interval} is out of range; choose 1 or more")
        self._size, self._is_valid, self._interval, self._seed = size, is_valid, interval, seed
        self._fallback = TPESampler(seed=seed)
        self._generator = np.random.default_rng(seed)
        self._space = search_space if isinstance(search_space, SearchSpace) else None
        self._declared = None if search_space is None else self._declare(search_space)
        self._history = History("", self._declared)
        self._lock = threading.RLock()  # a study with n_jobs > 1 asks from several threads

    def _declare(self, space: SearchSpace | Mapping[str, BaseDistribution | Sequence[Any]]) -> Grid | None:
        """Return the grid of a given space, or None if it is not finite."""
        if isinstance(space, SearchSpace):
            return self._grid(space_points(space, self._is_valid, seed=self._seed))
        axes: dict[str, Axis] = {}
        for name, given in space.items():
            if isinstance(given, BaseDistribution):
                if count_of(given) > MAX_POINTS:
                    return None
                axes[name] = axis_of(given)
            else:
                axes[name] = Axis(given)
                if not len(given) or len(axes[name]) < len(given):
                    raise InputError(f"search space: {name} needs choices, each once, not {list(given)}")
        if not axes:
            raise InputError("search space: no parameters; give at least one with its choices")
        return self._grid(grid_points(axes, self._is_valid, seed=self._seed))

    def _grid(self, points: Points) -> Grid:
        return Grid(points, self._size, self._interval, seed=self._seed)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()

    def reseed_rng(self) -> None:
        """Give this copy of the sampler its own random numbers; the start of the search does not change."""
        self._generator = np.random.default_rng()
        self._fallback.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters of the finished trials, if all trials have the same ones and all are discrete."""
        if self._declared is not None:
            return {}  # its values are proposed one by one, as it is not yet known how the trial suggests them
        with self._lock:
            space = self._read(study).space
        return space if space and all(count_of(d) <= MAX_POINTS for d in space.values()) else {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the next point of a discrete space, or a draw of TPE from any other."""
        if not search_space:
            return {}
        if any(count_of(distribution) > MAX_POINTS for distribution in search_space.values()):
            return {name: self._draw(study, trial, name, d) for name, d in search_space.items()}
        with self._lock:
            history = self._read(study)
            key = repr(sorted(search_space.items()))
            if key not in history.grids:
                valid = None if self._is_valid is None else self._undecided_is_valid
                axes = {name: axis_of(distribution) for name, distribution in search_space.items()}
                history.grids[key] = Progress(self._grid(grid_points(axes, valid, seed=self._seed)))
            point = self._next(history, history.grids[key], study, trial)
            # a storage returns a tuple as a list; the trial's own type is known once it suggests the parameter
            return {
                name: self._noted(study, trial, name, distribution, point[name])
                for name, distribution in search_space.items()
                if not any(isinstance(choice, list | Mapping) for choice in history.grids[key].grid.axes[name].choices)
            }

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a parameter's next value in the given space; without one, a valid choice or a draw of TPE."""
        value = self._value(study, trial, param_name, param_distribution)
        return self._noted(study, trial, param_name, param_distribution, value)

    def _value(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        with self._lock:
            given = self._history.claims.get(trial.number) if self._history.study == study.study_name else None
            if given is None and self._declared is not None and name in self._declared.axes:
                history = self._read(study)
                given = self._next(history, history.grids[DECLARED], study, trial)
        if given is not None and name in given:
            try:
                return value_in(distribution, given[name])
            except ValueError:
                if self._declared is not None:
                    raise InputError(
                        f"the sampler's space has {name}={given[name]!r}, which the trial's {distribution} excludes; "
                        "suggest it with the same choices"
                    ) from None
        if self._is_valid is not None and count_of(distribution) <= MAX_POINTS:
            choices = axis_of(distribution).choices
            valid = [c for c in choices if self._undecided_is_valid({**trial.params, name: c})]
            if valid:
                return valid[int(self._generator.integers(len(valid)))]
        return self._draw(study, trial, name, distribution)

    def _draw(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        """Return a draw of Optuna's TPESampler; warn if it takes over from this sampler."""
        if self._declared is None and self._history.space is not None:
            many = [n for n, d in {**self._history.space, name: distribution}.items() if count_of(d) > MAX_POINTS]
            reason = (
                f"{many[0]} is continuous or has more than {MAX_POINTS:,} values"
                if many
                else "trials differ in their parameters or ranges"
            )
            self._history.warn_once(f"no finite search space, as {reason}; Optuna's TPESampler proposes instead")
        return self._fallback.sample_independent(study, trial, name, distribution)

    def _noted(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution, value: Any) -> Any:
        """Return the value; store it with the trial if Optuna's record does not distinguish it from another choice."""
        if isinstance(distribution, CategoricalDistribution) and Axis(distribution.choices).ambiguous:
            note_value(study, trial, name, value)
        return value

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Forget the point given to the trial, as the trial's own record now holds it."""
        self._history.claims.pop(trial.number, None)
        self._fallback.after_trial(study, trial, state, values)

    def _undecided_is_valid(self, point: dict[str, Any]) -> bool:
        try:
            return self._is_valid is None or bool(self._is_valid(point))
        except KeyError:  # a parameter it needs is not in this point
            return True

    def _read(self, study: Study) -> History:
        trials = study.get_trials(deepcopy=False)
        if self._history.study != study.study_name or len(trials) < self._history.finished:
            self._history = History(study.study_name, self._declared)
        self._history.read(trials)
        return self._history

    def _next(self, history: History, progress: Progress, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        """Return the point given to a trial, chosen when it first asks."""
        if trial.number not in history.claims:
            fixed = trial.system_attrs.get("fixed_params", {})
            fixed = {name: fixed[name] for name in progress.grid.axes if name in fixed}
            completions = self._completions(progress, fixed)
            if completions is None:
                history.warn_once(
                    f"trial {trial.number}: no valid point of the search space has the fixed {_shown(fixed)}; the "
                    "other parameters are drawn at random"
                )
                row = int(self._generator.integers(len(progress.grid.points)))
                point = {**progress.grid.points.point(row), **fixed}
            else:
                point = self._proposal(history, completions, fixed, study, trial)
            history.claims[trial.number] = point
        return history.claims[trial.number]

    def _proposal(
        self, history: History, progress: Progress, fixed: dict[str, Any], study: Study, trial: FrozenTrial
    ) -> dict[str, Any]:
        """Return the next point with the fixed values, one that was already tried only if there is no other."""
        grid = progress.grid
        progress.read(history)
        open_rows = progress.tried == 0
        for point in (*history.claims.values(), *history.pending):
            row = grid.row(point)
            if row is not None:
                open_rows[row] = False
        matching = grid.matching(fixed)
        if (open_rows & matching).any():
            observed = _smaller_is_better(progress.values, study.directions, self._generator)
            return grid.points.point(grid.propose(open_rows & matching, observed, self._generator))
        if fixed:
            history.warn_once(
                f"trial {trial.number}: all {matching.sum()} points of the search space with the fixed "
                f"{_shown(fixed)} were tried; it repeats one"
            )
        else:
            history.warn_once(f"all {len(grid.points)} points of the search space were tried; from now on they repeat")
        return grid.points.point(int(self._generator.choice(np.flatnonzero(matching))))

    def _completions(self, progress: Progress, fixed: dict[str, Any]) -> Progress | None:
        """Return a grid with valid points that have the fixed values, even if these are not choices; else None."""
        if progress.grid.matching(fixed).any():
            return progress
        key = repr(fixed)
        if key not in progress.completions:
            axes = {name: Axis([fixed[name]]) if name in fixed else axis for name, axis in progress.grid.axes.items()}
            try:
                points = grid_points(axes, self._fulfils, seed=self._seed)
                progress.completions[key] = Progress(Grid(points, self._size, None, seed=self._seed))
            except InputError:
                progress.completions[key] = None
        return progress.completions[key]

    def _fulfils(self, point: dict[str, Any]) -> bool:
        """Return whether a point meets all rules; its values need not be among the choices."""
        if self._space is not None and (
            any(type(value) is not int for value in point.values()) or self._space.broken_rules(point)
        ):
            return False
        return self._undecided_is_valid(point)


def _shown(point: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in point.items())


def _smaller_is_better(
    values: Mapping[int, Sequence[float]], directions: Sequence[StudyDirection], generator: np.random.Generator
) -> dict[int, float]:
    """Return one number per row, to be minimised: the logarithm if all have one; of several, a random scalarisation."""
    if not values:
        return {}
    signs = np.where([d == StudyDirection.MAXIMIZE for d in directions], -1.0, 1.0)
    table = np.array(list(values.values()), dtype=np.float64)
    if len(signs) == 1:
        scalar = (np.log(table) if (table > 0).all() else table)[:, 0] * signs[0]
    else:
        table = table * signs
        spread = np.ptp(table, axis=0)
        weighted = (
            generator.dirichlet(np.ones(len(signs))) * (table - table.min(axis=0)) / np.where(spread, spread, 1.0)
        )
        scalar = weighted.max(axis=1) + _RHO * weighted.sum(axis=1)
    return dict(zip(values, scalar.tolist(), strict=True))
