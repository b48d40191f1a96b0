"""A task that a tiny network learns in seconds: sentences with a praising or a damning word."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fsp.finetuning.examples import Data, Example

GOOD = ["great", "lovely", "brilliant", "superb", "charming", "delightful", "excellent", "wonderful"]
BAD = ["awful", "dreadful", "boring", "terrible", "poor", "dull", "horrible", "weak"]
FRAMES = [
    "the {} was {} from the first scene on",
    "I found the {} {} and told my friends",
    "critics called the {} {} and they were right",
    "such a {} one: truly {}",
]
THINGS = [
    "film",
    "plot",
    "actor",
    "music",
    "story",
    "dialogue",
    "camera",
    "ending",
    "pace",
    "cast",
    "scenery",
    "humour",
]


def sentences(count: int, seed: int) -> list[tuple[str, str]]:
    random = np.random.default_rng(seed)
    found: dict[str, str] = {}
    while len(found) < count:
        label = ("good", "bad")[len(found) % 2]
        word = random.choice(GOOD if label == "good" else BAD)
        frame = FRAMES[int(random.integers(len(FRAMES)))]
        first, second = random.choice(THINGS, 2, replace=False)
        found[frame.format(first, word) + f", like the {second} of number {seed}"] = label
    return list(found.items())


def write(path: Path, rows: list[tuple[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


@dataclass(frozen=True)
class Task:
    """The three files, and the same rows as data."""

    folder: Path
    rows: dict[str, list[tuple[str, str]]]

    @property
    def files(self) -> dict[str, Path]:
        return {name: self.folder / f"{name}.csv" for name in self.rows}

    @property
    def data(self) -> Data:
        parts = {
            name: tuple(Example((text,), int(label == "good")) for text, label in rows)
            for name, rows in self.rows.items()
        }
        return Data(("bad", "good"), parts["train"], parts["dev"], parts["test"], "test")


@pytest.fixture(scope="session")
def task(tmp_path_factory) -> Task:
    folder = tmp_path_factory.mktemp("task")
    rows = {
        name: sentences(count, seed) for seed, (name, count) in enumerate({"train": 96, "dev": 48, "test": 40}.items())
    }
    for name, part in rows.items():
        write(folder / f"{name}.csv", part)
    return Task(folder, rows)
