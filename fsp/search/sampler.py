"""FPTASSampler: the `fitted` search as a sampler for any Optuna study."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from fsp.errors import InputError
from fsp.search.grid import MAX_POINTS, Grid, grid_points, space_points
from fsp.search.history import History, Progress
from fsp.space import SearchSpace

_RHO = 0.05  # of ParEGO's scalarisation


class FPTASSampler(BaseSampler):
    """Proposes valid points of a finite discrete space, none twice: stratified along an order, then model-guided.

    The first points are spread along the order given by `size`. Then a quadratic law is fitted to the values (their
    logarithms, if all are positive) and the point of the largest expected improvement is proposed; several objectives
    are scalarised with random weights, anew for each proposal. Once all points are tried, a warning is given and
    points are repeated at random. Points already tried by other workers, failed ones included, count as tried; two
    processes that ask in the same instant may still draw the same point.

    Without `search_space` the space is what the finished trials suggested: until one has finished, parameters are
    drawn one by one, of the choices that `is_valid` does not exclude (a KeyError it raises, because a parameter is
    still missing, excludes nothing). Where a parameter is continuous, or trials differ in their parameters or
    ranges, Optuna's TPESampler takes over; it also draws the parameters that a given `search_space` does not name.

    Args:
        search_space: a `SearchSpace`, or the choices or the distribution of each parameter by name. Trials may
            suggest the parameters by any method that allows the values.
        size: of a point, given as a dictionary; by default the mean rank of its values.
        is_valid: tells of a point, given as a dictionary, whether it may be proposed.
        interval: start with every K-th point along the order; by default with one point more than parameters.
        seed: of everything random.

    Raises:
        InputError: an interval below 1 or above the number of points, no valid point, an empty space, or a trial
            that suggests a parameter in a way that does not allow the space's value.

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
        self._declared = None if search_space is None else self._declare(search_space)
        self._history = History("", self._declared)
        self._lock = threading.RLock()  # a study with n_jobs > 1 asks from several threads

    def _declare(self, space: SearchSpace | Mapping[str, BaseDistribution | Sequence[Any]]) -> Grid | None:
        """Return the grid of a given space, or None where it is not finite."""
        if isinstance(space, SearchSpace):
            return self._grid(space_points(space, self._is_valid, seed=self._seed))
        axes: dict[str, Sequence[Any]] = {}
        for name, given in space.items():
            choices = _choices(given) if isinstance(given, BaseDistribution) else list(given)
            if choices is None:
                return None
            if not choices or len(set(choices)) < len(choices):
                raise InputError(f"search space: {name} needs choices, each once, not {choices}")
            axes[name] = choices
        if not axes:
            raise InputError("search space: no parameters; give at least one with its choices")
        return self._grid(grid_points(axes, self._is_valid, seed=self._seed))

    def _grid(self, points: list[dict[str, Any]]) -> Grid:
        return Grid(points, self._size, self._interval, seed=self._seed)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()

    def reseed_rng(self) -> None:
        """Give this copy of the sampler its own random numbers; the start of the search stays."""
        self._generator = np.random.default_rng()
        self._fallback.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that all finished trials share, if those are discrete and there are no others."""
        if self._declared is not None:
            return {}  # its values are handed out one by one, as how a trial suggests them is not known yet
        with self._lock:
            space = self._read(study).space
        return space if space and all(_choices(d) is not None for d in space.values()) else {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the next point of a discrete space, or a draw of TPE from any other."""
        if not search_space:
            return {}
        axes = {name: _choices(distribution) for name, distribution in search_space.items()}
        if any(choices is None for choices in axes.values()):
            return {n: self._fallback.sample_independent(study, trial, n, d) for n, d in search_space.items()}
        with self._lock:
            history = self._read(study)
            key = tuple(search_space.items())
            if key not in history.grids:
                valid = None if self._is_valid is None else self._undecided_is_valid
                points = grid_points({n: c for n, c in axes.items() if c is not None}, valid, seed=self._seed)
                history.grids[key] = Progress(self._grid(points))
            return dict(self._next(history, history.grids[key], study, trial))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the given space's next value of a parameter; a valid choice or a draw of TPE where none is given."""
        if self._declared is not None and param_name in self._declared.names:
            with self._lock:
                given = self._history.claims.get(trial.number) if self._history.study == study.study_name else None
                if given is None:
                    history = self._read(study)
                    given = self._next(history, history.grids[()], study, trial)
            value = given[param_name]
            if not _allows(param_distribution, value):
                raise InputError(
                    f"the sampler's space has {param_name}={value!r}, which the trial's {param_distribution} excludes; "
                    "suggest it with the same choices"
                )
            return float(value) if isinstance(param_distribution, FloatDistribution) else value
        choices = None if self._is_valid is None else _choices(param_distribution)
        if choices is not None:
            valid = [c for c in choices if self._undecided_is_valid({**trial.params, param_name: c})]
            if valid:
                return valid[int(self._generator.integers(len(valid)))]
        return self._fallback.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Forget which point the trial was given; from now on its own record tells."""
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
        grid = progress.grid
        if trial.number not in history.claims:
            progress.read(history)
            open_rows = progress.tried == 0
            for point in (*history.claims.values(), *history.pending):
                row = grid.row(point)
                if row is not None:
                    open_rows[row] = False
            fixed = trial.system_attrs.get("fixed_params", {})
            matching = (
                np.array([all(p.get(n, v) == v for n, v in fixed.items()) for p in grid.points]) if fixed else True
            )
            if not (open_rows & matching).any():
                if not fixed:
                    history.warn_exhausted(len(grid.points))
                row = int(self._generator.choice(len(grid.points)))
            else:
                observed = _smaller_is_better(progress.values, study.directions, self._generator)
                row = grid.propose(open_rows & matching, observed, self._generator)
            history.claims[trial.number] = grid.points[row]
        return history.claims[trial.number]


def _choices(distribution: BaseDistribution) -> list[Any] | None:
    """Return all values of a distribution, or None where they are not finitely (or not manageably) many."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if isinstance(distribution, IntDistribution):
        values = range(distribution.low, distribution.high + 1, distribution.step)
        return list(values) if len(values) <= MAX_POINTS else None
    if isinstance(distribution, FloatDistribution):
        if distribution.single():
            return [distribution.low]
        if distribution.step is not None:
            count = round((distribution.high - distribution.low) / distribution.step) + 1
            return [distribution.low + k * distribution.step for k in range(count)] if count <= MAX_POINTS else None
    return None


def _allows(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (ValueError, TypeError):
        return False


def _smaller_is_better(
    values: Mapping[int, Sequence[float]], directions: Sequence[StudyDirection], generator: np.random.Generator
) -> dict[int, float]:
    """Return one number a row, to be minimised: the logarithm where it exists, a random scalarisation of several."""
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
