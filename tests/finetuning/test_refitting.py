from types import SimpleNamespace

import pytest

from fsp.finetuning.algorithm import Fit, Outcome, Round, Tried
from fsp.finetuning.refitting import refit
from fsp.finetuning.theta import SMALL

POINTS, DEV = ("point",), ("dev 1", "dev 2")


def outcome(accuracy):
    """Of two rounds; the best, its round's second attempt, saw one point."""
    first = Tried(SMALL[0], 0, 1.0, Fit(0.5))
    best = Tried(SMALL[1], 1, 1.0, Fit(accuracy))
    return Outcome(best, (Round(0, 0, (first,), 0.5, POINTS), Round(1, 1, (best,), accuracy)), "pruned")


class Trainer:
    """Gives accuracies on dev in turn, None where the fit fails."""

    data = SimpleNamespace(dev=DEV)

    def __init__(self, accuracies):
        self.accuracies, self.requests = list(accuracies), []

    def __call__(self, requests):
        self.requests += requests
        return [Fit(self.accuracies.pop(0)) for _ in requests]


@pytest.mark.parametrize("accuracies", [[0.7], [0.5, 0.9], [None, 0.6, 0.8]])
def test_a_refit_worse_on_dev_is_made_again(accuracies):
    trainer = Trainer(accuracies)
    request, attempts = refit(trainer, outcome(0.7))
    assert attempts == len(accuracies) and request == trainer.requests[-1]
    assert [one.attempt for one in trainer.requests] == [1, 2, 3][:attempts]
    assert all(one.theta == SMALL[1] and one.added == POINTS + DEV for one in trainer.requests)


def test_where_three_refits_are_worse_the_best_is_kept():
    request, attempts = refit(Trainer([0.6, None, 0.6]), outcome(0.7))
    assert (request.added, request.attempt, attempts) == (POINTS, 1, 3)
