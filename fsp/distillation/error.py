"""The error e(f): how far a candidate is from T after being cut out of it and trained briefly."""

import copy
import math
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from fsp.base.errors import Diverged, InputError
from fsp.base.version import __version__
from fsp.distillation.cutting import Cut, Cutter
from fsp.distillation.examples import MASK, Batch, Examples, Material
from fsp.distillation.fitting import fit
from fsp.distillation.networks import without_layers
from fsp.distillation.student import Student
from fsp.distillation.tasks.task import Task
from fsp.distillation.threads import computing_with
from fsp.families.architecture import Architecture

E_MIN = 1e-3  # lower bound of errors, so that 1/e stays finite for a candidate that equals T
_PASSES = 3  # a backward pass costs twice the FLOPs of the forward pass
_PROBED = 256  # training examples on which a cut is measured, to find its learning rate


@dataclass(frozen=True)
class DistillationSettings:
    """What the error depends on besides the architecture and the seed.

    Attributes:
        steps: optimiser steps s; 0 measures the healed cut without training.
        batch: examples per step; None for the task's.
        learning_rate: the peak, see `learning_rate_for`.
        flops: FLOPs to train every candidate for; overrides `steps`, so that candidates are compared at equal FLOPs
            instead of equal tokens; see `Distillation.flops_per_step`.
    """

    steps: int = 16
    batch: int | None = None
    learning_rate: float = 4e-3
    flops: float | None = None


def learning_rate_for(peak: float, error: float) -> float:
    """Return the learning rate for a cut of a given error, from 0 to 1: `peak * error²`.

    A good cut needs small steps: a copy of T (error 0) must not move, whereas a poor cut must still learn.
    Measured in experiments/healing, experiments/rates and experiments/ground_truth.
    """
    return peak * min(1.0, max(0.0, error)) ** 2


class Distillation:
    """The surrogate error `distillation`: cut out of T, heal, train s steps to match T, measure on held-out examples.

    Call it with an architecture and a seed. What is compared, and how, is the task's affair (`fsp.distillation.tasks`).
    The value is never below E_MIN.

    Args:
        task: what T is for.
        material: the task's examples with T's outputs.
        settings: steps, batch size and learning rate.
        threads: number of torch threads on each call; None for the current number. Values depend on it.
        say: told when the device's memory does not suffice for a batch.

    Attributes:
        threads: number of torch threads on each call.

    Raises:
        InputError: there are fewer training examples than one step takes, or `flops` is not positive.
        Diverged: on a call, if the training loss or the error is not finite.
    """

    def __init__(
        self,
        task: Task,
        material: Material,
        settings: DistillationSettings | None = None,
        *,
        threads: int | None = None,
        say: Callable[[str], object] = lambda text: None,
    ):
        chosen = settings or DistillationSettings()
        self._chosen = replace(chosen, batch=chosen.batch or task.batch)
        self.threads = threads or torch.get_num_threads()
        self.task, self.material, self.teacher = task, material, task.teacher
        self._say = say
        if len(material.train) < self.batch:
            raise InputError(
                f"there are {len(material.train)} training examples, but a step takes {self.batch}; "
                "give more, or shorter blocks of text"
            )
        if self._chosen.flops is not None and not self._chosen.flops > 0:
            raise InputError(f"cannot train for {self._chosen.flops} FLOPs; give a positive number")
        place = self.teacher.device.torch
        inputs = {name: value.to(place) for name, value in material.calibration.items()}
        self.cutter = Cutter(self.teacher.network, self.teacher.family, inputs)

    @property
    def batch(self) -> int:
        """Examples per step."""
        assert self._chosen.batch is not None
        return self._chosen.batch

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that a value depends on besides architecture and seed, for the study's key."""
        return {
            "error": "distillation",
            "fsp": __version__,
            "teacher": self.teacher.fingerprint,
            **self.task.settings,
            "train": self.material.train.digest,
            "validation": self.material.validation.digest,
            "threads": self.threads,
            "torch": torch.__version__,
            "machine": platform.machine(),
            **self.teacher.device.describe(),
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
        return self.task.fresh(self._cut(architecture))

    def _cut(self, architecture: Architecture) -> Cut:
        with self.teacher.device.computing():  # refits are solved in float64 whatever the numbers of the forward pass
            return self.cutter.cut(architecture)

    def flops_per_step(self, architecture: Architecture) -> int:
        """Return the FLOPs of a training step: three times those of a forward pass of the network and the readout.

        The network takes its `operations`, a readout two FLOPs per weight and site. T's head, the embeddings and the
        optimiser are not counted.
        """
        teacher, inputs = self.teacher, self.material.train.inputs
        length = next(iter(inputs.values())).shape[-1]
        forward = int(teacher.family.operations(architecture, teacher.constants, batch=self.batch, length=length))
        readout = 2 * self.units_per_step * architecture["H"] * teacher.architecture["H"]
        return _PASSES * (forward + (readout if self.task.name in ("states", "embedding") else 0))

    def steps_of(self, architecture: Architecture) -> int:
        """Return the number of training steps of a candidate: s, or as many as its FLOPs allow, at least one."""
        if self._chosen.flops is None:
            return self._chosen.steps
        return max(1, round(self._chosen.flops / self.flops_per_step(architecture)))

    def steps_for(self, budget: int) -> int:
        """Return the number of whole steps that a budget of training tokens, or samples, allows, at least one."""
        return max(1, budget // self.units_per_step)

    @property
    def units_per_step(self) -> int:
        """Tokens, or samples, per training step, on average."""
        train = self.material.train
        if train.lengths is not None:
            return (
                max(1, train.tokens // len(train.groups))
                if self.task.unit == "tokens"
                else max(1, len(train) // len(train.groups))
            )
        return self.batch * (train.tokens // len(train) if self.task.unit == "tokens" else 1)

    def train(
        self,
        student: Student,
        *,
        steps: int,
        seed: int,
        after_step: Callable[[int, float], object] = lambda step, loss: None,
        states: torch.Tensor | None = None,
    ) -> list[float]:
        """Fit a fresh student's readout, train it for some steps, refit the readout, and return the losses.

        Dropout stays off: the targets are deterministic, and tens of steps are too few to average out its noise.
        `states` are the student's on the calibration inputs, if they have already been computed.
        """
        device = self.teacher.device
        with device.computing():
            self.task.fit(student, self.material, states)
        if not steps:
            return []
        losses = fit(
            student.eval().requires_grad_(True),
            self.task.loss,
            self.batches(seed),
            steps=steps,
            learning_rate=learning_rate_for(self._chosen.learning_rate, self.start_of(student)),
            after_step=after_step,
            device=device,
            say=self._say,
        )
        with device.computing():
            self.task.refit(student, self.material)
        return losses

    def batches(self, seed: int) -> Iterator[Batch]:
        """Yield training batches on T's device indefinitely, each pass over the examples in a new order."""
        for batch in self.material.train.shuffled(self.batch, seed):
            yield batch.to(self.teacher.device.torch)

    def units_in(self, batch: Batch) -> int:
        """Return the number of tokens, or samples, of a batch."""
        if self.task.unit == "samples":
            return len(batch)
        mask = batch.inputs.get(MASK)
        return batch.inputs["input_ids"].numel() if mask is None else int(mask.sum())

    def on(self, material: Material) -> "Distillation":
        """Return the same error with other examples; cuts are healed on the same inputs."""
        other = copy.copy(self)
        other.material = material
        return other

    def start_of(self, student: Student) -> float:
        """Return the error of an untrained student on training examples as a share of a constant prediction's."""
        probed = self.material.train[:_PROBED]
        place = self.teacher.device.torch
        with torch.inference_mode():
            wanted = torch.cat([self.task.wanted(batch.to(place)) for batch in probed[:32].batches(32)])
            return self.task.error(student, probed) / max(self.task.comparison.reference(wanted), E_MIN)

    def measure(self, student: Student, examples: Examples) -> float:
        """Return a student's error on examples. Raises Diverged if it is not finite."""
        error = self.task.error(student, examples)
        if not math.isfinite(error):
            raise Diverged(f"the error is {error}")
        return max(error, E_MIN)  # rounding may make the divergence of a copy of T negative

    def controls(self) -> dict[str, float]:
        """Return two errors that no candidate should exceed.

        `mean`: the best constant prediction of T's outputs. `D=0`: T without its layers, with a readout if the task has
        one.
        """
        teacher, place = self.teacher, self.teacher.device.torch
        assert teacher.family.anatomy is not None
        bare = without_layers(teacher.network, teacher.family.anatomy)
        every = torch.arange(teacher.architecture["H"], device=place)
        student = self.task.fresh(Cut(bare, every, [], None, None))
        self.task.fit(student, self.material)
        without = self.measure(student, self.material.validation)
        held_out = self.material.validation
        with torch.inference_mode():
            wanted = torch.cat(
                [self.task.wanted(batch.to(place)) for batch in held_out[: min(len(held_out), 64)].batches(32)]
            )
        return {"mean": self.task.comparison.reference(wanted), "D=0": without}

    def __call__(self, architecture: Architecture, seed: int = 0) -> float:
        """Return the error of a candidate."""
        with computing_with(self.threads):
            cut = self._cut(architecture)
            student = self.task.fresh(cut)
            self.train(student, steps=self.steps_of(architecture), seed=seed, states=cut.states)
            return self.measure(student, self.material.validation)
