"""The published speed of Bort on a processor beside what experiments/speed measured, in runtimes that both sides share.

python experiments/paper/speed.py     # prints Markdown
"""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "speed" / "results.json"
PUBLISHED = {"BERT-base": "7.9", "BERT-large": "20"}  # arXiv 2010.10499 and the README of its code
SHAPES = {"Bort": "⟨4, 8, 1024, 768⟩", "Bort, H and I swapped": "⟨4, 8, 768, 1024⟩"}


def factor(entry: dict[str, Any], against: str) -> str:
    found = entry["times_faster"][against]
    return f"{found['value']:.1f} ({found['low']:.1f} to {found['high']:.1f})"


def main() -> None:
    runs = sorted(json.loads(RESULTS.read_text(encoding="utf-8")), key=lambda run: (run["batch"], run["length"]))
    runtimes = list(runs[0]["runtimes"])
    print(f"| times as fast as | shape | batch x tokens | published | {' | '.join(runtimes)} | |")
    print("|---|---|---|---|" + "---|" * len(runtimes) + "---|")
    for against, published in PUBLISHED.items():
        for network, shape in SHAPES.items():
            for run in runs:
                entries = {(entry["network"], entry["runtime"]): entry for entry in run["latencies"]}
                cells = [factor(entries[network, runtime], against) for runtime in runtimes]
                size = f"{run['batch']} x {run['length']}"
                print(f"| {against} | {shape} | {size} | {published} | {' | '.join(cells)} | measured here |")


if __name__ == "__main__":
    main()
