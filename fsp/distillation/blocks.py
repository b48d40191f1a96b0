"""Blocks of tokens with T's states for them, computed once, stored on disk and shared by all students."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from fsp.base.errors import InputError
from fsp.base.files import check_room, digest, replacing
from fsp.distillation.masking import Masking
from fsp.distillation.models.loading import longest_input
from fsp.distillation.teacher import Teacher
from fsp.distillation.text.corpus import Corpus, pack

READOUT_TOKENS = 16_384  # a readout has up to a thousand inputs and overfits on fewer tokens
LEAST_HELD_OUT_TOKENS = 2_048
_LARGEST = float(np.finfo(np.float16).max)


class StateBatch(NamedTuple):
    """Some blocks as tensors.

    Attributes:
        tokens: ids, `(n, length)`.
        states: T's states in float32, `(n, length, H)`.
        masked: which positions are to be predicted, `(n, length)`; None if nothing is masked.
    """

    tokens: Tensor
    states: Tensor
    masked: Tensor | None


@dataclass(frozen=True)
class Blocks:
    """Blocks of token ids and T's states for them.

    Attributes:
        tokens: ids as T and the students see them, masks included, `n x length`.
        states: T's states, `n x length x H` (float16, possibly memory-mapped).
        masked: which positions are to be predicted, `n x length`; None if nothing is masked.
    """

    tokens: NDArray[np.int32]
    states: NDArray[np.float16]
    masked: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: slice) -> "Blocks":
        return Blocks(self.tokens[rows], self.states[rows], None if self.masked is None else self.masked[rows])

    def take(self, rows: NDArray[np.int64]) -> StateBatch:
        """Return the given rows as tensors."""
        return StateBatch(
            torch.from_numpy(self.tokens[rows].astype(np.int64)),
            torch.from_numpy(self.states[rows].astype(np.float32)),
            None if self.masked is None else torch.from_numpy(self.masked[rows]),
        )

    def batches(self, size: int) -> Iterator[StateBatch]:
        """Yield all blocks in order, `size` at a time."""
        for i in range(0, len(self), size):
            yield self.take(np.arange(i, min(i + size, len(self))))

    def shuffled(self, size: int, seed: int) -> Iterator[StateBatch]:
        """Yield batches of `size` blocks indefinitely, each pass over the blocks in a new order given by the seed.

        There must be at least `size` blocks.
        """
        order = np.random.default_rng(seed)
        while True:
            rows = order.permutation(len(self))
            for i in range(0, len(rows) - size + 1, size):
                yield self.take(np.sort(rows[i : i + size]))

    @property
    def digest(self) -> str:
        """Short digest of the tokens, their arrangement and the masked positions."""
        if self.masked is None:
            return tokens_digest(self.tokens)
        return digest([tokens_digest(self.tokens), tokens_digest(self.masked.astype(np.int32))])

    def variance(self) -> float:
        """Return the variance of the states per token, summed over the coordinates."""
        states = self.states.reshape(-1, self.states.shape[-1])
        return float(states.astype(np.float32).var(axis=0).sum())


def tokens_digest(blocks: NDArray[np.int32]) -> str:
    """Short digest of token ids `n x length` and their arrangement."""
    return digest([blocks.shape, hashlib.sha256(blocks.tobytes()).hexdigest()])


@torch.inference_mode()
def cached_states(
    teacher: Teacher,
    blocks: NDArray[np.int32],
    folder: Path,
    *,
    batch: int = 32,
    advance: Callable[[int], object] = lambda tokens: None,
) -> NDArray[np.float16]:
    """Return T's token states for blocks as a memory-mapped `n x length x H` array, computed at most once.

    If several processes ask for the same states, one computes them and the others wait.

    Args:
        teacher: T.
        blocks: token ids, `n x length`.
        folder: where the states are stored; the file name depends on T and on the blocks.
        batch: blocks per forward pass.
        advance: called with the number of tokens done since the last call.

    Raises:
        InputError: a state is not finite or too large for float16; nothing is stored.
    """
    path = _states_file(teacher, blocks, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.exists():
            advance(blocks.size)
        else:
            _write_states(teacher, blocks, path, batch, advance)
    return np.load(path, mmap_mode="r")


def _states_file(teacher: Teacher, blocks: NDArray[np.int32], folder: Path) -> Path:
    return folder / f"states-{digest([teacher.fingerprint, tokens_digest(blocks)])}.npy"


def _write_states(
    teacher: Teacher, blocks: NDArray[np.int32], path: Path, batch: int, advance: Callable[[int], object]
) -> None:
    width = teacher.architecture["H"]
    with replacing(path) as temporary:
        states = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=(*blocks.shape, width))
        for i in range(0, len(blocks), batch):
            tokens = torch.from_numpy(blocks[i : i + batch].astype(np.int64))
            found = teacher.model(input_ids=tokens).last_hidden_state
            if not float(found.abs().max()) <= _LARGEST:
                raise InputError(
                    f"T's states exceed {_LARGEST:,.0f} or are not numbers, so fsp cannot store them in float16; "
                    "use another teacher"
                )
            states[i : i + batch] = found.numpy()
            advance(tokens.numel())
        states.flush()
        del states


@dataclass(frozen=True)
class Material:
    """All text that the students of one teacher are trained and measured on.

    Attributes:
        train: blocks for training steps and for fitting readouts.
        validation: blocks on which the search measures its error.
        test: blocks for the final measurement.
        texts: the whole training part; sentence readouts are fitted on its sentences.
    """

    train: Blocks
    validation: Blocks
    test: Blocks
    texts: Sequence[str]

    @classmethod
    def prepare(
        cls,
        teacher: Teacher,
        corpus: Corpus,
        folder: Path,
        *,
        length: int,
        train_tokens: int,
        held_out_tokens: int,
        advance: Callable[[int], object] = lambda tokens: None,
    ) -> "Material":
        """Pack a corpus, mask it if T has a head for masked language modelling, and compute T's states for it.

        Args:
            teacher: T.
            corpus: text in three parts.
            folder: where T's states are stored.
            length: tokens per block.
            train_tokens: the most tokens to take from the train part, spread evenly over it; raised to the number
                that a readout needs.
            held_out_tokens: the most tokens to take from the validation part, and from the test part.
            advance: called with the number of tokens done since the last call.

        Raises:
            InputError: `length` exceeds T's positions, a part of the corpus is too small, the disk has no room for the
                states, or T has a head for masked language modelling but its tokenizer has no mask token.
        """
        positions = longest_input(teacher.model.config)
        if not 8 <= length <= positions:
            raise InputError(f"a block of {length} tokens does not suit the teacher; choose 8 to {positions}")
        masking = Masking.of(teacher.tokenizer) if teacher.head is not None else None
        parts: list[tuple[NDArray[np.int32], NDArray[np.bool_] | None]] = []
        for name, texts, wanted, least in (
            ("training", corpus.train, max(train_tokens, READOUT_TOKENS), READOUT_TOKENS),
            ("validation", corpus.validation, held_out_tokens, LEAST_HELD_OUT_TOKENS),
            ("test", corpus.test, held_out_tokens, LEAST_HELD_OUT_TOKENS),
        ):
            blocks = pack(teacher.tokenizer, texts, length)
            if blocks.size < least:
                raise corpus.too_small(name, f"{blocks.size:,} tokens", f"{least:,}")
            chosen = np.random.default_rng(0).permutation(len(blocks))[: max(1, wanted // length)]
            parts.append(masking(blocks[chosen], seed=0) if masking else (blocks[chosen], None))
        missing = [tokens for tokens, _ in parts if not _states_file(teacher, tokens, folder).exists()]
        size = sum(tokens.size for tokens in missing) * teacher.architecture["H"] * np.dtype(np.float16).itemsize
        check_room(folder, size, "T's states of the text", "make room, choose another folder, or give fewer tokens")
        train, validation, test = (
            Blocks(tokens, cached_states(teacher, tokens, folder, advance=advance), masked) for tokens, masked in parts
        )
        return cls(train, validation, test, corpus.train)
