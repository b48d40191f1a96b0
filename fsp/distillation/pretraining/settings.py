"""Settings of a pretraining run, their defaults and the paper's preset."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from fsp.base.errors import InputError, check_least
from fsp.base.machine import check_threads
from fsp.base.option import SEED, THREADS, Option

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
class PretrainingSettings:
    """Settings that, together with teacher, corpus and architecture, determine the result of a run.

    Each field is described by its `Option`. A dropout of None means the teacher's.
    """

    steps: Annotated[int, Option("Optimiser steps.")] = 1000
    kl: Annotated[float, Option("Weight of the divergence from the teacher's logits.")] = 1.0
    mlm: Annotated[float, Option("Weight of the cross-entropy with the text.")] = 0.1
    cosine: Annotated[float, Option("Weight of 1 - cosine to the teacher's last hidden states.")] = 0.0
    mse: Annotated[float, Option("Weight of the squared distance to them.")] = 0.0
    relation: Annotated[float, Option("Weight of the divergence of the last attention's relations.")] = 0.0
    temperature: Annotated[float, Option("Of the divergence of logits.")] = 2.0
    relation_heads: Annotated[
        int | None, Option("Relation heads.", shown="the most that both models' heads have in common")
    ] = None
    batch: Annotated[int, Option("Blocks per step, over all processes.")] = 32
    accumulate: Annotated[int, Option("Forward passes per step and process.")] = 1
    length: Annotated[int, Option("Tokens per block.")] = 128
    mask_rate: Annotated[float, Option("Share of a block's tokens that is predicted.")] = 0.15
    learning_rate: Annotated[float, Option("Peak of the learning rate.")] = 5e-4
    warmup: Annotated[float, Option("Share of the steps in which it rises.")] = 0.05
    schedule: Annotated[str, Option("Of the learning rate after that: linear, cosine or constant.")] = "linear"
    weight_decay: Annotated[float, Option("Of AdamW, on matrices.")] = 0.01
    beta2: Annotated[float, Option("Of AdamW.")] = 0.98
    epsilon: Annotated[float, Option("Of AdamW.")] = 1e-6
    clip: Annotated[float, Option("Largest gradient norm.")] = 1.0
    init: Annotated[str, Option("cut (out of the teacher), random, or a model's directory.")] = "cut"
    dropout: Annotated[float | None, Option("Share of units that are dropped.")] = 0.0
    seed: Annotated[int, SEED] = 0
    precision: Annotated[
        str, Option("auto, float32, bfloat16 or float16; auto: bfloat16 on GPUs that have it, float32 elsewhere.")
    ] = "auto"
    compile: Annotated[bool, Option("Compile the student's body.")] = False
    gradient_checkpointing: Annotated[bool, Option("Recompute activations instead of keeping them.")] = False
    top_k: Annotated[int, Option("Logits per position that a teacher cache keeps.")] = 64

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
        """The weights of the losses by name."""
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
    """Options that do not change the result of a run, each described by its `Option`."""

    cache_teacher: Annotated[Path | None, Option("Directory that keeps the teacher's outputs.")] = None
    cache_text: Annotated[Path | None, Option("Directory for the tokenised text.", shown="OUT/text")] = None
    evaluate_every: Annotated[int, Option("Steps between evaluations on held-out text.")] = 500
    checkpoint_every: Annotated[int, Option("Steps between checkpoints.")] = 500
    keep: Annotated[int, Option("Checkpoints that are kept.")] = 2
    most_skipped: Annotated[int, Option("Unusable batches in a row that are tolerated.")] = 10
    tensorboard: Annotated[bool, Option("Write events for TensorBoard.")] = False
    threads: Annotated[int | None, THREADS] = None

    def __post_init__(self) -> None:
        check_least(vars(self), evaluate_every=1, checkpoint_every=1, keep=1, most_skipped=0)
        check_threads(self.threads)
