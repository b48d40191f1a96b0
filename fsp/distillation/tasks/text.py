"""Text as the inputs of networks: blocks without padding, and texts of different lengths."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.distillation.examples import MASK, Examples, Material, Outputs
from fsp.distillation.masking import Masking
from fsp.distillation.models.loading import longest_input
from fsp.distillation.networks import last_states
from fsp.distillation.settings import SurrogateSettings
from fsp.distillation.tasks.task import LEAST_HELD_OUT_TOKENS, READOUT_TOKENS, Data, evenly
from fsp.distillation.teacher import Teacher
from fsp.distillation.text.corpus import Corpus, pack

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def corpus_in(data: Data) -> Corpus:
    """Return data that must be text."""
    if not isinstance(data, Corpus):
        raise InputError("this task takes text, not samples; give files of text with --corpus")
    return data


def check_length(teacher: Teacher, length: int) -> None:
    """Raise InputError if T does not take blocks of the given length."""
    positions = longest_input(teacher.network.config)
    if not 8 <= length <= positions:
        raise InputError(f"a block of {length} tokens does not suit the teacher; choose 8 to {positions}")


def blocks_of(
    teacher: Teacher, data: Data, settings: SurrogateSettings, store: Outputs, masking: Masking | None
) -> tuple[Examples, Examples, Examples]:
    """Pack the three parts of a corpus into blocks, masked if a masking is given, without T's outputs.

    Args:
        teacher: T.
        data: a corpus.
        settings: length of the blocks, and the most tokens to take from each part, spread evenly over it; those of the
            train part are raised to the number that a readout needs.
        store: of T's states, for which there must be room on the disk.
        masking: how blocks are masked.

    Raises:
        InputError: `length` exceeds T's positions, a part of the corpus is too small, or the disk has no room.
    """
    corpus, length = corpus_in(data), settings.length
    check_length(teacher, length)
    found = []
    for name, texts, wanted, least in (
        ("training", corpus.train, max(settings.tokens, READOUT_TOKENS), READOUT_TOKENS),
        ("validation", corpus.validation, settings.held_out_tokens, LEAST_HELD_OUT_TOKENS),
        ("test", corpus.test, settings.held_out_tokens, LEAST_HELD_OUT_TOKENS),
    ):
        part = _packed(teacher, texts, wanted, length, masking)
        if part.inputs["input_ids"].size < least:
            raise corpus.too_small(name, f"{part.inputs['input_ids'].size:,} tokens", f"{least:,}")
        found.append(part)
    width = teacher.architecture["H"]
    for k, part in enumerate(found):
        store.check_room(part.inputs, part.tokens * width * np.dtype(np.float16).itemsize, training=k == 0)
    return found[0], found[1], found[2]


def blocks_elsewhere(
    teacher: Teacher, data: Data, settings: SurrogateSettings, store: Outputs, masking: Masking | None
) -> dict[str, Material]:
    """Pack each kind of text elsewhere into blocks and compute T's states for them."""
    compute = partial(last_states, teacher.network)
    return {
        name: Material.tested(
            store.of(_packed(teacher, texts, settings.held_out_tokens, settings.length, masking), compute)
        )
        for name, texts in corpus_in(data).elsewhere.items()
    }


def _packed(teacher: Teacher, texts: Sequence[str], wanted: int, length: int, masking: Masking | None) -> Examples:
    """Return blocks of `wanted` tokens, spread evenly over texts, or of all."""
    blocks = pack(teacher.tokenizer, texts, length)
    chosen = blocks[evenly(len(blocks), wanted // length)]
    seen, sites = masking(chosen, seed=0) if masking else (chosen, None)
    return Examples({"input_ids": seen}, np.empty((len(seen), 0), np.float16), sites, chosen.astype(np.int64))


def padded(tokens: Sequence[Sequence[int]], padding: int) -> dict[str, NDArray[np.int32]]:
    """Return token ids of different lengths as `n x longest` ids, padded on the right, with their mask.

    Example:
        >>> padded([[5, 6], [7]], 0)["input_ids"].tolist()
        [[5, 6], [7, 0]]
    """
    longest = max(map(len, tokens))
    ids = np.full((len(tokens), longest), padding, dtype=np.int32)
    mask = np.zeros((len(tokens), longest), dtype=np.int32)
    for row, one in enumerate(tokens):
        ids[row, : len(one)] = one
        mask[row, : len(one)] = 1
    return {"input_ids": ids, MASK: mask}


def encoded(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], longest: int) -> list[list[int]]:
    """Return the token ids of texts with special tokens, cut to a length."""
    found: Any = tokenizer(list(texts), truncation=True, max_length=longest, padding=False, verbose=False)
    ids: list[list[int]] = found["input_ids"]
    return ids
