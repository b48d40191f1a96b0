"""The search for the best fit, by Agora or a rival, with progress."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from fsp.base.errors import InputError
from fsp.base.progress import Progress
from fsp.finetuning import algorithm, rivals
from fsp.finetuning.algorithm import Budget, Outcome, Round, leader
from fsp.finetuning.classifier import Classifier
from fsp.finetuning.examples import Example
from fsp.finetuning.expansion import Expansion
from fsp.finetuning.fits import StoredTrainer
from fsp.finetuning.generators import Edits, Generator, Mix, Refill, Synonyms, load_masked
from fsp.finetuning.labellers import LabellerVerdict, embedder
from fsp.finetuning.pruning import pruning_rule
from fsp.finetuning.settings import FinetuningSettings


def load_generator(source: str, classifier: Classifier, train: Sequence[Example], points: int) -> Generator:
    """Return a generator τ by its name, see `FinetuningSettings`. Raises InputError if its model cannot be used."""
    kind, _, model = source.partition(":")
    if kind == "edits":
        return Edits(Synonyms(classifier.embedding_table, classifier.tokenizer), points)
    if kind == "mask":
        return Refill(load_masked(model, classifier.device), points)
    return Mix(embedder(model, classifier.device), [one.fields for one in train], points)


def search(
    trainer: StoredTrainer, expansion: Expansion | None, settings: FinetuningSettings, display: Progress
) -> Outcome[Example]:
    """Run the settings' method and return its outcome."""
    theta, budget = settings.theta, Budget(settings.fits or len(settings.theta), settings.seconds or math.inf)
    if settings.method != "agora":
        with display.bar(f"{settings.method}: {settings.fits or len(theta)} fits", budget.fits) as trainer.advance:
            if settings.method == "hyperband":
                return rivals.hyperband(theta, trainer, budget=budget, seed=settings.seed)
            if settings.method == "random":
                theta = rivals.random_sets(theta, int(budget.fits), settings.seed)
            return rivals.grid_search(theta, trainer, budget=budget)
    if expansion is None:
        raise InputError("agora needs a labeller and a generator")
    most = _most_fits(len(theta), settings)
    with display.bar(f"agora: at most {most} fits", most) as advance:
        trainer.advance = advance
        return algorithm.agora(
            theta,
            trainer,
            expansion,
            pruning_rule(settings.pruning),
            replays=settings.replays,
            budget=Budget(settings.fits or math.inf, settings.seconds or math.inf),
            after_round=_tell(display, advance, settings),
        )


def _tell(
    display: Progress, advance: Callable[[float], object], settings: FinetuningSettings
) -> Callable[[Round[Any], int], None]:
    """Return a function that shows the result of a round and advances the bar by the fits that pruning saved."""
    seconds: list[float] = []

    def tell(done: Round[Any], left: int) -> None:
        seconds.extend(tried.fit.seconds for tried in done.tried)
        again = f", replay {done.attempt}" if done.attempt else ""
        most = _most_fits(left, settings)
        display.say(
            f"round {done.number + 1}{again}: {leader(done.tried).fit.rank:.1%} on dev, best {done.best:.1%}; "
            f"{len(done.added)} points added, {left} sets left"
            + (f": at most {most} fits, {most * sum(seconds) / len(seconds):.0f} s" if left else "")
        )
        if done.removed:
            before = left + len(done.removed)
            advance(max(0, _most_fits(before, settings) - (1 + done.attempt) * before - most))

    return tell


def _most_fits(sets: int, settings: FinetuningSettings) -> int:
    """Return the largest number of fits of rounds that start with `sets` sets: each round removes at least one."""
    most = sets * (sets + 1) // 2 * (1 + settings.replays)
    return min(most, settings.fits or most)


def accepted(verdict: LabellerVerdict, settings: FinetuningSettings, display: Progress) -> LabellerVerdict:
    """Return the verdict on a labeller that may be used, and warn if it is not good enough.

    Raises:
        InputError: it is no better than guessing, and the settings do not force its use.
    """
    if verdict.level == "chance" and not settings.force:
        raise InputError(f"{verdict}; points it labels would teach noise: give a better labeller, or --force")
    display.say(("" if verdict.level == "enough" else "warning: ") + str(verdict))
    return verdict
