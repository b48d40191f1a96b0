"""The task `states`: every token state of a bare encoder, read from the student's by a least-squares readout."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fsp.base.errors import Diverged
from fsp.distillation.cutting import Cut
from fsp.distillation.examples import Batch, Examples, Material
from fsp.distillation.networks import last_states
from fsp.distillation.settings import SurrogateSettings
from fsp.distillation.student import Student
from fsp.distillation.tasks.comparing import UnexplainedVariance
from fsp.distillation.tasks.task import READOUT_TOKENS, Answers, Data, Making, Task
from fsp.distillation.tasks.text import blocks_elsewhere, blocks_of

_RIDGE = 1e-6  # share of the mean diagonal; keeps the normal equations solvable when states are collinear
_BATCH = 32  # blocks per forward pass where nothing is trained
READOUT = "readout.safetensors"


class StatesTask(Task):
    """1 - R² of T's token states, as a least-squares readout of the student's states predicts them."""

    name = "states"
    loaded_by = "AutoModel loads it; readout.safetensors maps its states to T's"
    matches = "its token states"
    compares = "1 − R² of T's token states read from the student's"

    def material(self, data: Data, settings: SurrogateSettings, making: Making) -> Material:
        """Pack text into blocks and compute T's states for them."""
        store = self.outputs(making, "states")
        network = self.teacher.network
        found = blocks_of(self.teacher, data, settings, store, None)
        compute = partial(last_states, network)
        train = store.of(found[0], compute, training=True)
        validation, test = (store.of(part, compute) for part in found[1:])
        rows = READOUT_TOKENS // settings.length
        self._calibration = train[:rows]
        self.comparison = UnexplainedVariance(self._calibration.variance())
        calibration = self._calibration.take(torch.arange(len(self._calibration)).numpy()).inputs
        return Material(train, validation, test, calibration)

    def elsewhere(self, data: Data, settings: SurrogateSettings, making: Making) -> dict[str, Material]:
        """Return blocks of other kinds of text."""
        return blocks_elsewhere(self.teacher, data, settings, self.outputs(making, "states"), None)

    def fresh(self, cut: Cut) -> Student:
        """Return the cut with an empty readout."""
        return Student(cut.network, self.teacher.family, self._empty(cut.network))

    def _empty(self, network: Any) -> nn.Linear:
        shape = self.teacher.family.architecture_of(network.config)
        return nn.Linear(shape["H"], self.teacher.architecture["H"]).to(self.teacher.device.torch)

    def predicted(self, student: Student, batch: Batch) -> Tensor:
        """Return T's token states as predicted from the student's."""
        assert student.readout is not None
        return student.readout(last_states(student.network, batch.inputs)).flatten(0, 1)

    def wanted(self, batch: Batch) -> Tensor:
        """Return T's token states."""
        return batch.target.flatten(0, 1)

    def fit(self, student: Student, material: Material, states: Tensor | None = None) -> None:
        """Set the readout to the least-squares map from the student's token states to T's."""
        assert student.readout is not None
        fit_readout(student.readout, student.network, self._calibration, states)

    def refit(self, student: Student, material: Material) -> None:
        """Fit the readout again."""
        self.fit(student, material)

    def measured(self, answers: Mapping[str, Answers], material: Material) -> dict[str, dict[str, float]]:
        """Return no figures: the error says it all."""
        return {name: {} for name in answers}

    def save(self, student: Student, folder: Path, facts: Mapping[str, Any]) -> None:
        """Write the network, its tokenizer and the readout."""
        assert student.readout is not None
        super().save(student, folder, facts)
        readout = {name: value.contiguous().cpu() for name, value in student.readout.state_dict().items()}
        save_file(readout, folder / READOUT)

    def calls(self, students: Mapping[str, Student], length: int) -> dict[str, Callable[[], object]]:
        """Return a forward pass of T and of each student with its readout."""
        inputs = self.one(length)

        def call(student: Student) -> Tensor:
            assert student.readout is not None
            return student.readout(last_states(student.network, inputs))

        made: dict[str, Callable[[], object]] = {name: partial(call, one) for name, one in students.items()}
        return {"T": partial(last_states, self.teacher.network, inputs), **made}


@torch.no_grad()
def fit_readout(readout: nn.Linear, network: Any, examples: Examples, own_states: Tensor | None = None) -> None:
    """Set a readout to the least-squares map from a network's token states to T's over examples.

    Args:
        readout: changed in place.
        network: the student's network.
        examples: inputs with T's states.
        own_states: the network's states for the same inputs, `(n, length, h)`; computed if not given.

    Raises:
        Diverged: the network's states are not finite.
    """
    width = readout.in_features + 1
    gram = torch.zeros(width, width, dtype=torch.float64)
    moment = torch.zeros(width, readout.out_features, dtype=torch.float64)
    device = readout.weight.device
    for rows in examples.rows(_BATCH):
        batch = examples.take(rows).to(device)
        own = last_states(network, batch.inputs) if own_states is None else own_states[rows]
        own = own.flatten(0, 1).cpu().double()
        own = torch.cat([own, torch.ones(len(own), 1, dtype=torch.float64)], dim=1)
        gram += own.T @ own
        moment += own.T @ batch.target.flatten(0, 1).cpu().double()
    if not gram.isfinite().all():
        raise Diverged("the student's states are not finite")
    solution = torch.linalg.solve(gram + _RIDGE * gram.diagonal().mean() * torch.eye(width), moment)
    readout.weight.copy_(solution[:-1].T)
    readout.bias.copy_(solution[-1])
