"""Latency of BERT-large, BERT-base, Bort and others in four runtimes, all in one interleaved run.

    python experiments/speed/run.py [--batch 1] [--length 128] [--runtime eager ...] [--rounds 12]

Weights are random: latency does not depend on them. Adds the run to results.json beside this file, in the place of an
earlier one with the same batch, length and runtimes.
"""

import argparse
import json
from pathlib import Path

from fsp.files import write_json
from fsp.latency.measure import measure
from fsp.latency.runtimes import RUNTIMES
from fsp.latency.targets import parse_targets
from fsp.progress import Bars

NETWORKS = {
    "BERT-large": "T",
    "BERT-base": "D=12,A=12,H=768,I=3072",
    "Bort": "D=4,A=8,H=1024,I=768",
    "Bort, H and I swapped": "D=4,A=8,H=768,I=1024",
    "fastest of the 300": "D=2,A=4,H=512,I=256",
    "slowest of the 300": "D=12,A=16,H=1024,I=3072",
}
OUT = Path(__file__).parent / "results.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--runtime", nargs="+", default=["eager", "compile", "onnx", "int8"], choices=list(RUNTIMES))
    parser.add_argument("--rounds", type=int, default=12)
    given = parser.parse_args()
    targets = parse_targets(["bert_large", *NETWORKS.values()])
    found = measure(
        targets, given.runtime, batch=given.batch, length=given.length, rounds=given.rounds, display=Bars()
    ).describe()
    called = dict(zip([target.name for target in targets], NETWORKS, strict=True))
    for entry in found["latencies"]:
        entry["network"] = called[entry.pop("name")]
        for key in ("space", "weights"):
            entry.pop(key)
    same = ("batch", "length", "runtimes")
    earlier = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else []
    kept = [run for run in earlier if any(run[key] != found[key] for key in same)]
    write_json(OUT, [*kept, found])
    for entry in found["latencies"]:
        print(f"{entry['network']:<22}{entry['runtime']:<8}{entry['median_ms']:9.1f} ms  1/{1 / entry['ratio']:.2f}")


if __name__ == "__main__":
    main()
