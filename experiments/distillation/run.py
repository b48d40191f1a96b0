"""Does knowledge distillation help? {cut out of T, random} x {KD, none}, at the same tokens and at the same FLOPs.

    python experiments/distillation/run.py runs/texts runs/kd runs/sentiment --worker 0 --workers 2 &   # and --worker 1

The first folder is the text of texts.py, the second that of teacher.py, the third the data of
experiments/agora/fetch.py. A row of results.csv is a function of (init, taught, budget, seed) alone; repeated, the
command does what is missing. Budget `tokens`: STEPS steps of 16 blocks of 64 tokens. `flops`: without teacher, for as
many more steps as the teacher's forward passes would cost. `none`: the student before its first step.
"""

import argparse
import csv
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fsp import Architecture, pretrain
from fsp.base import Progress
from fsp.distillation.pretraining.batches import HELD_OUT_EPOCH
from fsp.distillation.pretraining.documents import find_sources
from fsp.distillation.pretraining.flops import forward_flops
from fsp.distillation.pretraining.models import LanguageModel, Pretrained, load_language_model
from fsp.distillation.pretraining.packed import pack
from fsp.distillation.pretraining.preparing import batches_of, learner_of
from fsp.distillation.pretraining.settings import Options, PretrainingSettings
from fsp.distillation.pretraining.students import random_student
from fsp.distillation.pretraining.teacher_outputs import LiveTeacher

SHAPE = Architecture.parse("D=2 A=4 H=128 I=512")
STEPS, SEEDS = 600, 3
BASE = PretrainingSettings(steps=STEPS, batch=16, length=64, learning_rate=1e-3, kl=1.0, mlm=0.1, temperature=2.0)
ARMS = [("none", "none"), ("KD", "tokens"), ("none", "tokens"), ("none", "flops")]  # taught, budget
COLUMNS = ["init", "taught", "budget", "seed", "steps", "pflop", "accuracy", "perplexity", "agreement"]
COLUMNS += ["movies", "sentences"]
HELD_OUT = 1024  # blocks
RESULTS = Path(__file__).parent / "results.csv"


def flops(model: LanguageModel) -> float:
    """Return the operations of one forward pass through a step's blocks."""
    tokens = BASE.batch * BASE.length
    return tokens * forward_flops(model, length=BASE.length, positions=BASE.mask_rate, head=True)


def settings_of(
    init: str, taught: str, budget: str, seed: int, teacher: LanguageModel
) -> tuple[PretrainingSettings, float]:
    """Return the settings of a run and what its training costs, in 10^15 operations."""
    own = 3 * flops(random_student(teacher, SHAPE, head=True, seed=0))
    step = own + flops(teacher)
    if budget == "none":
        return replace(BASE, init=init, seed=seed, steps=1, learning_rate=1e-12), 0.0
    if budget == "flops":
        steps = round(STEPS * step / own)
        return replace(BASE, init=init, seed=seed, steps=steps), steps * own / 1e15
    return replace(BASE, init=init, seed=seed), STEPS * (step if taught == "KD" else own) / 1e15


@torch.inference_mode()
def embed(loaded: Pretrained, texts: list[str]) -> np.ndarray:
    """Return mean-pooled last hidden states."""
    found = []
    for start in range(0, len(texts), 64):
        batch = loaded.tokenizer(
            texts[start : start + 64], padding=True, truncation=True, max_length=64, return_tensors="pt"
        )
        states = loaded.model.body(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        mask = batch["attention_mask"][..., None]
        found.append(((states.last_hidden_state * mask).sum(1) / mask.sum(1)).numpy())
    return np.concatenate(found)


def probe(loaded: Pretrained, table: pd.DataFrame) -> float:
    """Return the five-fold accuracy of logistic regression on frozen states."""
    labels = (table["label"] == "positive").to_numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return float((cross_val_predict(model, embed(loaded, table["text"].tolist()), labels, cv=folds) == labels).mean())


def measures(folder: Path, teacher: Pretrained, corpus: Path, text: Path, probes: Path) -> dict[str, float]:
    """Return everything a model is judged by; the masked positions are the same for all."""
    loaded = load_language_model(folder, what="student")
    packed = pack(find_sources([corpus]), teacher.tokenizer, text, length=BASE.length, display=Progress(), writes=False)
    held_out = batches_of(packed, teacher, BASE)["held_out"]
    rows = np.linspace(0, len(held_out.stream) - 1, HELD_OUT).astype(np.int64)
    learner = learner_of(loaded.model, teacher.model, BASE).eval()
    compared = LiveTeacher(teacher.model, logits=True, states=False)
    sums: dict[str, float] = {}
    for part in np.array_split(rows, HELD_OUT // 16):
        batch = held_out.of(part, np.full(len(part), HELD_OUT_EPOCH))
        for name, value in learner.measure(batch, compared(batch)).items():
            sums[name] = sums.get(name, 0.0) + float(value)
    count = sums["positions"]
    return {
        "accuracy": sums["correct"] / count,
        "perplexity": float(np.exp(sums["mlm"] / count)),
        "agreement": sums["agreeing"] / count,
        **{name: probe(loaded, pd.read_csv(probes / f"{name}.csv")) for name in ("movies", "sentences")},
    }


def rows_there() -> set[tuple[str, ...]]:
    if not RESULTS.exists():
        return set()
    with RESULTS.open(newline="") as file:
        return {tuple(row[name] for name in COLUMNS[:4]) for row in csv.DictReader(file)}


def add(row: dict[str, Any]) -> None:
    text = {name: f"{value:.4f}" if isinstance(value, float) else str(value) for name, value in row.items()}
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not file.tell():
            writer.writeheader()
        writer.writerow(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("probes", type=Path)
    parser.add_argument("--worker", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    teacher = load_language_model(given.out / "teacher")
    text = given.out / "text"
    todo: list[tuple[str, str, str, int]] = [("T", "", "", 0)]
    for seed, (taught, budget), init in product(range(SEEDS), ARMS, ("cut", "random")):
        todo.append((init, taught, budget, seed))
    for init, taught, budget, seed in todo[given.worker :: given.workers]:
        if (init, taught, budget, str(seed)) in rows_there():
            continue
        row: dict[str, Any] = {"init": init, "taught": taught, "budget": budget, "seed": seed}
        folder = given.out / "teacher"
        if init != "T":
            settings, row["pflop"] = settings_of(init, taught, budget, seed, teacher.model)
            row["steps"] = settings.steps
            folder = given.out / f"{init}-{taught}-{budget}-{seed}"
            pretrain(
                SHAPE,
                folder,
                teacher=given.out / "teacher",
                corpus=[given.corpus],
                settings=settings,
                use_teacher=taught == "KD",
                options=Options(cache_text=text, threads=1, evaluate_every=settings.steps, checkpoint_every=250),
            )
        add(row | measures(folder, teacher, given.corpus, text, given.probes))
        print(init, taught, budget, seed, "done", flush=True)


if __name__ == "__main__":
    main()
