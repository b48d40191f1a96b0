"""A custom family that is not a transformer: perceptrons with one hidden layer of H units.

The family counts and builds its networks and cuts them out of a trained T. Prints the shape that a search finds in one
of its spaces, and that the family passes a test of the contract of families.
"""

from types import SimpleNamespace

import torch

from fsp import Architecture, InputError, SearchSpace, extract
from fsp.families.cutting import check_smaller, cut_weights
from fsp.testing import FamilyContract

AXES = {"0.weight": ("H", None), "0.bias": ("H",), "2.weight": (None, "H"), "2.bias": (None,)}  # None stays whole


class Perceptron:
    """The family; a module with these members would do as well."""

    PARAMETERS, CONSTANTS = ("H",), ("inputs", "outputs")

    def parameters(shape, constants):
        """Return the number of weights, all of which belong to the encoder."""
        count = shape["H"] * (constants["inputs"] + 1 + constants["outputs"]) + constants["outputs"]
        return {"parameters": count, "embedding_parameters": 0 * count, "encoder_parameters": count}

    def operations(shape, constants, *, batch=1, length=1):
        """Return two operations per weight of a matrix, and one per ReLU."""
        return batch * shape["H"] * (2 * (constants["inputs"] + constants["outputs"]) + 1)

    def inputs(constants, *, batch, length):
        """Return the arguments of a forward pass."""
        return {"input": torch.zeros(batch, constants["inputs"])}

    def build(architecture, constants):
        """Return an untrained network."""
        first = torch.nn.Linear(constants["inputs"], architecture["H"])
        network = torch.nn.Sequential(first, torch.nn.ReLU(), torch.nn.Linear(architecture["H"], constants["outputs"]))
        network.config = SimpleNamespace(perceptron=dict(architecture), constants=dict(constants))
        return network

    def architecture_of(config):
        """Return the architecture that the network was built with."""
        if not hasattr(config, "perceptron"):
            raise InputError("this network is no Perceptron")
        return Architecture(config.perceptron)

    def constants_of(config):
        """Return the constants that the network was built with."""
        Perceptron.architecture_of(config)  # raises InputError for other networks
        return config.constants

    def cut(model, architecture):
        """Return a smaller network made of the units with the largest weights."""
        full = model.config.perceptron
        check_smaller(full, architecture)
        small = Perceptron.build(architecture, model.config.constants)
        return cut_weights(model, small, AXES, full, architecture, layers=[])


class TestPerceptron(FamilyContract):
    """The contract; a runner such as pytest calls its methods."""

    space = SearchSpace("small", {"H": (4, 8)}, (), {"H": 16}, Perceptron, {"inputs": 6, "outputs": 2})


space = SearchSpace("digits", {"H": (8, 16, 32, 64)}, (), {"H": 128}, Perceptron, {"inputs": 64, "outputs": 10})
found = extract(space, error=lambda shape: 1 / shape["H"], limits={"parameters": "30%"}, interval=1)
print("found:", found.selected)
TestPerceptron().test_the_cut_at_full_size_computes_what_t_does()
print("the cut at full size is T")
