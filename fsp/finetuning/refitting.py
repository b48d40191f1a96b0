"""The best fit once more, with the rows of dev among those it is trained on."""

from dataclasses import replace

from fsp.finetuning.algorithm import Outcome, Request
from fsp.finetuning.examples import Example
from fsp.finetuning.fits import StoredTrainer
from fsp.finetuning.results import request_of

ATTEMPTS = 3


def refit(trainer: StoredTrainer, outcome: Outcome[Example]) -> tuple[Request[Example], int]:
    """Fit the best of a search again on all that it saw and on dev.

    Only rows that it was trained on are left to judge a refit by, and now and then one learns nothing. So one that is
    right on less of dev than the fit it is to replace, which never saw dev, is made again with a new seed.

    Args:
        trainer: makes the fits; its data hold dev.
        outcome: of the search.

    Returns:
        The request of a good refit, or that of the best itself where three were no good; and how many were made.
    """
    best = request_of(outcome.best, outcome)
    for number in range(ATTEMPTS):
        request = replace(best, added=(*best.added, *trainer.data.dev), attempt=best.attempt + number)
        (fit,) = trainer([request])
        if fit.rank >= outcome.best.fit.rank:
            return request, number + 1
    return best, ATTEMPTS
