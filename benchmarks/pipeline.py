"""The data pipeline of pretraining: tokens/s and memory on a large text file, beside the speed of training.

    python benchmarks/pipeline.py TEXT [TEXT ...] [--gigabytes 2] [--json]

The files are written one after another, again and again, into one text of that size in a temporary folder, which is
tokenised as `fsp pretrain` does; then batches (order, packing, masking) are drawn. Memory is the resident size after a
tenth of the file and the largest until its end. `training_tokens_per_second` is that of results/distillation.json.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from fsp import load_space
from fsp.base import Bars, read_json
from fsp.distillation import packaged_teacher
from fsp.distillation.masking import Masking, PassMasking
from fsp.distillation.pretraining.batches import Batches
from fsp.distillation.pretraining.documents import find_sources
from fsp.distillation.pretraining.packed import pack

LENGTH, BATCH, DRAWN = 128, 32, 500


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Watched(threading.Thread):
    """Samples the resident size once a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[float] = []
        self._over = threading.Event()

    def run(self) -> None:
        """Take samples until `end` is called."""
        while not self._over.wait(1.0):
            self.samples.append(resident_mb())

    def end(self) -> list[float]:
        """Return the samples, in MB."""
        self._over.set()
        self.join()
        return self.samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", nargs="+", type=Path)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(packaged_teacher(load_space("minilm").teacher))
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "large.txt"
        with large.open("wb") as file:
            while file.tell() < given.gigabytes * 1e9:
                for path in given.text:
                    file.write(path.read_bytes())
        size = large.stat().st_size
        watch = Watched()
        watch.start()
        start = time.monotonic()
        text = pack(find_sources([large]), tokenizer, Path(folder), length=LENGTH, display=Bars())
        seconds = time.monotonic() - start
        samples = watch.end()
        tokens = sum(text.facts["tokens"].values())
        batches = Batches(text.train, PassMasking(Masking.of(tokenizer), 0.15, 0), False, 0)
        start = time.monotonic()
        for step in range(DRAWN):
            batches.at(np.arange(step * BATCH, (step + 1) * BATCH))
        drawn = DRAWN * BATCH * LENGTH / (time.monotonic() - start)
    recorded = read_json(Path(__file__).parent / "results" / "distillation.json")
    training = recorded["tokens_per_second"]["fsp"]
    tenth = samples[len(samples) // 10]
    found = {
        "text_bytes": size,
        "tokens": tokens,
        "tokenised_tokens_per_second": round(tokens / seconds),
        "batches_tokens_per_second": round(drawn),
        "training_tokens_per_second": round(training),
        "tokenising_over_training": round(tokens / seconds / training, 1),
        "batches_over_training": round(drawn / training, 1),
        "resident_mb_after_a_tenth": round(tenth),
        "resident_mb_largest": round(max(samples)),
    }
    print(json.dumps(found) if given.json else "\n".join(f"{name}: {value:,}" for name, value in found.items()))


if __name__ == "__main__":
    main()
