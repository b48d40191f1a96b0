"""What export costs: differences of Bort's outputs, and predictions of a trained classifier that change.

    python experiments/agora/fetch.py runs/sentiment
    python experiments/speed/agreement.py runs/sentiment/movies.csv [--only bort | --only classifier]

Bort has random weights and the tokenizer of all-MiniLM-L6-v2, filled up. The classifier is that model, fine-tuned by
fsp on snippets of movie reviews; the last 1,000 rows of the file are held out of everything. Each part is written to
agreement.json beside this file as soon as it is there.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from transformers import AutoTokenizer

import fsp
from fsp import load_space
from fsp.base import Bars, write_json
from fsp.base.fingerprint import fingerprint
from fsp.deploy import load_saved
from fsp.deploy.exporting import session
from fsp.deploy.latency import parse_targets
from fsp.distillation import packaged_teacher
from fsp.finetuning import FinetuningSettings, Hyperparameters
from fsp.finetuning.finetune import finetune

OUT = Path(__file__).parent / "agreement.json"
TRAIN, DEV, HELD_OUT = 1000, 200, 1000
STEPS, BATCH = 100, 16
FORMATS = {"onnx": False, "int8": True}


def of_bort(folder: Path) -> dict[str, Any]:
    """Export Bort with random weights in both formats; what each comparison with torch found."""
    network = parse_targets(["bert_large", "D=4,A=8,H=1024,I=768"])[0].load().serving.network
    network.save_pretrained(folder / "bort")
    tokenizer = AutoTokenizer.from_pretrained(packaged_teacher(load_space("minilm").teacher))
    missing = network.config.vocab_size - len(tokenizer)  # an export takes a tokenizer of as many tokens
    tokenizer.add_tokens([f"[{k} of Bort]" for k in range(missing)])
    tokenizer.save_pretrained(folder / "bort")
    found = {}
    for name, int8 in FORMATS.items():
        facts = fsp.export(folder / "bort", folder / "bort" / name, int8=int8, display=Bars())
        found[name] = {key: value for key, value in facts.items() if key != "file"}
    return {"weights": "random", "exported": found, "environment": fingerprint()}


def of_classifier(folder: Path, table: pd.DataFrame) -> dict[str, Any]:
    """Train a classifier, export it in both formats and compare its predictions on texts it has not seen."""
    held_out = table.tail(HELD_OUT)
    parts = {"train": table[:TRAIN], "dev": table[TRAIN : TRAIN + DEV], "test": table[TRAIN + DEV : TRAIN + 2 * DEV]}
    for name, rows in parts.items():
        rows.to_csv(folder / f"{name}.csv", index=False)
    finetune(
        packaged_teacher(load_space("minilm").teacher),
        **{name: folder / f"{name}.csv" for name in parts},
        out=folder / "run",
        settings=FinetuningSettings(
            method="grid",
            theta=(Hyperparameters(learning_rate=1e-4, batch=BATCH),),
            steps=STEPS,
            threads=torch.get_num_threads(),
        ),
        display=Bars(),
    )
    model = folder / "run" / "model"
    exported = {name: fsp.export(model, model / name, int8=int8, display=Bars()) for name, int8 in FORMATS.items()}
    predicted = predictions(model, {name: Path(facts["file"]) for name, facts in exported.items()}, list(held_out.text))
    labels = {label: k for k, label in enumerate(sorted(table.label.unique()))}
    truth = held_out.label.map(labels).to_numpy()
    return {
        "model": "all-MiniLM-L6-v2",
        "trained": {"texts": TRAIN, "steps": STEPS, "batch": BATCH},
        "texts": len(held_out),
        "accuracy": {name: float((chosen == truth).mean()) for name, chosen in predicted.items()},
        "agreement": {name: share(predicted[name] == predicted["torch"]) for name in FORMATS},
        "all_three": share((predicted["onnx"] == predicted["torch"]) & (predicted["int8"] == predicted["torch"])),
        "exported": {
            name: {key: value for key, value in facts.items() if key != "file"} for name, facts in exported.items()
        },
        "environment": fingerprint(),
    }


def predictions(model: Path, files: dict[str, Path], texts: list[str]) -> dict[str, NDArray[np.int64]]:
    """Return the predicted class of each text in torch and in each exported file, `(n,)` each."""
    saved = load_saved(model)
    sessions = {name: session(path) for name, path in files.items()}
    found: dict[str, list[NDArray[np.int64]]] = {name: [] for name in ("torch", *files)}
    with Bars().bar("predicting", len(texts)) as advance:
        for text in texts:  # one at a time: what others stand beside it must not decide what is predicted
            encoded = saved.tokenizer([text], truncation=True, max_length=saved.serving.longest, return_tensors="pt")
            inputs = {name: encoded[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
            with torch.inference_mode():
                found["torch"].append(saved.serving(**inputs)[0].numpy().argmax(axis=-1))
            feed = {name: tensor.numpy() for name, tensor in inputs.items()}
            for name, exported in sessions.items():
                found[name].append(exported.run(None, feed)[0].argmax(axis=-1))
            advance(1)
    return {name: np.concatenate(chosen) for name, chosen in found.items()}


def share(equal: NDArray[np.bool_]) -> dict[str, Any]:
    """Return a share with its exact 95% interval (Clopper and Pearson)."""
    interval = binomtest(int(equal.sum()), len(equal)).proportion_ci(0.95, method="exact")
    return {"equal": int(equal.sum()), "share": float(equal.mean()), "low": interval.low, "high": interval.high}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="movies.csv of experiments/agora/fetch.py")
    parser.add_argument("--only", choices=["bort", "classifier"])
    given = parser.parse_args()
    table = pd.read_csv(given.data)
    parts = {"bort": of_bort, "classifier": lambda folder: of_classifier(folder, table)}
    for name, part in parts.items():
        if given.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                found = part(Path(folder))
            written = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
            write_json(OUT, {**written, name: found})


if __name__ == "__main__":
    main()
