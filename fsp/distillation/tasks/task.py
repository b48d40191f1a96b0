"""What all tasks have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsp.base.device import in_parts
from fsp.base.progress import Progress
from fsp.distillation.cutting import Cut
from fsp.distillation.examples import Batch, Examples, Material, Outputs
from fsp.distillation.models.card import describe_model, table
from fsp.distillation.models.loading import longest_input
from fsp.distillation.samples import Samples
from fsp.distillation.settings import SurrogateSettings
from fsp.distillation.student import Student
from fsp.distillation.tasks.comparing import Comparison
from fsp.distillation.teacher import Teacher
from fsp.distillation.text.corpus import Corpus

Data = Corpus | Samples
READOUT_TOKENS = 16_384  # a readout has up to a thousand inputs and overfits on fewer tokens
LEAST_HELD_OUT_TOKENS = 2_048
_BATCH = 32  # examples per forward pass where nothing is trained


@dataclass(frozen=True)
class Answers:
    """The outputs of a model that a task compares, wherever it runs.

    Attributes:
        batch: returns them for a batch, `sites x d`.
        texts: returns the embeddings of texts, `n x d`, as the model's user gets them; None for other tasks.
    """

    batch: Callable[[Batch], Tensor]
    texts: Callable[[Sequence[str]], NDArray[np.float32]] | None = None


@dataclass(frozen=True)
class Making:
    """Where T's outputs are kept and where progress is shown.

    Attributes:
        cache: folder of T's outputs.
        display: shows progress.
    """

    cache: Path
    display: Progress = field(default_factory=Progress)


class Task(ABC):
    """What T is for: its inputs, the outputs at which students are compared with it, and how a student is saved.

    Attributes:
        teacher: T.
        comparison: how outputs are compared.
    """

    name: ClassVar[str]
    compares: ClassVar[str]
    """What the error is, for reports."""
    matches: ClassVar[str]
    """What students are trained to match, for model cards."""
    figures: ClassVar[Mapping[str, str]] = {}
    """Names and titles of the figures beside the error."""
    larger_is_better: ClassVar[tuple[str, ...]] = ()
    """Which figures are better when larger; the others say the same as the error."""
    unit: ClassVar[str] = "tokens"
    """What budgets are counted in: tokens or samples."""
    batch: ClassVar[int] = 16
    """Examples per training step."""
    loaded_by: ClassVar[str]
    """What loads a saved student, for messages."""

    comparison: Comparison

    def __init__(self, teacher: Teacher):
        self.teacher = teacher

    @property
    def settings(self) -> dict[str, Any]:
        """What values depend on besides T, the examples and the training, for the study's key."""
        return {"task": self.name}

    @abstractmethod
    def material(self, data: Data, settings: SurrogateSettings, making: Making) -> Material:
        """Make the examples of the data, with T's outputs.

        Raises:
            InputError: the data does not suit the task, or there is too little of it.
        """

    @abstractmethod
    def fresh(self, cut: Cut) -> Student:
        """Return a student made of a cut, before any readout is fitted."""

    @abstractmethod
    def predicted(self, student: Student, batch: Batch) -> Tensor:
        """Return the student's outputs for a batch, `sites x d`."""

    @abstractmethod
    def wanted(self, batch: Batch) -> Tensor:
        """Return T's outputs for a batch, `sites x d`."""

    def fit(self, student: Student, material: Material, states: Tensor | None = None) -> None:  # noqa: B027
        """Fit what has a closed form, if anything; `states` are the student's on the calibration inputs."""

    def refit(self, student: Student, material: Material) -> None:  # noqa: B027
        """Fit it again after training, if that lowers the error."""

    @abstractmethod
    def measured(self, answers: Mapping[str, Answers], material: Material) -> dict[str, dict[str, float]]:
        """Return the `figures` on the test examples of models by name."""

    def answers(self, student: Student) -> Answers:
        """Return the outputs of a student."""
        return Answers(partial(self.predicted, student))

    def answers_of_t(self) -> Answers:
        """Return the outputs of T."""
        return Answers(self.wanted)

    def static(self, material: Material) -> Student | None:
        """Return a model without layers that needs no training, if the task has one."""
        return None

    def save(self, student: Student, folder: Path, facts: Mapping[str, Any]) -> None:
        """Write a student into a new directory as a model of T's kind, with its model card."""
        name = self.teacher.name
        self.teacher.save_network(student.network, folder)
        describe_model(
            folder,
            facts,
            {"tags": "[knowledge-distillation, fsp]"},
            f"A subarchitecture of {name}",
            f"Cut out of {name} and distilled by fsp to match {self.matches}; {self.loaded_by}.",
            table(facts),
            f"Error: {self.compares}, where T is the teacher.",
        )

    def elsewhere(self, data: Data, settings: SurrogateSettings, making: Making) -> dict[str, Material]:
        """Return examples of other kinds of text by name, all in the test part; none where there are none."""
        return {}

    def check_savable(self) -> None:
        """Raise InputError if students cannot be saved; called before long work."""
        self.teacher.check_savable()

    def calls(self, students: Mapping[str, Student], length: int) -> dict[str, Callable[[], object]]:
        """Return what is timed for T and for students: one forward pass as the saved model is used, batch 1."""
        inputs = self.one(length)
        networks = {"T": self.teacher.network, **{name: one.network for name, one in students.items()}}
        return {name: partial(network, **inputs) for name, network in networks.items()}

    def one(self, length: int) -> dict[str, Tensor]:
        """Return one sample as the arguments of a forward pass; of text, random tokens."""
        teacher, place = self.teacher, self.teacher.device.torch
        if teacher.tokenizer is None:
            inputs = teacher.family.inputs(teacher.constants, batch=1, length=length)
            return {name: value.to(place) for name, value in inputs.items()}
        count, vocabulary = min(length, longest_input(teacher.network.config)), teacher.network.config.vocab_size
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(min(5, vocabulary - 1), vocabulary, (1, count), generator=generator)
        return {"input_ids": ids.to(place)}

    def loss(self, student: Student, batch: Batch) -> Tensor:
        """Return the training loss of a batch."""
        return self.comparison.loss(self.predicted(student, batch).float(), self.wanted(batch))

    @torch.inference_mode()
    def error(self, student: Student, examples: Examples) -> float:
        """Return the error over examples; NaN if any value is."""
        return self.error_of(self.answers(student), examples)

    @torch.inference_mode()
    def error_of(self, answers: Answers, examples: Examples) -> float:
        """Return the error of any model's outputs over examples; NaN if any value is."""
        return self.comparison.error(self._pairs(answers, examples))

    def _pairs(self, answers: Answers, examples: Examples) -> Iterator[tuple[Tensor, Tensor]]:
        device = self.teacher.device
        for batch in examples.batches(_BATCH):
            placed = batch.to(device.torch)

            def pair(first: int, last: int, placed: Batch = placed) -> tuple[Tensor, Tensor]:
                with device.computing():
                    found = answers.batch(placed[first:last]).float()
                return found, self.wanted(placed[first:last])

            yield from in_parts(len(placed), len(placed), pair)

    def outputs(self, making: Making, what: str) -> Outputs:
        """Return the store of T's outputs of a kind."""
        teacher = self.teacher
        key = f"{teacher.fingerprint} {what} {teacher.device.kind}"
        return Outputs(key, making.cache, teacher.device, making.display)


def evenly(count: int, wanted: int, seed: int = 0) -> np.ndarray:
    """Return at most so many rows in a random order that spreads them evenly."""
    return np.random.default_rng(seed).permutation(count)[: max(1, wanted)]
