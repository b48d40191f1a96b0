"""Optuna's samplers over a finite set of rows: each proposal goes to the nearest row not yet evaluated."""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fsp.search.candidates import Candidates, Proposals

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def tpe(candidates: Candidates, evaluations: int, seed: int) -> Proposals:
    """Propose rows by Optuna's TPESampler with its defaults."""
    from optuna.samplers import TPESampler

    return _snapped(TPESampler(seed=seed), candidates, seed)


def nsga2(candidates: Candidates, evaluations: int, seed: int) -> Proposals:
    """Propose rows by Optuna's NSGAIISampler, with a population of a fifth of the budget, between 4 and the default 50.

    With the default population a small budget would end within the first generation, which is random.
    """
    from optuna.samplers import NSGAIISampler

    return _snapped(NSGAIISampler(population_size=min(max(4, evaluations // 5), 50), seed=seed), candidates, seed)


def gp(candidates: Candidates, evaluations: int, seed: int) -> Proposals:
    """Propose rows by Optuna's GPSampler with its defaults (it needs torch)."""
    from optuna.samplers import GPSampler

    return _snapped(GPSampler(seed=seed), candidates, seed)


def unit_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each column's ranks among its distinct values, scaled to [0, 1]; equal values stay equal.

    Example:
        >>> unit_ranks(np.array([[3.0], [100.0], [3.0], [7.0]])).ravel().tolist()
        [0.0, 1.0, 0.0, 0.5]
    """
    ranks = np.stack([np.unique(column, return_inverse=True)[1] for column in values.T], axis=1).astype(np.float64)
    return ranks / np.maximum(ranks.max(axis=0), 1.0)


def _snapped(sampler: "BaseSampler", candidates: Candidates, seed: int) -> Proposals:
    """Propose the open row nearest to the sampler's point, and report that row's coordinates to the sampler."""
    import optuna

    generator = np.random.default_rng(seed)
    points = unit_ranks(candidates.parameters)
    names = [f"x{j}" for j in range(points.shape[1])]
    space: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in names
    }
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    open_rows = np.arange(len(candidates))
    while len(open_rows):
        asked = study.ask(space)
        distance = ((points[open_rows] - [asked.params[name] for name in names]) ** 2).sum(axis=1)
        position = int(generator.choice(np.flatnonzero(distance == distance.min())))
        row = int(open_rows[position])
        open_rows = np.delete(open_rows, position)
        error = yield row
        score = candidates.score(row, error)
        attributes = study.get_trials(deepcopy=False)[asked.number].system_attrs  # e.g. NSGA-II's generation
        study.tell(asked, state=optuna.trial.TrialState.FAIL)
        if math.isfinite(score):
            study.add_trial(
                optuna.trial.create_trial(
                    value=score,
                    params=dict(zip(names, points[row].tolist(), strict=True)),
                    distributions=space,
                    system_attrs=dict(attributes),
                )
            )
    return None
