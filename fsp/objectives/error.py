"""The error e(f): how much of T a candidate fails to reproduce after being cut out of it and trained briefly."""

import copy
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

import fsp
from fsp.errors import Diverged, InputError
from fsp.families.bert.cutter import Cutter
from fsp.space import Architecture
from fsp.training.blocks import READOUT_TOKENS, Material
from fsp.training.loop import train
from fsp.training.student import Student
from fsp.training.teacher import Teacher

E_MIN = 1e-3  # errors are floored here, so that 1/e stays finite for a candidate that equals T


@dataclass(frozen=True)
class DistillationSettings:
    """What the error depends on besides the architecture and the seed.

    steps: optimiser steps s; 0 measures the healed cut as it is.
    batch: blocks a step. learning_rate: see `learning_rate_for`.
    """

    steps: int = 16
    batch: int = 16
    learning_rate: float = 2e-3


def learning_rate_for(peak: float, error: float) -> float:
    """Return the learning rate for a cut of a given error: `peak * error²`.

    A good cut needs small steps: T's own copy (error 0) must stay where it is, at a rate at which a poor cut
    still learns. Measured in experiments/healing.
    """
    return peak * min(1.0, max(0.0, error)) ** 2


class Distillation:
    """The surrogate error `distillation`: cut out of T, heal, train s steps to match T, measure 1 - R².

    Call it with an architecture and a seed. The value lies in [E_MIN, about 1]: the share of the variance of T's
    token states on held-out text that a least-squares readout of the student's states leaves unexplained.

    Args:
        teacher: the trained maximum point T.
        material: T's states on training and held-out text.
        settings: steps, batch size and learning rate.

    Raises:
        InputError: there are fewer training blocks than one step takes.
        Diverged: on a call, if the training loss or the error is no number.
    """

    def __init__(self, teacher: Teacher, material: Material, settings: DistillationSettings | None = None):
        self._chosen = settings or DistillationSettings()
        self.material = material
        self._teacher = teacher
        if len(material.train) < self._chosen.batch:
            raise InputError(
                f"the training text has {len(material.train)} blocks, fewer than the {self._chosen.batch} of a step; "
                "give more text or shorter blocks"
            )
        length = material.train.tokens.shape[1]
        self._calibration = material.train[: READOUT_TOKENS // length]
        self._variance = self._calibration.variance()
        self.cutter = Cutter(teacher.model, torch.from_numpy(self._calibration.tokens).long())

    @property
    def settings(self) -> dict[str, Any]:
        """All that a value depends on besides architecture and seed, for the study's key."""
        return {
            "error": "distillation",
            "fsp": fsp.__version__,
            "teacher": self._teacher.fingerprint,
            "train_blocks": self.material.train.digest,
            "validation_blocks": self.material.validation.digest,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "machine": platform.machine(),
            **asdict(self._chosen),
        }

    def longer(self, factor: int) -> "Distillation":
        """Return the same error with that many times the steps, or that many where it has none."""
        longer = copy.copy(self)  # shares T's ranking and states
        longer._chosen = replace(self._chosen, steps=factor * max(1, self._chosen.steps))
        return longer

    def student(self, architecture: Architecture) -> Student:
        """Return the healed cut of that shape, before its readout is fitted and any step is done."""
        return Student(self.cutter.cut(architecture), self._teacher.architecture["H"])

    def steps_for(self, tokens: int) -> int:
        """Return how many whole steps a budget of training tokens allows, at least one."""
        return max(1, tokens // self.tokens_per_step)

    @property
    def tokens_per_step(self) -> int:
        """Training tokens of one step."""
        return self._chosen.batch * self.material.train.tokens.shape[1]

    def train(
        self,
        student: Student,
        *,
        steps: int,
        seed: int,
        after_step: Callable[[int, float], object] = lambda step, loss: None,
        own_states: torch.Tensor | None = None,
    ) -> list[float]:
        """Fit a fresh student's readout, train it for some steps, refit the readout, and return the losses.

        `own_states` are the student's states of the calibration tokens, where they are known already.
        """
        start = student.fit_readout(self._calibration, own_states)
        if not steps:
            return []
        losses = train(
            student,
            self.material.train.shuffled(self._chosen.batch, seed),
            steps=steps,
            learning_rate=learning_rate_for(self._chosen.learning_rate, start),
            scale=self._variance,
            after_step=after_step,
        )
        student.fit_readout(self._calibration)
        return losses

    def __call__(self, architecture: Architecture, seed: int = 0) -> float:
        """Return the error of a candidate."""
        encoder, own_states = self.cutter.cut_with_states(architecture)
        student = Student(encoder, self._teacher.architecture["H"])
        self.train(student, steps=self._chosen.steps, seed=seed, own_states=own_states)
        error = student.error(self.material.validation)
        if not error >= 0:
            raise Diverged(f"the error is {error}")
        return max(error, E_MIN)
