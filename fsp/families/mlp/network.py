"""The network of the family `mlp`."""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Config:
    """The sizes of an `MLP`.

    Attributes:
        depth: number of middle layers D.
        width: width H of the middle layers.
        inputs: number of inputs.
        outputs: number of outputs.
        model_type: always `mlp`.
    """

    depth: int
    width: int
    inputs: int
    outputs: int
    model_type: str = "mlp"


class MLP(nn.Module):
    """A residual multilayer perceptron: first layer, D times `x + relu(linear(x))`, last layer.

    The layers are residual, so that removing some of them changes the output only moderately.

    Example:
        >>> import torch
        >>> MLP(Config(depth=2, width=8, inputs=3, outputs=5))(torch.zeros(7, 3)).shape
        torch.Size([7, 5])
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.first = nn.Linear(config.inputs, config.width)
        self.middle = nn.ModuleList(nn.Linear(config.width, config.width) for _ in range(config.depth))
        self.last = nn.Linear(config.width, config.outputs)

    def forward(self, values: Tensor) -> Tensor:
        """Return the outputs, `batch x outputs`, for values `batch x inputs`."""
        hidden = self.first(values)
        for layer in self.middle:
            hidden = hidden + layer(hidden).relu()
        return self.last(hidden)
