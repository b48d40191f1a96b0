"""A student: a network cut out of T, with a readout where T's outputs are predicted from states of another width."""

from typing import Any

from torch import nn

from fsp.families.architecture import Architecture
from fsp.families.family import Family


class Student(nn.Module):
    """A network, and the affine map from its states to T's that some tasks need.

    Attributes:
        network: the network, with its head if the task compares what a head returns.
        family: its family.
        readout: from states of width H to T's of width H_T; None for tasks that compare the outputs of a head.

    Example:
        >>> from fsp.families import bert
        >>> tables = dict(vocabulary=100, positions=16, token_types=1)
        >>> Student(bert.build(dict(D=1, A=2, H=8, I=16), tables), bert, nn.Linear(8, 12)).architecture
        Architecture(D=1, A=2, H=8, I=16)
    """

    def __init__(self, network: Any, family: Family, readout: nn.Linear | None = None):
        super().__init__()
        self.network = network
        self.family = family
        self.readout = readout

    @property
    def architecture(self) -> Architecture:
        """The network's shape."""
        return self.family.architecture_of(self.network.config)

    @property
    def readout_parameters(self) -> int:
        """Number of weights of the readout, which is saved with the network."""
        return 0 if self.readout is None else sum(p.numel() for p in self.readout.parameters())
