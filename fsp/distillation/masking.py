"""Masking for masked language modelling: which positions are predicted, and what the network sees there."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHARE = 0.15  # of the ordinary tokens of a block
MASKED, RANDOM = 0.8, 0.1  # of the chosen positions; the rest keep their token


@dataclass(frozen=True)
class Masking:
    """BERT's masking (Devlin et al. 2019, appendix A.1) as a pure function of a block and a seed.

    15% of a block's ordinary tokens are chosen, at least one; of these 80% are replaced by the mask token, 10% by a
    random ordinary token, and 10% stay. Special tokens are neither chosen nor put in. A block is masked the same way
    whatever stands beside it, in whatever process.

    mask_token: its id. special: ids of all special tokens, the mask token among them. vocabulary: number of ids.

    Example:
        >>> masking = Masking(mask_token=1, special=(0, 1), vocabulary=50)
        >>> inputs, chosen = masking(np.arange(2, 42, dtype=np.int32).reshape(2, 20), seed=0)
        >>> chosen.sum(axis=1)
        array([3, 3])
    """

    mask_token: int
    special: tuple[int, ...]
    vocabulary: int

    @classmethod
    def of(cls, tokenizer: "PreTrainedTokenizerBase") -> "Masking":
        """Return the masking for a tokenizer's ids. Raises InputError where it has no mask token."""
        if tokenizer.mask_token_id is None:
            raise InputError("the tokenizer has no mask token; masked language modelling needs one")
        return cls(tokenizer.mask_token_id, tuple(sorted(tokenizer.all_special_ids)), len(tokenizer))

    @cached_property
    def ordinary(self) -> NDArray[np.int64]:
        """All ids that are no special token, in order."""
        return np.setdiff1d(np.arange(self.vocabulary), self.special)

    def __call__(self, blocks: NDArray[np.int32], seed: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Return what the network sees, `n x length`, and which positions it has to predict, `n x length`.

        Args:
            blocks: token ids, `n x length`; not changed.
            seed: another one gives another masking of the same blocks.

        Raises:
            InputError: a block has no ordinary token.
        """
        inputs, chosen = blocks.copy(), np.zeros(blocks.shape, dtype=bool)
        candidates = ~np.isin(blocks, self.special)
        if not candidates.any(axis=1).all():
            raise InputError("a block of nothing but special tokens cannot be masked; leave it out")
        for i in range(len(blocks)):
            generator = np.random.default_rng(_digest(blocks[i], seed))
            positions = np.flatnonzero(candidates[i])
            count = max(1, round(SHARE * len(positions)))
            positions = generator.choice(positions, count, replace=False)
            fate = generator.random(count)
            randoms = self.ordinary[generator.integers(len(self.ordinary), size=count)]
            seen = np.where(fate < MASKED, self.mask_token, randoms)
            chosen[i, positions] = True
            inputs[i, positions] = np.where(fate < MASKED + RANDOM, seen, blocks[i, positions])
        return inputs, chosen


def _digest(block: NDArray[np.int32], seed: int) -> Sequence[int]:
    whole = hashlib.sha256(repr(seed).encode() + b" " + np.ascontiguousarray(block, dtype="<i4").tobytes())
    return np.frombuffer(whole.digest(), dtype="<u4").tolist()
