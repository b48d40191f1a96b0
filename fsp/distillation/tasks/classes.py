"""The task `classes`: the class probabilities of a classifier of text, images or vectors."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from fsp.base.errors import InputError
from fsp.distillation.cutting import Cut
from fsp.distillation.examples import Batch, Examples, Material
from fsp.distillation.models.loading import longest_input
from fsp.distillation.networks import outputs
from fsp.distillation.samples import Part, Samples
from fsp.distillation.settings import SurrogateSettings
from fsp.distillation.student import Student
from fsp.distillation.tasks.comparing import Divergence
from fsp.distillation.tasks.task import READOUT_TOKENS, Answers, Data, Making, Task
from fsp.distillation.tasks.text import encoded, padded
from fsp.distillation.teacher import Teacher
from fsp.distillation.text.corpus import Corpus
from fsp.distillation.text.segmentation import sentences

_CALIBRATION = 2048  # samples on which cuts of networks without tokens are healed
_LONGEST = 512  # tokens; longer texts are cut
_BATCH = 32  # samples per forward pass where nothing is trained


class ClassesTask(Task):
    """KL(T ‖ student) between the probabilities of classes."""

    name = "classes"
    loaded_by = "it is loaded as its teacher is"
    compares = "KL(T ‖ student) in nats between the probabilities of classes"
    matches = "its classes"
    figures: ClassVar[Mapping[str, str]] = {"agreement": "agreement", "accuracy": "accuracy"}
    larger_is_better = tuple(figures)
    unit = "samples"
    batch = 32

    def __init__(self, teacher: Teacher):
        super().__init__(teacher)
        self.comparison = Divergence()

    def material(self, data: Data, settings: SurrogateSettings, making: Making) -> Material:
        """Make inputs of the samples and compute T's logits for them; a corpus gives its sentences as samples."""
        if isinstance(data, Corpus):
            parts = [Part(sentences(texts), None) for texts in (data.train, data.validation, data.test)]
        else:
            assert isinstance(data, Samples)
            parts = [data.train, data.validation, data.test]
        store = self.outputs(making, "logits")
        budgets = max(settings.tokens, _CALIBRATION), settings.held_out_tokens, settings.held_out_tokens
        train, validation, test = (
            store.of(
                self._examples(part, wanted, settings.length),
                partial(outputs, self.teacher.network),
                half=False,
                training=part is parts[0],
            )
            for part, wanted in zip(parts, budgets, strict=True)
        )
        sizes = train.target.shape[1:]
        if len(sizes) != 1 or sizes[0] < 2:
            given = " x ".join(map(str, ("n", *sizes)))
            raise InputError(
                f"teacher {self.teacher.name}: its network gives {given} numbers; fsp compares the logits of "
                "two classes or more, n x classes"
            )
        return Material(train, validation, test, self._calibration(train))

    def _examples(self, part: Part, wanted: int, length: int) -> Examples:
        chosen = part.inputs[:wanted]  # they come in the order of a hash
        labels = None if part.labels is None else part.labels[:wanted]
        if isinstance(chosen, list):
            longest = min(_LONGEST, longest_input(self.teacher.network.config))
            tokenizer = self.teacher.tokenizer
            tokens = encoded(tokenizer, chosen, longest)
            if [] in tokens:
                empty = chosen[tokens.index([])]
                raise InputError(f"the text {empty!r:.60} has no tokens in T's vocabulary; remove it from the data")
            inputs: Any = padded(tokens, tokenizer.pad_token_id)
        else:
            inputs = {self._input: chosen}
        return Examples(inputs, np.empty((len(chosen), 0), np.float32), None, labels, self.batch * length)

    @property
    def _input(self) -> str:
        family = self.teacher.family
        return next(iter(family.inputs(self.teacher.constants, batch=1, length=1)))

    def _calibration(self, train: Examples) -> dict[str, Tensor]:
        """Return inputs on which cuts are healed; of texts, those of the commonest lengths, cut to one length."""
        if train.lengths is None:
            return train.take(np.arange(min(len(train), _CALIBRATION))).inputs
        order = np.argsort(-train.lengths, kind="stable")
        length = int(train.lengths[order[len(order) // 4]])  # three quarters of the texts are shorter
        long = np.sort(order[: max(1, len(order) // 4)])[: max(1, READOUT_TOKENS // length)]
        inputs = train.take(long).inputs
        return {"input_ids": inputs["input_ids"][:, :length]}

    def fresh(self, cut: Cut) -> Student:
        """Return the cut, which has a head of its own."""
        return Student(cut.network, self.teacher.family)

    def predicted(self, student: Student, batch: Batch) -> Tensor:
        """Return the student's logits."""
        return outputs(student.network, batch.inputs)

    def wanted(self, batch: Batch) -> Tensor:
        """Return T's logits."""
        return batch.target

    @torch.inference_mode()
    def measured(self, answers: Mapping[str, Answers], material: Material) -> dict[str, dict[str, float]]:
        """Return the share of the test samples of T's class, and of the right one if that is known."""
        test, device = material.test, self.teacher.device.torch
        found: dict[str, dict[str, float]] = {}
        theirs = torch.from_numpy(np.array(test.target)).argmax(dim=-1)
        for name, one in answers.items():
            own = torch.empty_like(theirs)
            for rows in test.rows(_BATCH):
                own[rows] = one.batch(test.take(rows).to(device)).argmax(dim=-1).cpu()
            found[name] = {"agreement": float((own == theirs).float().mean())}
            if test.labels is not None:
                found[name]["accuracy"] = float((own == torch.from_numpy(np.array(test.labels))).float().mean())
        return found
