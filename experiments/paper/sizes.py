"""The published sizes of Bort and BERT-large beside exact counts, for the published shape and with H and I exchanged.

python experiments/paper/sizes.py     # prints Markdown
"""

import fsp
from fsp.objectives import sizes
from fsp.objectives.bort import published_and_computed

PUBLISHED_LARGE = ("340", "31.8", "90.6", "100")  # arXiv 2010.10499


def main() -> None:
    space = fsp.load_space("bert_large")
    found = published_and_computed(space)
    full = {name: int(value[0]) for name, value in sizes(space, space.point(space.maximum)).items()}
    print("| | shape | parameters (M) | embeddings (M) | outside them (%) | encoder, % of BERT-large's | |")
    print("|---|---|---|---|---|---|---|")
    names = {"published": "Bort, published", "computed": "the published shape", "swapped": "H and I exchanged"}
    for key, name in names.items():
        row = found[key]
        mark = "published" if key == "published" else "computed"
        columns = ("parameters_millions", "embedding_millions", "encoder_percent", "effective_percent")
        print(
            f"| {name} | {row['architecture']} | "
            + " | ".join(f"{row[column]:.1f}" for column in columns)
            + f" | {mark} |"
        )
    print(f"| BERT-large, published | {space.maximum} | " + " | ".join(PUBLISHED_LARGE) + " | published |")
    total, embedding = full["parameters"], full["embedding_parameters"]
    print(
        f"| BERT-large, RoBERTa's vocabulary | {space.maximum} | {total / 1e6:.1f} | {embedding / 1e6:.1f} | "
        f"{100 * (1 - embedding / total):.1f} | 100 | computed |"
    )
    print("\nBort is counted with pooler and the head for masked language modelling, BERT-large here without.")


if __name__ == "__main__":
    main()
