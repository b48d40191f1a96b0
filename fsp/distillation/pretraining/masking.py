"""What is masked where: a pure function of (example, epoch, seed), the same in every process and after a resume.

Unlike `fsp.distillation.masking`, which the surrogate errors use, another pass over the text masks a block anew, and
all blocks have as many masked positions, so that a teacher's outputs have a fixed place in a cache.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fsp.distillation.masking import MASKED, RANDOM

_DOMAIN = 0x6D61736B  # keeps these random numbers apart from others of the same seed


@dataclass(frozen=True)
class Masking:
    """How blocks are masked. Every block has the same number of selected positions, `count(length)`.

    rate: selected share of a block's tokens. mask_id: the mask token. vocabulary: random replacements are drawn
    from its ids. special_ids: tokens that are neither selected nor drawn.
    """

    rate: float
    mask_id: int
    vocabulary: int
    special_ids: tuple[int, ...]
    seed: int

    @cached_property
    def _ordinary(self) -> NDArray[np.int64]:
        return np.setdiff1d(np.arange(self.vocabulary), self.special_ids)

    def count(self, length: int) -> int:
        """Return how many positions of a block of that length are selected; 1 at least."""
        return max(1, round(self.rate * length))

    def __call__(
        self, blocks: NDArray[np.int64], examples: NDArray[np.int64], epoch: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return masked copies of blocks `n x length`, and the selected positions `n x count`, ascending.

        Args:
            blocks: token ids; fewer than `1 - rate` of each block may be special.
            examples: number of each block in the corpus, `n`.
            epoch: the pass over the corpus that each belongs to, `n`.

        Example:
            >>> masking = Masking(0.15, mask_id=3, vocabulary=100, special_ids=(0, 1, 2, 3), seed=0)
            >>> masked, positions = masking(np.arange(100)[None], np.array([7]), np.array([0]))
            >>> positions.shape, bool((positions > 3).all())
            ((1, 15), True)
        """
        length = blocks.shape[1]
        masked, positions = blocks.copy(), np.empty((len(blocks), self.count(length)), dtype=np.int64)
        special = np.isin(blocks, self.special_ids)
        for i, (example, turn) in enumerate(zip(examples.tolist(), epoch.tolist(), strict=True)):
            random = np.random.Generator(np.random.Philox(key=[self.seed, _DOMAIN], counter=[0, 0, turn, example]))
            order = np.argsort(random.random(length) + special[i], kind="stable")
            chosen = np.sort(order[: positions.shape[1]])
            fate = random.random(len(chosen))
            drawn = self._ordinary[random.integers(len(self._ordinary), size=len(chosen))]
            replaced = np.where(fate < MASKED + RANDOM, drawn, blocks[i, chosen])
            masked[i, chosen] = np.where(fate < MASKED, self.mask_id, replaced)
            positions[i] = chosen
        return masked, positions
