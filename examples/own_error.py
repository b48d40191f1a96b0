"""A custom error: train each candidate on handwritten digits and return its loss on held-out digits.

Prints the shape with the least error among those with at most a tenth of T's parameters, and how many were trained.
"""

import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

import fsp
from fsp.families import mlp

CONSTANTS = {"inputs": 64, "outputs": 10}
images, labels = (torch.tensor(values) for values in load_digits(return_X_y=True))
images = images.float() / 16


def error(architecture, seed):
    """Return the error of a shape: any positive number; smaller is better."""
    torch.manual_seed(seed)
    network = mlp.build(architecture, CONSTANTS)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        cross_entropy(network(images[:1400]), labels[:1400]).backward()
        optimiser.step()
    return cross_entropy(network(images[1400:]), labels[1400:]).item()


space = fsp.SearchSpace("digits", {"D": (1, 2, 4), "H": (8, 16, 32, 64)}, (), {"D": 4, "H": 128}, "mlp", CONSTANTS)
found = fsp.extract(space, error=error, limits={"parameters": "10%"}, interval=1)
print(f"chosen: {found.selected}, of {len(found.table)} trained")
print(found.table[["D", "H", "parameters", "error"]].to_string(index=False))
