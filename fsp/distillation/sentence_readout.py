"""The affine map from a student's pooled states to T's, fitted on single sentences as they are embedded in use."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fsp.base.errors import Diverged
from fsp.distillation.models.sentence_layout import SentenceLayout
from fsp.distillation.student import Student
from fsp.distillation.teacher import Teacher
from fsp.distillation.text.corpus import sentences

SENTENCES = 4096
_LEAST = 32  # sentences; a fit on fewer is worse than the token readout (experiments/readout)
_STRENGTHS = np.logspace(-6, 6, 25)  # ridge penalties, in units of (mean variance of the features) x (sentences)
_AT_ONCE = 512


@dataclass(frozen=True)
class SentenceSample:
    """Single sentences of the training text and T's pooled states for them.

    Attributes:
        layout: how T embeds sentences.
        sentences: n sentences, long ones first.
        pooled: T's pooled states, before T's further modules, `n x (modes · H)`.
    """

    layout: SentenceLayout
    sentences: Sequence[str]
    pooled: NDArray[np.float32]

    @classmethod
    def of(
        cls, teacher: Teacher, texts: Sequence[str], advance: Callable[[int], object] = lambda done: None
    ) -> "SentenceSample":
        """Choose at most `SENTENCES` sentences, spread evenly over the texts, and compute T's pooled states for them.

        Args:
            teacher: T.
            texts: texts of the training part.
            advance: called with the number of sentences done since the last call, `SENTENCES` in total.
        """
        found = sentences(texts)
        chosen = np.random.default_rng(0).permutation(len(found))[:SENTENCES]
        kept = sorted((found[k] for k in chosen), key=len, reverse=True)
        layout, pooled = teacher.layout, []
        for i in range(0, len(kept), _AT_ONCE):
            pooled.append(layout.pooled(teacher.model, kept[i : i + _AT_ONCE]))
            advance(len(pooled[-1]))
        advance(SENTENCES - len(kept))
        width = len(layout.modes) * teacher.architecture["H"]
        return cls(layout, kept, np.concatenate(pooled) if pooled else np.empty((0, width), np.float32))

    def fit(self, student: Student) -> None:
        """Set the student's `sentence_readout` to the ridge regression of T's pooled states on the student's.

        It is shrunk towards the token readout, which is used as it is if there are fewer than 32 sentences.

        Raises:
            Diverged: the student's states are not finite.
        """
        prior = spread(student.readout, len(self.layout.modes))
        student.sentence_readout = prior
        if len(self.sentences) < _LEAST:
            return
        own = self.layout.pooled(student.encoder, self.sentences)
        if not np.isfinite(own).all():
            raise Diverged("the student's states are not finite")
        student.sentence_readout = ridge(prior, own, self.pooled)


def readout_of(student: Student, layout: SentenceLayout) -> nn.Linear:
    """Return the map from a student's pooled states to T's: the sentence readout if fitted, else the token readout."""
    return student.sentence_readout or spread(student.readout, len(layout.modes))


def spread(readout: nn.Linear, modes: int) -> nn.Linear:
    """Return an affine map of token states as a map of the concatenated states of several pooling modes."""
    wide = nn.Linear(modes * readout.in_features, modes * readout.out_features)
    with torch.no_grad():
        wide.weight.copy_(torch.block_diag(*[readout.weight] * modes))
        wide.bias.copy_(readout.bias.repeat(modes))
    return wide


def ridge(prior: nn.Linear, own: NDArray[np.float32], target: NDArray[np.float32]) -> nn.Linear:
    """Return the affine map of least squared error, shrunk towards a prior; its bias is not shrunk.

    The strength of the shrinkage minimises the leave-one-out error, computed in closed form; in directions without
    variance in the rows, the prior's weights remain.

    Args:
        prior: an affine map.
        own: inputs of the map, `n x d`.
        target: outputs that it should give, `n x D`.

    Source: generalised cross-validation, Golub, Heath and Wahba 1979, as scikit-learn's `RidgeCV` computes it.
    """
    from sklearn.linear_model import RidgeCV

    features = own.astype(np.float64)
    weight, bias = prior.weight.detach().double().numpy(), prior.bias.detach().double().numpy()
    scale = max(len(features) * features.var(axis=0).mean(), np.finfo(np.float64).tiny)
    found = RidgeCV(alphas=scale * _STRENGTHS).fit(features, target - (features @ weight.T + bias))
    result = nn.Linear(prior.in_features, prior.out_features)
    with torch.no_grad():
        result.weight.copy_(torch.from_numpy(weight + found.coef_))
        result.bias.copy_(torch.from_numpy(bias + found.intercept_))
    return result
