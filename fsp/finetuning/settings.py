"""Settings of a fine-tuning, apart from its model and data."""

from dataclasses import dataclass
from typing import Annotated

from fsp.base.device import Placed
from fsp.base.errors import InputError, check_least
from fsp.base.machine import check_threads, processors
from fsp.base.option import SEED, THREADS, Option
from fsp.finetuning.pruning import pruning_rule
from fsp.finetuning.theta import SMALL, Hyperparameters, check_distinct

METHODS = ("agora", "grid", "random", "hyperband")
EXPANDED = ("mistakes", "random")
HEADS = ("model", "bort")


@dataclass(frozen=True)
class FinetuningSettings(Placed):
    """Settings of `fsp.agora` and of its rivals, each described by its `Option`; `theta` is Θ.

    Every fit has the same number of steps, so all cost the same, however many rows there are. Without a budget
    (`fits`, `seconds`), `agora` continues until no set is left, and a rival makes as many fits as Θ has sets. See
    `fsp.finetuning.algorithm.agora` for pruning and replays, `fsp.finetuning.refitting` for refit, and
    `fsp.finetuning.classifier.Classifier` for head.
    """

    method: Annotated[str, Option("agora, grid, random or hyperband.")] = "agora"
    theta: tuple[Hyperparameters, ...] = SMALL
    pruning: Annotated[str, Option("For agora: lcs-keep, lcs-paper, ties or halving.")] = "lcs-keep"
    replays: Annotated[int, Option("For agora: repeat a round that did not improve so often.")] = 0
    generator: Annotated[str, Option("For agora: edits, mask:DIR or mix:DIR.")] = "edits"
    expand: Annotated[str, Option("For agora: mistakes, or as many random rows of dev.")] = "mistakes"
    points: Annotated[int, Option("For agora: generate at most so many points per row.")] = 2
    confidence: Annotated[float, Option("For agora: drop points whose label has a lower probability.")] = 0.0
    soft: Annotated[
        bool, Option("For agora: train on the labeller's probabilities or likeliest label.", names="--soft/--hard")
    ] = True
    refit: Annotated[bool, Option("Fit the best once more on train and dev together.")] = False
    steps: Annotated[int, Option("Training steps of each fit.")] = 150
    fits: Annotated[int | None, Option("Make at most so many fits.", shown="by the method")] = None
    seconds: Annotated[float | None, Option("Begin no fit after so much time in fits.", shown="none")] = None
    head: Annotated[str, Option("Classification head: model (the family's own) or bort.")] = "model"
    length: Annotated[int, Option("Tokens after which a text is cut off.")] = 128
    force: Annotated[bool, Option("For agora: accept a labeller that only guesses.")] = False
    seed: Annotated[int, SEED] = 0
    threads: Annotated[int | None, THREADS] = None

    @property
    def processor_threads(self) -> int:
        """Number of torch threads."""
        return self.threads or processors()

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"no method {self.method!r}; there are {', '.join(METHODS)}")
        if self.expand not in EXPANDED:
            raise InputError(f"cannot expand {self.expand!r}; there are {', '.join(EXPANDED)}")
        if self.head not in HEADS:
            raise InputError(f"no head {self.head!r}; there are {', '.join(HEADS)}")
        pruning_rule(self.pruning)
        check_distinct(self.theta)
        kind, _, source = self.generator.partition(":")
        if self.generator != "edits" and not (kind in ("mask", "mix") and source):
            raise InputError(f"no generator {self.generator!r}; there are edits, mask:DIR and mix:DIR")
        check_least(vars(self), replays=0, points=1, steps=1, length=4, seed=0)
        if not 0 <= self.confidence < 1:
            raise InputError(f"confidence must be from 0 to below 1, not {self.confidence}")
        for name in ("fits", "seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} must be positive, not {value}")
        check_threads(self.threads)
