"""Latency of BERT-large, BERT-base, Bort and others in four runtimes, all in one interleaved run.

    python experiments/speed/run.py [--batch 1] [--length 128] [--runtime eager ...] [--rounds 12] [--again]

Weights are random: latency does not depend on them. Adds the run to results.json beside this file, with every round's
milliseconds, in the place of an earlier one with the same batch and length and no other runtimes. What is there with as
many rounds is not measured without --again: repeated after an interruption, the same commands do what is missing.
"""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fsp.base import Progress, write_json
from fsp.base.progress import Advance
from fsp.deploy import measure
from fsp.deploy.latency import MeasurementSettings, parse_targets
from fsp.deploy.latency.rounds import ratio_of
from fsp.deploy.latency.runtimes import RUNTIMES

NETWORKS = {
    "BERT-large": "T",
    "BERT-base": "D=12,A=12,H=768,I=3072",
    "Bort": "D=4,A=8,H=1024,I=768",
    "Bort, H and I swapped": "D=4,A=8,H=768,I=1024",
    "fastest of the 300": "D=2,A=4,H=512,I=256",
    "slowest of the 300": "D=12,A=16,H=1024,I=3072",
}
OUT = Path(__file__).parent / "results.json"


class Lines(Progress):
    """A line for each step, so that a log shows how far a run is as well as a terminal does."""

    @contextmanager
    def bar(self, label: str, total: float) -> Iterator[Advance]:
        """Yield a function to call with the amount of work done since its last call."""
        done, start = 0.0, time.monotonic()

        def advance(amount: float) -> None:
            nonlocal done
            done += amount
            spent = time.monotonic() - start
            left = spent / done * (total - done)
            print(f"{label}: {done:.0f} of {total:.0f}, {spent:.0f} s, about {left:.0f} s left", flush=True)

        yield advance


def with_factors(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the entries with how many times faster each is than others, round by round, with 95% intervals."""
    samples = {(entry["network"], entry["runtime"]): np.array(entry["samples_ms"]) for entry in entries}
    found = []
    for entry in entries:
        network, runtime = entry["network"], entry["runtime"]
        others = {
            "BERT-large eager": ("BERT-large", "eager"),
            "own eager": (network, "eager"),
            "BERT-large": ("BERT-large", runtime),
            "BERT-base": ("BERT-base", runtime),
        }
        times = {
            name: asdict(ratio_of(samples[other], samples[network, runtime]))
            for name, other in others.items()
            if other in samples
        }
        found.append({**entry, "times_faster": times})
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--runtime", nargs="+", default=["eager", "compile", "onnx", "int8"], choices=list(RUNTIMES))
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--again", action="store_true", help="measure what is in results.json already")
    given = parser.parse_args(arguments)
    wanted = set(given.runtime)
    earlier = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else []
    alike = [run for run in earlier if (run["batch"], run["length"]) == (given.batch, given.length)]
    there = any(wanted <= set(run["runtimes"]) and run["rounds"] >= given.rounds for run in alike)
    if there and not given.again:
        print(f"batch {given.batch}, {given.length} tokens: measured already; --again measures it again")
        return
    targets = parse_targets(["bert_large", *NETWORKS.values()])
    settings = MeasurementSettings(batch=given.batch, length=given.length, rounds=given.rounds)
    found = measure(targets, given.runtime, settings, display=Lines()).describe()
    called = dict(zip([target.name for target in targets], NETWORKS, strict=True))
    for entry in found["latencies"]:
        entry["network"] = called[entry.pop("name")]
        for key in ("space", "weights"):
            entry.pop(key)
    found["latencies"] = with_factors(found["latencies"])
    replaced = [run for run in alike if set(run["runtimes"]) <= wanted]
    write_json(OUT, [*(run for run in earlier if run not in replaced), found])
    for entry in found["latencies"]:
        print(f"{entry['network']:<22}{entry['runtime']:<8}{entry['median_ms']:9.1f} ms  1/{1 / entry['ratio']:.2f}")


if __name__ == "__main__":
    main()
