"""What a pretraining run does: every number of it, its defaults and the paper's preset."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fsp.base.errors import InputError, check_least
from fsp.base.machine import check_threads

SCHEDULES = ("linear", "cosine", "constant")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")

PRESETS: dict[str, dict[str, Any]] = {
    # arXiv 2010.10499 and its script, whose defective divergence is not copied (see distillation/losses.py)
    "bort": {
        "kl": 0.5,
        "mlm": 0.1,
        "temperature": 2.0,
        "length": 512,
        "learning_rate": 1e-4,
        "warmup": 0.01,
        "schedule": "linear",
        "weight_decay": 0.01,
        "epsilon": 1e-6,
        "clip": 1.0,
        "mask_rate": 0.15,
        "dropout": 0.1,
        "init": "random",
    }
}


@dataclass(frozen=True)
class Settings:
    """Settings of a run; together with teacher, corpus and architecture they fix its result.

    Losses, as weights: kl (student's logits against the teacher's at `temperature`), mlm (against the text itself),
    cosine and mse (last hidden states), relation (last self-attention, in `relation_heads` relation heads; None for
    the most that both models' heads allow).

    steps: optimiser steps. batch: blocks a step, over all processes. accumulate: forward passes a step and process.
    length: tokens a block. mask_rate: share of a block's tokens that is predicted.
    learning_rate, warmup (share of the steps), schedule, weight_decay (matrices only), beta2, epsilon, clip: of AdamW.
    init: cut, random or a model's directory. dropout: None for the teacher's. seed: of everything random.
    precision: auto is bfloat16 on GPUs that have it and float32 elsewhere. top_k: logits that a teacher cache keeps.
    """

    steps: int = 1000
    kl: float = 1.0
    mlm: float = 0.1
    cosine: float = 0.0
    mse: float = 0.0
    relation: float = 0.0
    temperature: float = 2.0
    relation_heads: int | None = None
    batch: int = 32
    accumulate: int = 1
    length: int = 128
    mask_rate: float = 0.15
    learning_rate: float = 5e-4
    warmup: float = 0.05
    schedule: str = "linear"
    weight_decay: float = 0.01
    beta2: float = 0.98
    epsilon: float = 1e-6
    clip: float = 1.0
    init: str = "cut"
    dropout: float | None = 0.0
    seed: int = 0
    precision: str = "auto"
    compile: bool = False
    gradient_checkpointing: bool = False
    top_k: int = 64

    def __post_init__(self) -> None:
        check_least(vars(self), steps=1, batch=1, accumulate=1, length=8, seed=0, top_k=1)
        for name, value in asdict(self).items():
            if isinstance(value, float) and (not math.isfinite(value) or value < 0):
                raise InputError(f"{name} must be a number of at least 0, not {value}")
        for name in ("temperature", "learning_rate", "clip", "epsilon"):
            if not getattr(self, name):
                raise InputError(f"{name} must be above 0")
        for name, most in (("mask_rate", 0.5), ("warmup", 1.0), ("beta2", 0.99999), ("dropout", 0.9)):
            if (getattr(self, name) or 0) > most:
                raise InputError(f"{name} must be at most {most}, not {getattr(self, name)}")
        if self.relation_heads is not None:
            check_least(vars(self), relation_heads=1)
        for name, known in (("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} must be {', '.join(known[:-1])} or {known[-1]}, not {getattr(self, name)!r}")
        if not any(self.weights.values()):
            raise InputError("every loss has weight 0; give one, as --kl 1 or --mlm 1")

    @property
    def weights(self) -> dict[str, float]:
        """The losses' weights by name."""
        return {name: getattr(self, name) for name in ("kl", "mlm", "cosine", "mse", "relation")}

    @property
    def needs_teacher(self) -> bool:
        """Whether a loss compares with the teacher."""
        return any(weight for name, weight in self.weights.items() if name != "mlm")

    @property
    def needs_head(self) -> bool:
        """Whether a loss reads logits."""
        return bool(self.kl or self.mlm)

    @property
    def needs_states(self) -> bool:
        """Whether a loss compares hidden states."""
        return bool(self.cosine or self.mse)


@dataclass(frozen=True)
class Options:
    """What does not change the result.

    Attributes:
        cache_teacher: directory for the teacher's outputs.
        cache_text: directory for the tokenised corpus, by default inside the run's own.
        evaluate_every: steps between evaluations on held-out text.
        checkpoint_every: steps between checkpoints.
        keep: how many checkpoints remain.
        most_skipped: unusable batches in a row that are tolerated.
        tensorboard: also write events.
        threads: of the processor; None for all.
    """

    cache_teacher: Path | None = None
    cache_text: Path | None = None
    evaluate_every: int = 500
    checkpoint_every: int = 500
    keep: int = 2
    most_skipped: int = 10
    tensorboard: bool = False
    threads: int | None = None

    def __post_init__(self) -> None:
        check_least(vars(self), evaluate_every=1, checkpoint_every=1, keep=1, most_skipped=0)
        check_threads(self.threads)
