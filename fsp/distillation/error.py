"""The error e(f): how far a candidate is from T after being cut out of it and trained briefly."""

import copy
import math
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from fsp.base.errors import Diverged, InputError
from fsp.base.version import __version__
from fsp.distillation.blocks import READOUT_TOKENS, Blocks, Material
from fsp.distillation.fitting import fit
from fsp.distillation.matching import LogitMatching, Matching, StateMatching
from fsp.distillation.student import Student
from fsp.distillation.teacher import Teacher
from fsp.distillation.threads import computing_with
from fsp.families import bert
from fsp.families.architecture import Architecture
from fsp.families.bert.cutter import Cutter

E_MIN = 1e-3  # lower bound of errors, so that 1/e stays finite for a candidate that equals T
_PASSES = 3  # a backward pass costs twice the FLOPs of the forward pass


@dataclass(frozen=True)
class DistillationSettings:
    """What the error depends on besides the architecture and the seed.

    Attributes:
        steps: optimiser steps s; 0 measures the healed cut without training.
        batch: blocks per step.
        learning_rate: the peak, see `learning_rate_for`.
        flops: FLOPs to train every candidate for; overrides `steps`, so that candidates are compared at equal FLOPs
            instead of equal tokens; see `Distillation.flops_per_step`.
    """

    steps: int = 16
    batch: int = 16
    learning_rate: float = 4e-3
    flops: float | None = None


def learning_rate_for(peak: float, error: float) -> float:
    """Return the learning rate for a cut of a given error: `peak * error²`.

    A good cut needs small steps: a copy of T (error 0) must not move, whereas a poor cut must still learn.
    Measured in experiments/healing, experiments/rates and experiments/ground_truth.
    """
    return peak * min(1.0, max(0.0, error)) ** 2


class Distillation:
    """The surrogate error `distillation`: cut out of T, heal, train s steps to match T, measure on held-out text.

    Call it with an architecture and a seed. If T has a head for masked language modelling, the value is
    KL(T ‖ f) in nats at masked positions; otherwise it is 1 - R², the share of the variance of T's token states that
    a least-squares readout of the student's states leaves unexplained. It is never below E_MIN.

    Args:
        teacher: the trained maximum point T.
        material: T's states on training and held-out text.
        settings: steps, batch size and learning rate.
        threads: number of torch threads on each call; None for the current number. Values depend on it.

    Attributes:
        threads: number of torch threads on each call.

    Raises:
        InputError: there are fewer training blocks than one step takes, or `flops` is not positive.
        Diverged: on a call, if the training loss or the error is not finite.
    """

    def __init__(
        self,
        teacher: Teacher,
        material: Material,
        settings: DistillationSettings | None = None,
        *,
        threads: int | None = None,
    ):
        self._chosen = settings or DistillationSettings()
        self.threads = threads or torch.get_num_threads()
        self.material = material
        self.teacher = teacher
        if len(material.train) < self._chosen.batch:
            raise InputError(
                f"the training text has {len(material.train)} blocks, but a step takes {self._chosen.batch}; "
                "give more text or shorter blocks"
            )
        if self._chosen.flops is not None and not self._chosen.flops > 0:
            raise InputError(f"cannot train for {self._chosen.flops} FLOPs; give a positive number")
        self._length = material.train.tokens.shape[1]
        self._calibration = material.train[: READOUT_TOKENS // self._length]
        states = StateMatching(self._calibration.variance())
        self.matching: Matching = states if teacher.head is None else LogitMatching(teacher.head)
        self.cutter = Cutter(teacher.model, torch.from_numpy(self._calibration.tokens).long())

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that a value depends on besides architecture and seed, for the study's key."""
        return {
            "error": "distillation",
            "fsp": __version__,
            "teacher": self.teacher.fingerprint,
            "matching": self.matching.name,
            "train_blocks": self.material.train.digest,
            "validation_blocks": self.material.validation.digest,
            "threads": self.threads,
            "torch": torch.__version__,
            "machine": platform.machine(),
            **asdict(self._chosen),
        }

    @property
    def seeded(self) -> bool:
        """Whether values depend on the seed; a healed cut without training does not."""
        return self._chosen.steps > 0 or self._chosen.flops is not None

    def with_steps(self, steps: int) -> "Distillation":
        """Return the same error with another number of steps."""
        other = copy.copy(self)  # shares T's ranking and states
        other._chosen = replace(self._chosen, steps=steps, flops=None)
        return other

    def with_flops(self, flops: float) -> "Distillation":
        """Return the same error with every candidate trained for the given number of FLOPs."""
        other = copy.copy(self)
        other._chosen = replace(self._chosen, flops=flops)
        return other

    def longer(self, factor: int) -> "Distillation":
        """Return the same error with `factor` times the training, or with `factor` steps if it has no training."""
        if self._chosen.flops is None:
            return self.with_steps(factor * max(1, self._chosen.steps))
        return self.with_flops(factor * self._chosen.flops)

    def student(self, architecture: Architecture) -> Student:
        """Return the healed cut of a given shape, before its readout is fitted and before any training step."""
        return Student(self.cutter.cut(architecture), self.teacher.architecture["H"])

    def flops_per_step(self, architecture: Architecture) -> int:
        """Return the FLOPs of a training step: three times those of a forward pass of the encoder and the readout.

        The encoder takes its `operations`, the readout two FLOPs per weight and token. T's head, the embeddings and
        the optimiser are not counted.
        """
        forward = int(bert.operations(architecture, {}, batch=self._chosen.batch, length=self._length))
        readout = 2 * self.tokens_per_step * architecture["H"] * self.teacher.architecture["H"]
        return _PASSES * (forward + readout)

    def steps_of(self, architecture: Architecture) -> int:
        """Return the number of training steps of a candidate: s, or as many as its FLOPs allow, at least one."""
        if self._chosen.flops is None:
            return self._chosen.steps
        return max(1, round(self._chosen.flops / self.flops_per_step(architecture)))

    def steps_for(self, tokens: int) -> int:
        """Return the number of whole steps that a budget of training tokens allows, at least one."""
        return max(1, tokens // self.tokens_per_step)

    @property
    def tokens_per_step(self) -> int:
        """Training tokens per step."""
        return self._chosen.batch * self._length

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

        Dropout stays off: the targets are deterministic, and tens of steps are too few to average out its noise.
        `own_states` are the student's states for the calibration tokens, if they have already been computed.
        """
        start = student.fit_readout(self._calibration, own_states)
        if not steps:
            return []
        losses = fit(
            student.eval().requires_grad_(True),
            lambda student, batch: self.matching.loss(student(batch.tokens), batch),
            self.material.train.shuffled(self._chosen.batch, seed),
            steps=steps,
            learning_rate=learning_rate_for(self._chosen.learning_rate, start),
            after_step=after_step,
        )
        if self.matching.name == "states":  # a least-squares refit does not minimise the divergence
            student.fit_readout(self._calibration)
        return losses

    def measure(self, student: Student, blocks: Blocks) -> float:
        """Return a student's error on blocks. Raises Diverged if it is not finite."""
        error = self.matching.error(student, blocks)
        if not math.isfinite(error):
            raise Diverged(f"the error is {error}")
        return max(error, E_MIN)  # rounding may make the divergence of a copy of T negative

    def controls(self) -> dict[str, float]:
        """Return two errors that no candidate should exceed.

        `mean`: every state is predicted by the mean over the training text (1 for 1 - R², up to the difference between
        the texts). `D=0`: the states are predicted from T's embeddings, without layers, by a least-squares readout.
        """
        bare = copy.deepcopy(self.teacher.model)
        bare.encoder.layer = torch.nn.ModuleList()
        student = Student(bare, self.teacher.architecture["H"])
        student.fit_readout(self._calibration)
        without_layers = self.measure(student, self.material.validation)
        student.readout.weight.data.zero_()
        states = self._calibration.states
        student.readout.bias.data = torch.from_numpy(states.mean(axis=(0, 1), dtype="float32"))
        return {"mean": self.measure(student, self.material.validation), "D=0": without_layers}

    def __call__(self, architecture: Architecture, seed: int = 0) -> float:
        """Return the error of a candidate."""
        with computing_with(self.threads):
            encoder, own_states = self.cutter.cut_with_states(architecture)
            student = Student(encoder, self.teacher.architecture["H"])
            self.train(student, steps=self.steps_of(architecture), seed=seed, own_states=own_states)
            return self.measure(student, self.material.validation)
