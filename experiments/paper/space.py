"""The search space of arXiv 2010.10499: what it says, and what comes of it.

python experiments/paper/space.py     # prints Markdown
"""

import math

import numpy as np

import fsp
from fsp.objectives import operations, sizes


def main() -> None:
    space = fsp.load_space("bert_large")
    points = space.candidates
    grid = math.prod(len(choices) for choices in space.parameters.values())
    counted, steps = sizes(space, points), operations(space, points)
    full = {name: int(value[0]) for name, value in sizes(space, space.point(space.maximum)).items()}
    share = counted["encoder_parameters"] / full["encoder_parameters"]
    outweighed = np.mean(counted["embedding_parameters"] > counted["encoder_parameters"])
    rows = [
        ("combinations of D, A, H, I", "360", f"{grid}"),
        ("of them with H divisible by A", "300", f"{len(points)}"),
        ("T ⟨24, 16, 1024, 4096⟩ among them", "no", "yes" if space.maximum in space.architectures(points) else "no"),
        ("encoder parameters (M)", "-", f"{counted['encoder_parameters'].min() / 1e6:.1f} to "
         f"{counted['encoder_parameters'].max() / 1e6:.1f}"),
        ("share of T's encoder", "-", f"{share.min():.1%} to {share.max():.1%}"),
        ("operations, 128 tokens (G)", "-", f"{steps.min() / 1e9:.2f} to {steps.max() / 1e9:.1f}"),
        ("shapes whose embeddings outweigh the encoder", "-", f"{outweighed:.0%}"),
    ]  # fmt: skip
    print("| the space `bert_large` | published | here | |\n|---|---|---|---|")
    for what, published, here in rows:
        print(f"| {what} | {published} | {here} | computed |")


if __name__ == "__main__":
    main()
