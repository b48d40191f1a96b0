"""Print the tables of README.md from results.json and agreement.json."""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
AGAINST = ["BERT-large eager", "own eager", "BERT-large", "BERT-base"]
CLAIMS = [  # network, its runtime, against, the published factor
    ("Bort", None, "BERT-base", "7.9"),
    ("Bort", None, "BERT-large", "20"),
    ("Bort, H and I swapped", None, "BERT-base", ""),
    ("Bort, H and I swapped", None, "BERT-large", ""),
    ("Bort", "int8", "own eager", ""),
    ("Bort", "int8", "BERT-large eager", ""),
]
Entries = dict[tuple[str, str], dict[str, Any]]


def times(entries: Entries, network: str, runtime: str, against: str) -> str:
    """Return how many times faster one entry is than another, with the 95% interval of its rounds."""
    entry = entries.get((network, runtime), {})
    if against not in entry.get("times_faster", {}):
        return ""
    factor = entry["times_faster"][against]
    return f"{factor['value']:.1f} ({factor['low']:.1f} to {factor['high']:.1f})"


def of_run(run: dict[str, Any]) -> None:
    """Print the table of claims and the table of all entries of one run."""
    entries = {(entry["network"], entry["runtime"]): entry for entry in run["latencies"]}
    runtimes = list(run["runtimes"])
    busy = run["environment"]["load_before"]
    print(
        f"\n### Batch {run['batch']}, {run['length']} tokens\n\n{run['rounds']} rounds, load {busy:.1f} at the start.\n"
    )
    print(f"| | published | {' | '.join(runtimes)} |")
    print("|---|---|" + "---|" * len(runtimes))
    for network, only, against, published in CLAIMS:
        cells = [times(entries, network, name, against) if only in (None, name) else "" for name in runtimes]
        print(f"| {network}{f' {only}' if only else ''} against {against} | {published} | {' | '.join(cells)} |")
    print(f"\n| network | runtime | median ms | {' | '.join(f'× {name}' for name in AGAINST)} |")
    print("|---|---|---|" + "---|" * len(AGAINST))
    for (network, runtime), entry in entries.items():
        cells = [times(entries, network, runtime, name) for name in AGAINST]
        print(f"| {network} | {runtime} | {entry['median_ms']:.0f} | {' | '.join(cells)} |")


def of_agreement(found: dict[str, Any]) -> None:
    """Print what export costs in outputs and in predictions."""
    titles = {"bort": "Bort, random weights", "classifier": "classifier, trained"}
    print("\n### What export costs\n")
    print("| model | format | largest difference | of largest output | relative | agreement of | agreement |")
    print("|---|---|---|---|---|---|---|")
    for part, title in titles.items():
        for name, facts in found.get(part, {}).get("exported", {}).items():
            print(
                f"| {title} | {name} | {facts['largest_difference']:.2g} | {facts['largest_output']:.2g} | "
                f"{facts['relative_difference']:.2g} | {facts['agreement_of']} | {facts['agreement']:.5f} |"
            )
    if "classifier" in found:
        of = found["classifier"]
        print(f"\n| predicts as torch on {of['texts']:,} held-out texts | texts | share | 95% interval | accuracy |")
        print("|---|---|---|---|---|")
        print(f"| torch | | | | {of['accuracy']['torch']:.1%} |")
        for name, share in {**of["agreement"], "all three": of["all_three"]}.items():
            accuracy = f"{of['accuracy'][name]:.1%}" if name in of["accuracy"] else ""
            interval = f"{share['low']:.1%} to {share['high']:.1%}"
            print(f"| {name} | {share['equal']:,} | {share['share']:.1%} | {interval} | {accuracy} |")


def main() -> None:
    runs = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
    for run in sorted(runs, key=lambda run: (run["batch"], run["length"])):
        of_run(run)
    if (HERE / "agreement.json").exists():
        of_agreement(json.loads((HERE / "agreement.json").read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
