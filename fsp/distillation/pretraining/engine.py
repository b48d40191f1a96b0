"""The training loop, the same for one process and for many; it uses Hugging Face Accelerate."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fsp.distillation.fitting import adamw, learning_rate_at
from fsp.distillation.pretraining import checkpoints
from fsp.distillation.pretraining.batches import Batches
from fsp.distillation.pretraining.health import Health
from fsp.distillation.pretraining.settings import Options, PretrainingSettings
from fsp.distillation.pretraining.student_losses import StudentWithLosses
from fsp.distillation.pretraining.teacher_cache import Teach
from fsp.distillation.pretraining.teacher_outputs import TeacherOutputs

if TYPE_CHECKING:
    from accelerate import Accelerator

_OPTIMISER = "optimiser."


@dataclass(frozen=True)
class TrainingResult:
    """The outcome of a training.

    Attributes:
        steps: total number of steps done.
        skipped: number of batches skipped.
        finished: False if a signal stopped the run early.
    """

    steps: int
    skipped: int
    finished: bool


class Engine:
    """Trains a student; every step is a function of (settings, seed, step) and of the weights.

    Args:
        accelerator: result of `accelerator_for`.
        learner: the student with its losses.
        batches: the training blocks; each step takes `settings.batch` of them over all processes.
        teach: returns the teacher's outputs for a batch; None without a teacher.
        settings: settings of the run.
        options: options that do not change the result.
        checkpoints_in: folder of the checkpoints.
        after_step: called after every step with its record, the same in every process.
        evaluate: called every `evaluate_every` steps and after the last, in every process.

    Raises:
        ValueError: the batch cannot be divided among processes and passes.
    """

    def __init__(
        self,
        accelerator: "Accelerator",
        learner: StudentWithLosses,
        batches: Batches,
        teach: Teach | None,
        settings: PretrainingSettings,
        options: Options,
        checkpoints_in: Path,
        *,
        after_step: Callable[[dict[str, Any]], object] = lambda record: None,
        evaluate: Callable[["Engine", int], object] = lambda engine, step: None,
    ):
        self.accelerator, self.batches, self.teach = accelerator, batches, teach
        self._settings, self._options, self._checkpoints = settings, options, checkpoints_in
        self._after_step, self._evaluate = after_step, evaluate
        parts = accelerator.num_processes * settings.accumulate
        self._share, left = divmod(settings.batch, parts)
        if left or not self._share:
            raise ValueError(f"{settings.batch} blocks per step cannot be divided by {parts}")
        self.learner = learner
        if accelerator.num_processes == 1 and not settings.compile:
            learner.join_table_gradients()
        self.model, self._optimiser = accelerator.prepare(
            learner,
            adamw(
                learner,
                settings.learning_rate,
                settings.weight_decay,
                betas=(0.9, settings.beta2),
                eps=settings.epsilon,
            ),
        )
        self._health = Health(options.most_skipped)
        self._counts = learner.counts(
            settings.batch * batches.positions_a_block, settings.batch * batches.stream.length
        )
        self._stop = False

    def run(self) -> TrainingResult:
        """Train from the last checkpoint, or from the start, to the last step or until a SIGTERM.

        Raises:
            RunFailed: too many batches in a row were unusable, or a checkpoint cannot be written.
            InputError: the last checkpoint is damaged.
        """
        start = self._resume()
        with _on_sigterm(self._request_stop):
            for step in range(start, self._settings.steps):
                record, stopping = self._step(step)
                done = step + 1
                self._after_step(record)
                if done % self._options.evaluate_every == 0 or done == self._settings.steps:
                    self._evaluate(self, done)
                if stopping or done % self._options.checkpoint_every == 0 or done == self._settings.steps:
                    self._save(done)
                if stopping:
                    return TrainingResult(done, self._health.skipped, done == self._settings.steps)
        return TrainingResult(self._settings.steps, self._health.skipped, True)

    def _request_stop(self) -> None:
        self._stop = True

    def _step(self, step: int) -> tuple[dict[str, Any], bool]:
        """Do one step; return its record, and whether any process got a SIGTERM."""
        started = time.perf_counter()
        settings, accelerator = self._settings, self.accelerator
        torch.manual_seed(_seed(settings.seed, step, accelerator.process_index))  # for dropout; needs no saved state
        rate = settings.learning_rate * learning_rate_at(step, settings.steps, settings.warmup, settings.schedule)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self.model.train()
        sums: dict[str, Tensor] = {}
        for part in range(settings.accumulate):
            batch = self.batches.at(self._places(step, part)).to(accelerator.device)
            taught = self._taught(batch)
            last = part == settings.accumulate - 1
            with contextlib.nullcontext() if last else accelerator.no_sync(self.model):
                losses = self.model(batch, taught, self._counts)
                # wrappers average gradients over processes, but each process already divides by the global count
                accelerator.backward(losses["total"] * accelerator.num_processes)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value.detach()
        values = torch.stack([*sums.values(), torch.tensor(float(self._stop), device=accelerator.device)])
        *totals, stopping = accelerator.reduce(values, "sum").tolist()
        norm = float(accelerator.clip_grad_norm_(self.model.parameters(), settings.clip))
        losses_now = dict(zip(sums, totals, strict=True))
        reason = self._health.judge(losses_now["total"], norm)
        if reason is None:
            self._optimiser.step()
        elif accelerator.scaler is not None:
            accelerator.scaler.update()  # lowers the scale for the next step if gradients overflowed
        self._optimiser.zero_grad(set_to_none=True)
        record = {
            "step": step + 1,
            "loss": losses_now.pop("total"),
            **losses_now,
            "learning_rate": rate,
            "gradient_norm": norm,
            "skipped": reason,
            "seconds": time.perf_counter() - started,
        }
        return record, bool(stopping)

    def _taught(self, batch: Any) -> TeacherOutputs | None:
        if self.teach is None:
            return None
        with self.accelerator.autocast():
            return self.teach(batch)

    def _places(self, step: int, part: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the places in the sequence of blocks that this process takes in a part of a step."""
        first = step * self._settings.batch
        first += (part * self.accelerator.num_processes + self.accelerator.process_index) * self._share
        return np.arange(first, first + self._share)

    def _save(self, step: int) -> None:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        state: tuple[Any, Any] = get_state_dict(self.model, self._optimiser.optimizer, options=options)
        weights, optimiser = state
        if self.accelerator.is_main_process:
            tensors = {name: weights[name] for name, _ in self.learner.named_parameters()}  # tied weights once
            for name, moments in optimiser["state"].items():
                tensors |= {f"{_OPTIMISER}{name}.{key}": torch.as_tensor(value) for key, value in moments.items()}
            other = {"health": self._health.state(), "scaler": self._scaler_state()}
            checkpoints.save(self._checkpoints, step, tensors, other, keep=self._options.keep)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> int:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

        found = checkpoints.load(self._checkpoints)
        if found is None:
            return 0
        step, tensors, state = found
        options = StateDictOptions(full_state_dict=True, cpu_offload=True, strict=False)  # tied weights are saved once
        optimiser: Any = get_state_dict(self.model, self._optimiser.optimizer, options=options)[1]
        weights: dict[str, Any] = {name: tensors[name] for name, _ in self.learner.named_parameters()}
        for name, moments in optimiser["state"].items():
            for key in moments:
                moments[key] = tensors[f"{_OPTIMISER}{name}.{key}"]
        set_state_dict(
            self.model, self._optimiser.optimizer, model_state_dict=weights, optim_state_dict=optimiser, options=options
        )
        self._health.restore(state["health"])
        if self.accelerator.scaler is not None and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        return step

    def _scaler_state(self) -> dict[str, Any] | None:
        return self.accelerator.scaler.state_dict() if self.accelerator.scaler is not None else None


def accelerator_for(settings: PretrainingSettings) -> "Accelerator":
    """Return an Accelerator for the processes that torchrun or `accelerate launch` started, or for this one."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    precision = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}.get(settings.precision)
    if precision is None:
        has = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        precision = "bf16" if has else "no"
    AcceleratorState._reset_state()  # else a second run in this process would keep the precision of the first
    # without `cpu`, Accelerate would start a separate run in every process of a machine without GPU
    return Accelerator(mixed_precision=precision, cpu=not torch.accelerator.is_available())


def _seed(seed: int, step: int, process: int) -> int:
    return int(np.random.SeedSequence([seed, step, process]).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextlib.contextmanager
def _on_sigterm(action: Callable[[], None]) -> Iterator[None]:
    """Call `action` on SIGTERM instead of exiting; outside the main thread, signals are not changed."""
    try:
        before = signal.signal(signal.SIGTERM, lambda number, frame: action())
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
