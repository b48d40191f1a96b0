"""Refitting the best of a search on train, its added points and dev."""

from dataclasses import replace

from fsp.finetuning.algorithm import Outcome, Request
from fsp.finetuning.examples import Example
from fsp.finetuning.fits import StoredTrainer
from fsp.finetuning.results import request_of

ATTEMPTS = 3


def refit(trainer: StoredTrainer, outcome: Outcome[Example]) -> tuple[Request[Example], int]:
    """Fit the best of a search again on all its rows and on dev.

    A refit can only be judged on rows that it was trained on, and occasionally one learns nothing. So a refit with a
    lower accuracy on dev than the original fit, which was not trained on dev, is repeated with a new seed.

    Args:
        trainer: makes the fits; its data include dev.
        outcome: outcome of the search.

    Returns:
        The request of a good refit, or the request of the best itself if three refits failed this test; and the number
        of refits.
    """
    best = request_of(outcome.best, outcome)
    for number in range(ATTEMPTS):
        request = replace(best, added=(*best.added, *trainer.data.dev), attempt=best.attempt + number)
        (fit,) = trainer([request])
        if fit.rank >= outcome.best.fit.rank:
            return request, number + 1
    return best, ATTEMPTS
