"""The tasks `masked` and `causal`: what a language model's head predicts, at masked positions or for every token."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from fsp.distillation.cutting import Cut
from fsp.distillation.examples import Batch, Material
from fsp.distillation.losses import cross_entropy
from fsp.distillation.masking import Masking
from fsp.distillation.networks import last_states, token_logits
from fsp.distillation.settings import SurrogateSettings
from fsp.distillation.student import Student
from fsp.distillation.tasks.comparing import Divergence
from fsp.distillation.tasks.task import READOUT_TOKENS, Answers, Data, Making, Task
from fsp.distillation.tasks.text import blocks_elsewhere, blocks_of
from fsp.distillation.teacher import Teacher

_BATCH = 32  # blocks per forward pass where nothing is trained


class _LanguageTask(Task):
    """KL(T ‖ student) between the distributions of tokens that the two networks' heads predict."""

    matches = "its predictions of tokens"
    figures: ClassVar[Mapping[str, str]] = {"perplexity": "perplexity", "agreement": "agreement"}
    larger_is_better = ("agreement",)

    def __init__(self, teacher: Teacher):
        super().__init__(teacher)
        self.comparison = Divergence()

    def _masking(self) -> Masking | None:
        return None

    def material(self, data: Data, settings: SurrogateSettings, making: Making) -> Material:
        """Pack text into blocks and compute T's last states for them, which its head reads."""
        store = self.outputs(making, "states")
        found = blocks_of(self.teacher, data, settings, store, self._masking())
        compute = partial(last_states, self.teacher.network)
        train = store.of(found[0], compute, training=True)
        validation, test = (store.of(part, compute) for part in found[1:])
        rows = np.arange(min(len(train), READOUT_TOKENS // settings.length))
        return Material(train, validation, test, train.take(rows).inputs)

    def elsewhere(self, data: Data, settings: SurrogateSettings, making: Making) -> dict[str, Material]:
        """Return blocks of other kinds of text."""
        return blocks_elsewhere(self.teacher, data, settings, self.outputs(making, "states"), self._masking())

    def fresh(self, cut: Cut) -> Student:
        """Return the cut, which has a head of its own."""
        return Student(cut.network, self.teacher.family)

    def predicted(self, student: Student, batch: Batch) -> Tensor:
        """Return the student's logits at the sites, `sites x V`."""
        return self._logits(student.network, last_states(student.network, batch.inputs), batch)

    def wanted(self, batch: Batch) -> Tensor:
        """Return T's logits at the sites, `sites x V`."""
        with torch.no_grad():
            return self._logits(self.teacher.network, batch.target, batch).float()

    def _logits(self, network: Any, states: Tensor, batch: Batch) -> Tensor:
        anatomy = self.teacher.family.anatomy
        assert anatomy is not None
        sites = states.flatten(0, 1) if batch.sites is None else states[batch.sites]
        return token_logits(network, anatomy, sites)

    @torch.inference_mode()
    def measured(self, answers: Mapping[str, Answers], material: Material) -> dict[str, dict[str, float]]:
        """Return the perplexity on the true tokens of the test part, and how often the likeliest token is T's."""
        test, device = material.test, self.teacher.device.torch
        loss = dict.fromkeys(answers, 0.0)
        agreeing, count = dict.fromkeys(loss, 0.0), 0
        for rows in test.rows(_BATCH):
            batch = test.take(rows).to(device)
            assert test.labels is not None
            known, labels = self._labelled(torch.from_numpy(np.asarray(test.labels[rows])).to(device), batch)
            theirs = self.wanted(batch)[known]
            count += len(labels)
            for name in loss:
                own = answers[name].batch(batch).float().to(theirs.device)[known]
                loss[name] += float(cross_entropy(own, labels)[0])
                agreeing[name] += float((own.argmax(dim=-1) == theirs.argmax(dim=-1)).sum())
        return {
            name: {"perplexity": math.exp(loss[name] / count), "agreement": agreeing[name] / count} for name in loss
        }

    def _labelled(self, tokens: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return which sites have a true token, and these tokens."""
        raise NotImplementedError


class MaskedTask(_LanguageTask):
    """KL(T ‖ student) at masked positions."""

    name = "masked"
    loaded_by = "AutoModelForMaskedLM and AutoTokenizer load it"
    compares = "KL(T ‖ student) in nats at masked positions"

    def _masking(self) -> Masking:
        return Masking.of(self.teacher.tokenizer)

    def _labelled(self, tokens: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        assert batch.sites is not None
        labels = tokens[batch.sites]
        return torch.ones_like(labels, dtype=torch.bool), labels


class CausalTask(_LanguageTask):
    """KL(T ‖ student) for the next token at every position."""

    name = "causal"
    loaded_by = "AutoModelForCausalLM and AutoTokenizer load it"
    compares = "KL(T ‖ student) in nats for every next token"

    def _labelled(self, tokens: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        following = torch.cat([tokens[:, 1:], torch.full_like(tokens[:, :1], -1)], dim=1).flatten()
        known = following >= 0
        return known, following[known]
