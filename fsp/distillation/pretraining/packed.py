"""A corpus as two streams of token ids on disk, for training and held out, written once with constant memory.

The streams are raw little-endian files that every process maps into memory; a block is a slice of them. The part of a
passage is decided by a hash of its text, so equal passages are never in both parts.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.base.files import digest, read_json, replacing, write_json
from fsp.base.progress import Progress
from fsp.distillation.pretraining.documents import Passage, Source

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_VERSION = 2
_HELD_OUT = 2  # percent of the passages
_AT_ONCE = 512  # passages that are tokenised together
PARTS = ("train", "held_out")


@dataclass(frozen=True)
class Stream:
    """Token ids in blocks of a fixed length; each document ends with the end token.

    Attributes:
        tokens: all ids, `N`, memory-mapped.
        length: tokens per block.
        start: first token of each block; None for decoders, whose blocks are plain slices.
        end: last token of each block; None for decoders.
    """

    tokens: NDArray[np.integer[Any]]
    length: int
    start: int | None
    end: int | None

    @property
    def _inner(self) -> int:
        return self.length if self.start is None else self.length - 2

    def __len__(self) -> int:
        return len(self.tokens) // self._inner

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the blocks with the given indices, `n x length`."""
        inner = self._inner
        found = np.empty((len(rows), self.length), dtype=np.int64)
        middle = found
        if self.start is not None and self.end is not None:
            found[:, 0], found[:, -1] = self.start, self.end
            middle = found[:, 1:-1]
        for i, row in enumerate(rows.tolist()):
            middle[i] = self.tokens[row * inner : (row + 1) * inner]
        return found


@dataclass(frozen=True)
class PackedCorpus:
    """The two streams of a corpus.

    Attributes:
        train: the stream for training.
        held_out: the stream for evaluation.
        facts: `digest` of all ids, and the numbers of tokens, documents and bytes.
    """

    train: Stream
    held_out: Stream
    facts: dict[str, Any]

    @property
    def digest(self) -> str:
        """Short digest of all token ids."""
        return self.facts["digest"]


def pack(
    sources: Sequence[Source],
    tokenizer: "PreTrainedTokenizerBase",
    folder: Path,
    *,
    length: int,
    display: Progress | None = None,
    writes: bool = True,
) -> PackedCorpus:
    """Tokenise a corpus into a folder, unless that has been done before, and map it into memory.

    Args:
        sources: see `find_sources`.
        tokenizer: its start and end tokens (or, for decoders, the end token) delimit documents and blocks.
        folder: folder of the streams; their subfolder's name depends on the sources and the tokenizer.
        length: tokens per block; does not change the files.
        display: shows progress.
        writes: True in exactly one process; the others wait for its files.

    Raises:
        InputError: a source cannot be read, there is too little text, or files in the folder are damaged.
    """
    start, end = frame(tokenizer)
    key = digest([_VERSION, [source.key for source in sources], tokenizer_digest(tokenizer)])
    place = folder / f"text-{key}"
    description = place / "corpus.json"
    if writes and not description.exists():
        _write(sources, tokenizer, place, display or Progress())
    while not description.exists():
        time.sleep(0.2)
    facts = read_json(description)
    streams = []
    for part in PARTS:
        path, wanted = place / f"{part}.bin", facts["tokens"][part]
        kind = np.dtype(facts["dtype"])
        if not path.is_file() or path.stat().st_size != wanted * kind.itemsize:
            raise InputError(f"{path} is damaged (it must have {wanted * kind.itemsize} bytes); remove {place}")
        tokens = np.memmap(path, dtype=kind, mode="r") if wanted else np.empty(0, kind)
        streams.append(Stream(tokens, length, start, end))
        if not len(streams[-1]):
            raise InputError(
                f"the corpus is too small: its {part.replace('_', '-')} part has {wanted} tokens, less than one block "
                f"of {length}; give about 300 kB of text or more, or a smaller --length"
            )
    return PackedCorpus(streams[0], streams[1], facts)


def frame(tokenizer: "PreTrainedTokenizerBase") -> tuple[int | None, int]:
    """Return the start token (None for decoders) and the end token of blocks and documents.

    Raises:
        InputError: the tokenizer has no end token.
    """
    if tokenizer.cls_token_id is not None and tokenizer.sep_token_id is not None:
        return tokenizer.cls_token_id, tokenizer.sep_token_id
    if tokenizer.eos_token_id is None:
        raise InputError("the tokenizer has neither start and end tokens nor an end-of-text token")
    return None, tokenizer.eos_token_id


def tokenizer_digest(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Short digest of everything that the token ids of a text depend on."""
    backend = tokenizer.backend_tokenizer
    return digest([backend.to_str(), tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.eos_token_id])


def _write(sources: Sequence[Source], tokenizer: "PreTrainedTokenizerBase", place: Path, display: Progress) -> None:
    kind = np.dtype("<u2" if len(tokenizer) <= 1 << 16 else "<u4")
    whole = hashlib.sha256()
    tokens = dict.fromkeys(PARTS, 0)
    read = documents = 0
    total = sum(source.bytes for source in sources)
    place.mkdir(parents=True, exist_ok=True)
    with (
        replacing(place / "train.bin") as train,
        replacing(place / "held_out.bin") as held_out,
        train.open("wb") as train_file,
        held_out.open("wb") as held_out_file,
        display.bar("tokenising the text", max(1, total)) as advance,
    ):
        files: dict[str, BinaryIO] = {"train": train_file, "held_out": held_out_file}
        for source in sources:
            before, document = 0, 0
            for part, ids, passage in _tokenised(source.passages(), tokenizer):
                data = np.asarray(ids, dtype=kind).tobytes()
                whole.update(data)
                files[part].write(data)
                tokens[part] += len(ids)
                read += len(passage.text.encode())
                documents += passage.document != document
                document = passage.document
                if source.bytes:
                    advance(passage.read - before)
                    before = passage.read
    if not any(tokens.values()):
        raise InputError("the corpus has no text; name files or folders of UTF-8 text")
    facts = {
        "sources": [source.name for source in sources][:100],
        "documents": documents,
        "text_bytes": read,
        "tokens": tokens,
        "dtype": kind.str,
        "digest": whole.hexdigest()[:16],
    }
    write_json(place / "corpus.json", facts)


def _tokenised(
    passages: Iterator[Passage], tokenizer: "PreTrainedTokenizerBase"
) -> Iterator[tuple[str, list[int], Passage]]:
    """Yield (part, ids, passage); the ids end with the end token if the document ends or the next part differs."""
    _, end = frame(tokenizer)
    encode = _encoder(tokenizer)
    previous: tuple[str, list[int], Passage] | None = None
    while batch := list(islice(passages, _AT_ONCE)):
        for passage, ids in zip(batch, encode([passage.text for passage in batch]), strict=True):
            if not ids:  # the tokenizer drops all its characters
                continue
            hashed = hashlib.sha256(" ".join(passage.text.split()).encode()).digest()
            part = PARTS[int.from_bytes(hashed[:8], "big") % 100 < _HELD_OUT]
            if previous is not None:
                if previous[2].document != passage.document or previous[0] != part:
                    previous[1].append(end)
                yield previous
            previous = (part, ids, passage)
    if previous is not None:
        previous[1].append(end)
        yield previous


def _encoder(tokenizer: "PreTrainedTokenizerBase") -> Callable[[list[str]], list[list[int]]]:
    """Return the tokenizer's encoding without special tokens, padding or truncation."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_padding()
    backend.no_truncation()
    return lambda texts: [found.ids for found in backend.encode_batch_fast(texts, add_special_tokens=False)]
