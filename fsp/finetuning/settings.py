"""What a fine-tuning does, apart from its model and data."""

from dataclasses import dataclass

from fsp.base.errors import InputError, check_least
from fsp.base.machine import check_threads, processors
from fsp.finetuning.classifier import HEADS
from fsp.finetuning.pruning import pruning_rule
from fsp.finetuning.theta import SMALL, Hyperparameters, check_distinct

METHODS = ("agora", "grid", "random", "hyperband")
EXPANDED = ("mistakes", "random")


@dataclass(frozen=True)
class Settings:
    """Settings of `fsp.agora` and of its rivals.

    method: `agora`, or a rival: `grid`, `random`, `hyperband`.
    theta: Θ. pruning, replays: see `fsp.finetuning.algorithm.agora`.
    generator: `edits`, `mask:DIR` (a masked language model), or `mix:DIR` (an encoder).
    expand: `mistakes`, or `random`: as many other rows of dev as there are mistakes. points: of each row, at most.
    confidence: generated points of which the labeller is less sure are dropped. soft: its probabilities are trained
    on instead of the likeliest label alone.
    refit: fit the best once more on train, its points and dev, and hand that over; see `fsp.finetuning.refitting`.
    steps: optimiser steps of each fit, however many rows there are, so that all fits cost the same.
    fits, seconds: budget; without one, `agora` goes on until no set is left and a rival makes as many fits as
    Θ has sets.
    head: see `fsp.finetuning.classifier.Classifier`. length: tokens after which a text is cut off.
    force: go on with a labeller that is no better than guessing. seed: of everything random.
    threads: of torch; None for all processors. Results depend on it.
    """

    method: str = "agora"
    theta: tuple[Hyperparameters, ...] = SMALL
    pruning: str = "lcs-keep"
    replays: int = 0
    generator: str = "edits"
    expand: str = "mistakes"
    points: int = 2
    confidence: float = 0.0
    soft: bool = True
    refit: bool = False
    steps: int = 150
    fits: int | None = None
    seconds: float | None = None
    head: str = "model"
    length: int = 128
    force: bool = False
    seed: int = 0
    threads: int | None = None

    @property
    def processor_threads(self) -> int:
        """How many threads torch is given."""
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
