"""Evaluate all 150 shapes of `bert_large` at reduced size, below all-MiniLM-L6-v2, for extraction.py.

    python experiments/paper/evaluate.py 0 16 64       # minutes of one core: 6, 12, 40; resumes where it was

One row of errors.csv a shape and number of steps s: 1 − R² of T's token states after the cut, healing and s steps.
"""

import csv
import sys
from pathlib import Path

import fsp

HERE = Path(__file__).parent
ERRORS = HERE / "errors.csv"
NAMES = ["D", "A", "H", "I"]


def main() -> None:
    for steps in map(int, sys.argv[1:] or ["0", "16"]):
        space, error = fsp.prepare(HERE / "small.toml", steps=steps, threads=1)
        there = set()
        if ERRORS.exists():
            with ERRORS.open(newline="") as file:
                there = {tuple(int(row[name]) for name in [*NAMES, "steps"]) for row in csv.DictReader(file)}
        for shape in space.architectures(space.candidates):
            key = tuple(shape[name] for name in NAMES)
            if (*key, steps) in there:
                continue
            value = error(shape, seed=0)
            with ERRORS.open("a", newline="") as file:
                writer = csv.writer(file)
                if not file.tell():
                    writer.writerow([*NAMES, "steps", "error"])
                writer.writerow([*key, steps, f"{value:.5f}"])
            print(steps, shape, f"{value:.4f}", flush=True)


if __name__ == "__main__":
    main()
