"""Masking for masked language modelling: which positions are predicted, and what the network sees there.

There are two rules for the positions. `Masking` depends on the contents of a block alone, so that the surrogate errors
mask it the same way in every batch. `PassMasking` depends on the number of the block and of the pass over the text, so
that pretraining masks it anew in every pass, and it chooses the same number of positions in every block, so that a
teacher's outputs have a fixed place in a cache.
"""

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
_DOMAIN = 0x6D61736B  # separates these random numbers from others of the same seed


@dataclass(frozen=True)
class Masking:
    """BERT's masking (Devlin et al. 2019, appendix A.1) as a pure function of a block and a seed.

    15% of a block's ordinary tokens are chosen, at least one; of these 80% are replaced by the mask token, 10% by a
    random ordinary token, and 10% stay. Special tokens are neither chosen nor inserted. A block is masked the same way
    in every batch and every process.

    Attributes:
        mask_token: id of the mask token.
        special: ids of all special tokens, including the mask token.
        vocabulary: number of ids.

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
        """Return the masking for a tokenizer's ids. Raises InputError if it has no mask token."""
        if tokenizer.mask_token_id is None:
            raise InputError("the tokenizer has no mask token; masked language modelling needs one")
        return cls(tokenizer.mask_token_id, tuple(sorted(tokenizer.all_special_ids)), len(tokenizer))

    @cached_property
    def ordinary(self) -> NDArray[np.int64]:
        """All ids except those of special tokens, in order."""
        return np.setdiff1d(np.arange(self.vocabulary), self.special)

    def replaced(self, tokens: NDArray[np.integer], random: np.random.Generator) -> NDArray[np.integer]:
        """Return the ids that the network sees instead of the tokens at chosen positions, `(n,)`."""
        fate = random.random(len(tokens))
        drawn = self.ordinary[random.integers(len(self.ordinary), size=len(tokens))]
        return np.where(fate < MASKED, self.mask_token, np.where(fate < MASKED + RANDOM, drawn, tokens))

    def __call__(self, blocks: NDArray[np.int32], seed: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Return the ids that the network sees, `n x length`, and which positions it has to predict, `n x length`.

        Args:
            blocks: token ids, `n x length`; not changed.
            seed: determines the masking of given blocks.

        Raises:
            InputError: a block has no ordinary token.
        """
        inputs, chosen = blocks.copy(), np.zeros(blocks.shape, dtype=bool)
        candidates = ~np.isin(blocks, self.special)
        if not candidates.any(axis=1).all():
            raise InputError("a block of nothing but special tokens cannot be masked; leave it out")
        for i in range(len(blocks)):
            random = np.random.default_rng(_digest(blocks[i], seed))
            positions = np.flatnonzero(candidates[i])
            positions = random.choice(positions, max(1, round(SHARE * len(positions))), replace=False)
            chosen[i, positions] = True
            inputs[i, positions] = self.replaced(blocks[i, positions], random)
        return inputs, chosen


@dataclass(frozen=True)
class PassMasking:
    """Masking as a function of (example, pass, seed), with the same number of positions in every block.

    It is the same in every process and after a resume.

    Attributes:
        tokens: how chosen tokens are replaced; its rule for choosing positions is not used.
        rate: share of a block's tokens that is chosen.
        seed: determines the masks.
    """

    tokens: Masking
    rate: float
    seed: int

    def count(self, length: int) -> int:
        """Return how many positions of a block of a given length are chosen, at least 1."""
        return max(1, round(self.rate * length))

    def __call__(
        self, blocks: NDArray[np.int64], examples: NDArray[np.int64], epoch: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return masked copies of blocks `n x length`, and the chosen positions `n x count`, ascending.

        Args:
            blocks: token ids; fewer than `1 - rate` of each block may be special.
            examples: index of each block in the corpus, `n`.
            epoch: the pass over the corpus that each block belongs to, `n`.

        Example:
            >>> masking = PassMasking(Masking(mask_token=3, special=(0, 1, 2, 3), vocabulary=100), 0.15, seed=0)
            >>> masked, positions = masking(np.arange(100)[None], np.array([7]), np.array([0]))
            >>> positions.shape, bool((positions > 3).all())
            ((1, 15), True)
        """
        length = blocks.shape[1]
        masked, positions = blocks.copy(), np.empty((len(blocks), self.count(length)), dtype=np.int64)
        special = np.isin(blocks, self.tokens.special)
        for i, (example, turn) in enumerate(zip(examples.tolist(), epoch.tolist(), strict=True)):
            random = np.random.Generator(np.random.Philox(key=[self.seed, _DOMAIN], counter=[0, 0, turn, example]))
            order = np.argsort(random.random(length) + special[i], kind="stable")
            positions[i] = np.sort(order[: positions.shape[1]])
            masked[i, positions[i]] = self.tokens.replaced(blocks[i, positions[i]], random)
        return masked, positions


def _digest(block: NDArray[np.int32], seed: int) -> Sequence[int]:
    whole = hashlib.sha256(repr(seed).encode() + b" " + np.ascontiguousarray(block, dtype="<i4").tobytes())
    return np.frombuffer(whole.digest(), dtype="<u4").tolist()
