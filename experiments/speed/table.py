"""Print the tables of README.md from results.json: how many times faster each entry is."""

import json
from pathlib import Path


def main() -> None:
    for run in json.loads((Path(__file__).parent / "results.json").read_text(encoding="utf-8")):
        entries = {(entry["network"], entry["runtime"]): entry for entry in run["latencies"]}
        busy = run["environment"]["load_before"]
        print(f"\nBatch {run['batch']}, {run['length']} tokens, {run['rounds']} rounds, load {busy:.1f} at the start\n")
        print("| network | runtime | median ms | × BERT-large eager | × own eager | × BERT-large | × BERT-base |")
        print("|---|---|---|---|---|---|---|")
        for (network, runtime), entry in entries.items():
            ratio = entry["ratio"]
            interval = f"{1 / entry['ratio_high']:.1f} to {1 / entry['ratio_low']:.1f}"
            others = [(network, "eager"), ("BERT-large", runtime), ("BERT-base", runtime)]
            times = " | ".join(f"{entries[other]['ratio'] / ratio:.1f}" for other in others)
            print(f"| {network} | {runtime} | {entry['median_ms']:.0f} | {1 / ratio:.1f} ({interval}) | {times} |")


if __name__ == "__main__":
    main()
