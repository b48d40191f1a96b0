"""A student: an encoder and affine readouts from its states to T's."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fsp.base.errors import Diverged
from fsp.distillation.blocks import Blocks
from fsp.families.architecture import Architecture
from fsp.families.bert import architecture_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_RIDGE = 1e-6  # share of the mean diagonal; keeps the normal equations solvable when states are collinear
_BATCH = 32  # blocks per forward pass where nothing is trained


class Student(nn.Module):
    """An encoder of hidden size h with a readout from its token states to T's, of hidden size H.

    Attributes:
        encoder: the network.
        readout: the readout of token states.
        sentence_readout: the readout of pooled states, see `fsp.distillation.sentence_readout`; None until fitted.

    Example:
        >>> from fsp.families import bert
        >>> tables = dict(vocabulary=100, positions=16, token_types=1)
        >>> encoder = bert.build(dict(D=1, A=2, H=8, I=16), tables)
        >>> Student(encoder, width=12)(torch.zeros(3, 5, dtype=torch.long)).shape
        torch.Size([3, 5, 12])
    """

    def __init__(self, encoder: "PreTrainedModel", width: int):
        super().__init__()
        self.encoder = encoder
        self.readout = nn.Linear(encoder.config.hidden_size, width)
        self.sentence_readout: nn.Linear | None = None

    @property
    def architecture(self) -> Architecture:
        """The encoder's shape."""
        return architecture_of(self.encoder.config)

    @property
    def readout_parameters(self) -> int:
        """Number of weights of the readout of pooled states, which is saved with the encoder."""
        return sum(p.numel() for p in (self.sentence_readout or self.readout).parameters())

    def forward(self, tokens: Tensor) -> Tensor:
        """Return T's token states as predicted from the student's, `(n, length, H)`."""
        return self.readout(self.encoder(input_ids=tokens).last_hidden_state)

    @torch.no_grad()
    def fit_readout(self, blocks: Blocks, own_states: Tensor | None = None) -> float:
        """Set the readout to the least-squares map from the encoder's token states to T's over the blocks.

        Returns 1 - R² on the same blocks.

        Args:
            blocks: tokens and T's states.
            own_states: the encoder's states for the same tokens, `(n, length, h)`; computed if not given.

        Raises:
            Diverged: the student's states are not finite.
        """
        width = self.encoder.config.hidden_size + 1
        gram = torch.zeros(width, width, dtype=torch.float64)
        moment = torch.zeros(width, self.readout.out_features, dtype=torch.float64)
        square = 0.0
        for i, (tokens, states, _) in enumerate(blocks.batches(_BATCH)):
            if own_states is None:
                own = self.encoder(input_ids=tokens).last_hidden_state.flatten(0, 1).double()
            else:
                own = own_states[i * _BATCH : (i + 1) * _BATCH].flatten(0, 1).double()
            own = torch.cat([own, torch.ones(len(own), 1, dtype=torch.float64)], dim=1)
            target = states.flatten(0, 1).double()
            gram += own.T @ own
            moment += own.T @ target
            square += float(target.square().sum())
        if not gram.isfinite().all():
            raise Diverged("the student's states are not finite")
        count, total = float(gram[-1, -1]), moment[-1]
        solution = torch.linalg.solve(gram + _RIDGE * gram.diagonal().mean() * torch.eye(width), moment)
        self.readout.weight.copy_(solution[:-1].T)
        self.readout.bias.copy_(solution[-1])
        residual = square - float((solution * (2 * moment - gram @ solution)).sum())
        return residual / (square - float(total.square().sum()) / count)
