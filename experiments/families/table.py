"""The tables of README.md, from results.json: python experiments/families/table.py"""

import json
from pathlib import Path

ERRORS = ("by norms", "ranked", "healed", "distilled", "even", "layer drop", "random")


def main() -> None:
    results = json.loads((Path(__file__).parent / "results.json").read_text(encoding="utf-8"))
    print("| T | task | candidates | choice | " + " | ".join(ERRORS) + " | mean |")
    print("|---" * (len(ERRORS) + 5) + "|")
    for name, found in results.items():
        shape = " ".join(f"{key} {value}" for key, value in found["choice"].items())
        shape += f" ({found['share of encoder parameters']:.0%})"
        errors = [f"{found['errors'][kind]:.3f}" if kind in found["errors"] else "-" for kind in ERRORS]
        about = f"{found['task']} | {found['candidates']} | {shape}"
        print(f"| {name} | {about} | {' | '.join(errors)} | {found['mean']:.2f} |")
    print("\n| T | figure | T | choice | most even | layer drop | elsewhere: T | choice |\n" + "|---" * 8 + "|")
    for name, found in results.items():
        for kind in found["figures"]["T"]:
            row = [found["figures"].get(model, {}).get(kind) for model in ("T", "choice", "even", "layer drop")]
            row += [found["elsewhere"][model][kind] for model in ("T", "choice")]
            print(f"| {name} | {kind} | {' | '.join('-' if one is None else f'{one:.4g}' for one in row)} |")
    print("\n| T | shapes | steps | Spearman | inside size bands |\n|---|---|---|---|---|")
    for name, found in results.items():
        ranks = f"{found['spearman']:.3f} | {found['spearman_in_bands']:.3f}"
        print(f"| {name} | {found['shapes']} | {found['steps']} | {ranks} |")


if __name__ == "__main__":
    main()
