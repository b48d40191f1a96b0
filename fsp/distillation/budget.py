"""What final distillations cost, and how many tokens a budget in minutes allows."""

import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice

import torch

from fsp.base.files import read_json, write_json
from fsp.distillation.error import Distillation
from fsp.distillation.fitting import fit
from fsp.distillation.networks import last_states, outputs
from fsp.distillation.settings import Budget, SurrogateSettings
from fsp.distillation.tasks.task import Data, Making
from fsp.families.architecture import Architecture

_TIMED = 12  # steps, and batches of T's
_LEFT_OUT = 2  # of them, the first ones


@dataclass(frozen=True)
class Cost:
    """Seconds per token, or per sample.

    Attributes:
        outputs: of computing T's outputs.
        training: of one epoch of a student.
    """

    outputs: float
    training: float

    @classmethod
    def measured(cls, error: Distillation, architecture: Architecture) -> "Cost":
        """Time T and training steps of a student of a shape, which is thrown away."""
        teacher = error.teacher
        batches = list(islice(error.batches(seed=0), _TIMED))
        units = [error.units_in(batch) for batch in batches]
        forward = outputs if error.task.name == "classes" else last_states
        ends = [time.perf_counter()]
        for batch in batches:
            with torch.inference_mode(), teacher.device.computing(training=True):
                teacher.device.finished(partial(forward, teacher.network, batch.inputs))()
            ends.append(time.perf_counter())
        passes = _per_unit(ends, units)
        student = error.student(architecture)
        ends = [time.perf_counter()]
        fit(
            student.eval().requires_grad_(True),
            error.task.loss,
            batches,
            steps=len(batches),
            learning_rate=0.0,
            device=teacher.device,
            after_step=lambda step, loss: ends.append(time.perf_counter()),
        )
        return cls(passes, _per_unit(ends, units))


def _per_unit(ends: list[float], units: list[int]) -> float:
    """Return the seconds per unit, the first batches left out if there are others."""
    skipped = min(_LEFT_OUT, len(units) - 1)
    return (ends[-1] - ends[skipped]) / sum(units[skipped:])


def extended(
    error: Distillation,
    choice: Architecture,
    data: Data,
    settings: SurrogateSettings,
    budget: Budget,
    making: Making,
) -> tuple[Distillation, int]:
    """Return the error on the text of the final distillations, and on how many tokens, or samples, each trains.

    What minutes allow is measured once and kept in the folder of T's outputs, so that a run that goes on trains as it
    would have done.

    Args:
        error: the surrogate error of the search.
        choice: the shape whose training is timed.
        data: the data that the error is of.
        settings: settings of the error.
        budget: what is to be spent.
        making: where T's outputs are kept.
    """
    task, path = error.task, making.cache / "budget.json"
    if not path.exists():
        cost = None if budget.minutes is None else Cost.measured(error, choice)
        making.cache.mkdir(parents=True, exist_ok=True)
        write_json(path, None if cost is None else asdict(cost))
    known = read_json(path)
    cost = None if known is None else Cost(**known)
    wanted = budget.tokens if cost is None else affordable(budget, cost)
    if wanted > settings.tokens:
        error = error.on(task.material(data, replace(settings, tokens=wanted), making))
    train = error.material.train
    return error, trained_tokens(budget, train.tokens if task.unit == "tokens" else len(train), cost)


def affordable(budget: Budget, cost: Cost) -> int:
    """Return how many tokens of text `minutes` allow, if each is seen `epochs` times.

    Example:
        >>> affordable(Budget(epochs=2, minutes=1), Cost(outputs=0.01, training=0.025))
        1000
    """
    assert budget.minutes is not None
    return max(1, round(60 * budget.minutes / (cost.outputs + budget.epochs * cost.training)))


def trained_tokens(budget: Budget, text: int, cost: Cost | None) -> int:
    """Return on how many tokens, repeated ones counted, a student is trained, if the text has `text` of them.

    Example:
        >>> trained_tokens(Budget(epochs=2), 1000, None)
        2000
        >>> trained_tokens(Budget(epochs=2, minutes=1), 1000, Cost(outputs=0.01, training=0.005))
        10000
    """
    if budget.minutes is None or cost is None:
        return budget.epochs * min(budget.tokens, text)
    left = 60 * budget.minutes - cost.outputs * text
    return max(text, round(left / cost.training))
