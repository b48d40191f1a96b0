"""A custom search space written in Python; a TOML file can define the same (docs/own-space.md).

Prints the number of shapes, the size of the largest of them and the size of T.
"""

from fsp import SearchSpace
from fsp.objectives import objectives_of


def wide_if_deep(D, H):
    """Return whether a shape is allowed; rules may also be expressions, such as the second one below."""
    return H >= 32 * D


space = SearchSpace(
    name="tapered",
    parameters={"D": (1, 2, 3, 4, 6, 8), "H": (32, 64, 128, 256)},
    rules=(wide_if_deep, "D * H <= 1024"),
    maximum={"D": 8, "H": 256},  # T
    family="mlp",
    constants={"inputs": 784, "outputs": 10},
)
table = objectives_of(space, space.candidates)
print(f"{len(table)} candidates, the largest with {table['parameters'].max():,} parameters")
print(f"T has {objectives_of(space, space.point(space.maximum))['parameters'][0]:,}")
