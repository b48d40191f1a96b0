"""Does knowledge distillation help? {cut out of T, random} x {KD, none}, at the same tokens and at the same FLOPs.

    python experiments/distillation/run.py TEACHER CORPUS... --snippets FILE [--steps N] [--seeds N] [--shape ...]

TEACHER: a masked language model's directory. CORPUS: text files or folders. FILE: tab-separated movie snippets (id,
mean rating, text) of the vaderSentiment 3.3.2 source distribution, additional_resources/hutto_ICWSM_2014.tar.gz.

Every run resumes where it was, so the command can be repeated until it is done. Writes results.csv beside this file:
one row a run, with held-out accuracy and perplexity, and the accuracy of a logistic regression on frozen mean-pooled
states of the snippets (five-fold cross-validation). Rows of budget `flops` train without teacher for as many more steps
as the teacher's passes would cost.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import torch

from fsp.files import read_json
from fsp.pretraining.flops import forward_flops
from fsp.pretraining.models import LanguageModel, load_language_model
from fsp.pretraining.run import Options, pretrain
from fsp.pretraining.settings import Settings
from fsp.pretraining.students import random_student, student_config
from fsp.space import Architecture

HERE = Path(__file__).parent
COLUMNS = ["init", "teacher", "budget", "seed", "steps", "accuracy", "perplexity", "probe"]
_SURE = 0.25  # snippets rated nearer to neutral have no clear label


def snippets(path: Path) -> tuple[list[str], np.ndarray]:
    texts, labels = [], []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        _, rating, text = line.split("\t")[:3]
        if abs(float(rating)) >= _SURE:
            texts.append(text)
            labels.append(float(rating) > 0)
    return texts, np.array(labels)


@torch.inference_mode()
def features(folder: Path, texts: list[str]) -> np.ndarray:
    loaded = load_language_model(folder, what="student")
    found = []
    for i in range(0, len(texts), 64):
        batch = loaded.tokenizer(texts[i : i + 64], padding=True, truncation=True, max_length=64, return_tensors="pt")
        states = loaded.model.body(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        mask = batch["attention_mask"][..., None]
        found.append(((states.last_hidden_state * mask).sum(1) / mask.sum(1)).numpy())
    return np.concatenate(found)


def probe(folder: Path, texts: list[str], labels: np.ndarray) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, C=0.1))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return float(cross_val_score(model, features(folder, texts), labels, cv=folds).mean())


def steps_at_equal_flops(teacher: LanguageModel, shape: Architecture, settings: Settings) -> int:
    student = random_student(student_config(teacher.config, shape), head=True, causal=False, seed=0)
    own, taught = (
        forward_flops(model, length=settings.length, positions=settings.mask_rate, head=True)
        for model in (student, teacher)
    )
    return round(settings.steps * (3 * own + taught) / (3 * own))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("teacher", type=Path)
    parser.add_argument("corpus", nargs="+", type=Path)
    parser.add_argument("--snippets", type=Path, required=True)
    parser.add_argument("--shape", default="D=1 A=2 H=128 I=256")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    shape = Architecture.parse(given.shape)
    teacher = load_language_model(given.teacher).model
    texts, labels = snippets(given.snippets)
    path = HERE / "results.csv"
    done = list(csv.DictReader(path.open())) if path.exists() else []
    known = {tuple(row[name] for name in COLUMNS[:4]) for row in done}
    options = Options(cache_text=HERE / "runs" / "text", threads=given.threads, evaluate_every=1000)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not done:
            writer.writeheader()
        for seed in range(given.seeds):
            for init in ("cut", "random"):
                for taught, budget in (("KD", "tokens"), ("none", "tokens"), ("none", "flops")):
                    if (init, taught, budget, str(seed)) in known:
                        continue
                    settings = Settings(steps=given.steps, init=init, seed=seed)
                    if budget == "flops":
                        settings = Settings(steps=steps_at_equal_flops(teacher, shape, settings), init=init, seed=seed)
                    out = HERE / "runs" / f"{init}-{taught}-{budget}-{seed}"
                    if not (out / "fsp.json").exists():
                        pretrain(
                            shape,
                            out,
                            teacher=given.teacher,
                            corpus=given.corpus,
                            settings=settings,
                            use_teacher=taught == "KD",
                            options=options,
                            watched=True,
                        )
                    results = read_json(out / "fsp.json")["results"]
                    row = {"init": init, "teacher": taught, "budget": budget, "seed": seed, "steps": settings.steps}
                    row |= {name: f"{results[name]:.4f}" for name in ("accuracy", "perplexity")}
                    writer.writerow({**row, "probe": f"{probe(out, texts, labels):.4f}"})
                    file.flush()


if __name__ == "__main__":
    main()
