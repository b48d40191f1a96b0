"""Pretraining Bort by knowledge distillation: fsp against Hugging Face's Trainer, on this machine's processor.

    python benchmarks/distillation.py [--json] [--rounds N] [--threads N]

Student: RoBERTa of Bort's shape ⟨4, 8, 1024, 768⟩ with 50,265 tokens; teacher: a random RoBERTa ⟨6, 12, 768, 3072⟩.
4 blocks of 128 tokens per step, 15% masked, losses 0.5 KL (temperature 2) + 0.1 MLM, AdamW, clipping, float32.

Compared, in interleaved rounds: fsp with a live teacher, fsp with the teacher's top 64 logits cached, a `Trainer` whose
`compute_loss` takes both losses from the logits of all positions, and one whose heads see the masked positions only.
The Trainer's time is that between its callbacks `on_step_begin` and `on_step_end`, without its data loader. Ratios are
those of the fastest steps, which other work on the machine disturbs least; medians are printed beside them.

FLOP of a step: tokens x (3 x the student's forward FLOP per token + the teacher's), see
`fsp.distillation.pretraining.flops`; the peak is the fastest float32 product of 2048 x 2048 matrices of the same run.
Memory: the peak resident size of a process of each kind (the median of five), less its size before the models are made,
code that is used for the first time later, weights, gradients and AdamW's moments.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from fsp.base import environment
from fsp.distillation.masking import Masking, PassMasking
from fsp.distillation.pretraining.batches import Batches
from fsp.distillation.pretraining.engine import Engine, accelerator_for
from fsp.distillation.pretraining.flops import forward_flops, peak_flops
from fsp.distillation.pretraining.models import LanguageModel
from fsp.distillation.pretraining.packed import Stream
from fsp.distillation.pretraining.settings import PRESETS, Options, PretrainingSettings
from fsp.distillation.pretraining.student_losses import StudentWithLosses
from fsp.distillation.pretraining.students import random_student
from fsp.distillation.pretraining.teacher_cache import CachedTeacher, Layout
from fsp.distillation.pretraining.teacher_outputs import LiveTeacher
from fsp.objectives.bort import SHAPE

VOCABULARY, LENGTH, BATCH, STEPS = 50_265, 128, 4, 3  # steps per round, the first of which is not timed
SETTINGS = PretrainingSettings(**{**PRESETS["bort"], "length": LENGTH, "batch": BATCH, "steps": 1000})
PROCESSES = 5  # of each kind, for memory: the allocator's leftovers differ by some 30 MB
KINDS = ("fsp", "fsp cached", "trainer", "trainer masked")


def teacher_model() -> Any:
    from transformers import RobertaConfig, RobertaForMaskedLM

    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 6, "num_attention_heads": 12, "hidden_size": 768, "intermediate_size": 3072}
    config = RobertaConfig(vocab_size=VOCABULARY, max_position_embeddings=514, type_vocab_size=1, **sizes)
    return RobertaForMaskedLM(config).eval().requires_grad_(False)


def all_batches() -> Batches:
    tokens = np.random.default_rng(0).integers(10, VOCABULARY, size=(LENGTH - 2) * 64).astype(np.uint16)
    masking = PassMasking(Masking(VOCABULARY - 1, (0, 1, 2, 3, VOCABULARY - 1), VOCABULARY), SETTINGS.mask_rate, 0)
    return Batches(Stream(tokens, LENGTH, 0, 2), masking, False, 0)


def fsp_steps(teacher: Any, cache: Path | None) -> Callable[[], list[float]]:
    """Return a function that does a round of steps and returns the seconds of each."""
    student = random_student(LanguageModel(teacher), SHAPE, head=True, dropout=SETTINGS.dropout, seed=0)
    batches = all_batches()
    teach: Any = LiveTeacher(LanguageModel(teacher), logits=True, states=False)
    if cache:
        layout = Layout(len(batches.stream), batches.positions_a_block, 64, SETTINGS.temperature, 0, VOCABULARY)
        teach = CachedTeacher(teach, cache, layout, {})
        for step in range(STEPS):
            teach(batches.at(np.arange(step * BATCH, (step + 1) * BATCH)))
    learner = StudentWithLosses(student, SETTINGS.weights, temperature=SETTINGS.temperature)
    engine = Engine(accelerator_for(SETTINGS), learner, batches, teach, SETTINGS, Options(), Path(os.devnull))

    def round_() -> list[float]:
        return [engine._step(step)[0]["seconds"] for step in range(STEPS)]

    return round_


def trainer_steps(teacher: Any, masked: bool) -> Callable[[], list[float]]:
    from transformers import Trainer, TrainerCallback, TrainingArguments

    student = random_student(LanguageModel(teacher), SHAPE, head=True, dropout=SETTINGS.dropout, seed=0).network
    batches = all_batches()

    def rows() -> list[dict[str, Any]]:
        found = []
        for step in range(STEPS):
            batch = batches.at(np.arange(step * BATCH, (step + 1) * BATCH))
            labels = torch.full((BATCH * LENGTH,), -100)
            labels[batch.positions] = batch.labels
            for tokens, wanted in zip(batch.tokens, labels.view(BATCH, LENGTH), strict=True):
                found.append({"input_ids": tokens, "labels": wanted})
        return found

    class Distiller(Trainer):
        def compute_loss(self, model: Any, inputs: Any, **_: Any) -> Any:
            tokens, labels = inputs["input_ids"], inputs["labels"].flatten()
            heat = SETTINGS.temperature
            if masked:
                at = labels >= 0
                own = model.lm_head(model.roberta(tokens).last_hidden_state.flatten(0, 1)[at])
                with torch.no_grad():
                    wanted = teacher.lm_head(teacher.roberta(tokens).last_hidden_state.flatten(0, 1)[at])
                mlm = F.cross_entropy(own, labels[at])
                kl = F.kl_div((own / heat).log_softmax(-1), (wanted / heat).softmax(-1), reduction="batchmean")
            else:
                own = model(tokens).logits.flatten(0, 1)
                with torch.no_grad():
                    wanted = teacher(tokens).logits.flatten(0, 1)
                mlm = F.cross_entropy(own, labels, ignore_index=-100)
                each = F.kl_div((own / heat).log_softmax(-1), (wanted / heat).softmax(-1), reduction="none").sum(-1)
                kl = each[labels >= 0].mean()
            return SETTINGS.kl * heat**2 * kl + SETTINGS.mlm * mlm

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.seconds: list[float] = []

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.started = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds.append(time.perf_counter() - self.started)

    folder = tempfile.mkdtemp()
    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=STEPS,
        per_device_train_batch_size=BATCH,
        learning_rate=SETTINGS.learning_rate,
        optim="adamw_torch_fused",
        max_grad_norm=SETTINGS.clip,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
        use_cpu=True,
    )
    clock = Clock()
    trainer = Distiller(model=student, args=arguments, train_dataset=rows(), callbacks=[clock])
    trainer._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(trainer.train_dataset)

    def round_() -> list[float]:
        clock.seconds.clear()
        trainer.train()
        return list(clock.seconds)

    return round_


def steps_of(kind: str, teacher: Any, folder: Path) -> Callable[[], list[float]]:
    if kind.startswith("fsp"):
        return fsp_steps(teacher, folder / "cache" if kind == "fsp cached" else None)
    return trainer_steps(teacher, masked=kind == "trainer masked")


def speeds(rounds: int) -> dict[str, Any]:
    teacher = teacher_model()
    with tempfile.TemporaryDirectory() as folder:
        steps = {kind: steps_of(kind, teacher, Path(folder)) for kind in KINDS}
        seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
        peak = 0.0
        for round_ in range(rounds):
            peak = max(peak, peak_flops(torch.device("cpu"), torch.float32))
            for kind in KINDS[round_ % 4 :] + KINDS[: round_ % 4]:
                seconds[kind] += steps[kind]()[1:]
    tokens = BATCH * LENGTH
    share = all_batches().positions_a_block / LENGTH
    student = random_student(LanguageModel(teacher), SHAPE, head=True, seed=0)
    own = 3 * tokens * forward_flops(student, length=LENGTH, positions=share, head=True)
    taught = tokens * forward_flops(LanguageModel(teacher), length=LENGTH, positions=share, head=True)
    fastest = {kind: min(values) for kind, values in seconds.items()}
    return {
        "seconds_a_step": fastest,
        "median_seconds_a_step": {kind: statistics.median(values) for kind, values in seconds.items()},
        "tokens_per_second": {kind: tokens / value for kind, value in fastest.items()},
        "peak_gflops": peak / 1e9,
        "student_gflop": own / 1e9,
        "teacher_gflop": taught / 1e9,
        "mfu_cached": own / fastest["fsp cached"] / peak,
        "speedup_over_trainer": fastest["trainer"] / fastest["fsp"],
        "speedup_over_masked_trainer": fastest["trainer masked"] / fastest["fsp"],
        "cache_gain": fastest["fsp"] / fastest["fsp cached"],
        "mfu": (own + taught) / fastest["fsp"] / peak,
    }


def memory_of_process() -> dict[str, int]:
    """Return what the kernel tells of this process's memory, in bytes; getrusage tells the parent's peak if larger."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {line[0].rstrip(":"): 1024 * int(line[1]) for line in lines if line[-1] == "kB"}


def activation_bytes(kind: str) -> int:
    """In a process of its own: the peak resident size above everything that stays."""
    import accelerate  # noqa: F401  (loaded before the size is taken)
    from transformers import RobertaForMaskedLM, Trainer, TrainingArguments  # noqa: F401

    torch.ones(8, 8, requires_grad=True).matmul(torch.ones(8, 8)).sum().backward()
    before = memory_of_process()
    teacher = teacher_model()
    with tempfile.TemporaryDirectory() as folder:
        steps_of(kind, teacher, Path(folder))()
    after = memory_of_process()
    code = after["RssFile"] - before["RssFile"]  # pages of libraries that were used for the first time
    student = random_student(LanguageModel(teacher), SHAPE, head=True, seed=0).network
    weights = sum(p.numel() for p in student.parameters())
    taught = sum(p.numel() for p in teacher.parameters())
    held = 4 * (4 * weights + taught)  # weights, gradients, two moments; the teacher's weights
    return after["VmHWM"] - before["VmRSS"] - code - held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the measures as the last line")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--memory-of", choices=KINDS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.memory_of:
        print(activation_bytes(given.memory_of))
        return
    result = speeds(given.rounds)
    memory = {}
    for kind in KINDS:
        command = [sys.executable, __file__, "--threads", str(given.threads), "--memory-of", kind]
        found = [subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout for _ in range(PROCESSES)]
        memory[kind] = int(statistics.median(int(text.split()[-1]) for text in found))
    result["activation_bytes"] = memory
    result["activation_memory_ratio"] = memory["fsp"] / memory["trainer"]
    print(json.dumps({**result, "environment": environment()}, indent=2))
    if given.json:
        names = ("speedup_over_trainer", "speedup_over_masked_trainer", "cache_gain", "mfu", "activation_memory_ratio")
        print(json.dumps({name: round(result[name], 3) for name in names}))


if __name__ == "__main__":
    main()
