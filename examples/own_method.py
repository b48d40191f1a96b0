"""A custom search method: it always evaluates the row nearest to the best row so far.

Prints how far from the largest W it ends on 121 long trainings of `minilm`, compared with random search, and that it
passes a test of the contract of search methods.
"""

from pathlib import Path

import numpy as np

from fsp.search import METHODS
from fsp.testing import MethodContract
from fsp.trust.replay import ReplaySettings, read_table, replay_search

CARD = Path(__file__).parents[1] / "experiments" / "ground_truth" / "card.csv"


def nearest(candidates, evaluations, seed):
    """Yield the row to evaluate next; `yield` returns its error (NaN where the evaluation failed)."""
    points = np.log(candidates.parameters)
    left, best, centre = np.ones(len(points), dtype=bool), -np.inf, points.mean(axis=0)
    while left.any():
        distance = ((points - centre) ** 2).sum(axis=1)
        row = int(np.where(left, distance, np.inf).argmin())
        left[row] = False
        score = candidates.score(row, (yield row))
        if score > best:
            best, centre = score, points[row]


class TestNearest(MethodContract):
    """The contract; a runner such as pytest calls its methods."""

    method = nearest


METHODS["nearest"] = nearest
table = read_table(CARD, parameters=["D", "H", "I"], size="encoder_parameters", speed="operations", error="truth")
for name in ("nearest", "random"):
    regret = replay_search(table, ReplaySettings(name, evaluations=20, seeds=5)).describe()["regret_mean"]
    print(f"{name}: W is {regret:.1%} below the largest after 20 of {len(table)} evaluations")
TestNearest().test_a_budget_of_all_rows_finds_the_best()
print("a budget of all rows finds the best")
