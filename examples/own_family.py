"""A custom family that is not a transformer: residual perceptrons of D layers, width H and I inner units.

The family counts and builds its networks and names their parts, so that they can be cut out of a trained T. Prints the
shape that a search finds in one of its spaces, and that the family passes a test of the contract of families.
"""

from types import SimpleNamespace

import torch
from torch import nn

from fsp import Architecture, InputError, SearchSpace, extract
from fsp.families.anatomy import Anatomy, Branch, axes_of
from fsp.testing import FamilyContract


class Network(nn.Module):
    """A first and a last layer; in between, each layer adds what it makes of its input."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        depth, width, inner = config.shape.values()
        self.first = nn.Linear(config.constants["inputs"], width)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width)) for _ in range(depth)
        )
        self.last = nn.Linear(width, config.constants["outputs"])

    def forward(self, values):
        """Return the outputs."""
        hidden = self.first(values)
        for layer in self.layers:
            hidden = hidden + layer(hidden)
        return self.last(hidden)


class Perceptron:
    """The family; a module with these members would do as well."""

    PARAMETERS, CONSTANTS, MODEL_TYPES = ("D", "H", "I"), ("inputs", "outputs"), ("perceptron",)

    anatomy = Anatomy(
        layers="layers",
        axes=axes_of({"first": ("H", None), "layers.*.0": ("I", "H"), "layers.*.2": ("H", "I"), "last": (None, "H")}),
        branches=(Branch(stream="", reads=("0",), writes="2", unit="I"),),  # names inside a layer
        last="last",
        head_reads=("last",),
    )

    def parameters(shape, constants):
        """Return the number of weights."""
        depth, width, inner = (shape[name] for name in Perceptron.PARAMETERS)
        ends = width * (constants["inputs"] + 1) + constants["outputs"] * (width + 1)
        middle = depth * (2 * width * inner + inner + width)
        return {"parameters": ends + middle, "embedding_parameters": ends, "encoder_parameters": middle}

    def operations(shape, constants, *, batch=1, length=1):
        """Return two operations per weight of a matrix, and one per ReLU and residual sum."""
        depth, width, inner = (shape[name] for name in Perceptron.PARAMETERS)
        ends = 2 * width * (constants["inputs"] + constants["outputs"])
        return batch * (ends + depth * (4 * width * inner + inner + width))

    def inputs(constants, *, batch, length):
        """Return the arguments of a forward pass."""
        return {"values": torch.zeros(batch, constants["inputs"])}

    def build(architecture, constants):
        """Return an untrained network."""
        shape = {name: architecture[name] for name in Perceptron.PARAMETERS}
        return Network(SimpleNamespace(model_type="perceptron", shape=shape, constants=dict(constants)))

    def architecture_of(config):
        """Return the architecture that the network was built with."""
        if getattr(config, "model_type", None) != "perceptron":
            raise InputError("this network is no Perceptron")
        return Architecture(config.shape)

    def constants_of(config):
        """Return the constants that the network was built with."""
        Perceptron.architecture_of(config)  # raises InputError for other networks
        return config.constants

    def resized(network, shape, layers):
        """Return an untrained network of another shape."""
        return Perceptron.build(shape, network.config.constants)


class TestPerceptron(FamilyContract):
    """The contract; a runner such as pytest calls its methods."""

    space = SearchSpace(
        "small",
        parameters={"D": (1, 2), "H": (16, 32), "I": (24,)},
        rules=(),
        maximum={"D": 3, "H": 32, "I": 48},
        family=Perceptron,
        constants={"inputs": 6, "outputs": 2},
    )


choices = {"D": (1, 2, 4), "H": (16, 32, 64), "I": (64, 128)}
space = SearchSpace("digits", choices, (), {"D": 6, "H": 64, "I": 128}, Perceptron, {"inputs": 64, "outputs": 10})
found = extract(space, error=lambda shape: 1 / (shape["D"] * shape["H"]), limits={"parameters": "30%"}, interval=1)
print("found:", found.selected)
TestPerceptron().test_the_cut_at_full_size_computes_what_t_does()
print("the cut at full size is T")
