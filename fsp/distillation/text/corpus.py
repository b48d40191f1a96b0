"""Text to token blocks: the corpus, its split into train, validation and test, packing without padding."""

import ast
import hashlib
import os
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.distillation.text.near_copies import clusters, near_copies
from fsp.distillation.text.reading import files_in, pieces
from fsp.distillation.text.segmentation import passages, sentences

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SENTENCE_TOKENS = 128  # longest sentence in measurements and in saved models
_NOT_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
_HELD_OUT = 8  # percent of the passages that go to validation, and as many to test
_LARGEST = 0.02  # share of all passages in the largest cluster of near-copies that is held out
_TESTED = 4096  # sentences of the test part that are compared with all others
_SMALL = 2  # passages in a cluster that is held out even in the smallest corpus


def standard_library() -> list[str]:
    """Return the documentation in this Python's standard library: help topics and docstrings, one text each.

    Modules are parsed, never imported; files that are not valid Python 3 (test data) are skipped.
    """
    root = Path(sysconfig.get_path("stdlib"))
    paths: list[Path] = []
    for folder, below, names in os.walk(root):
        below[:] = [name for name in below if name not in _NOT_LIBRARY]
        paths += (Path(folder, name) for name in names if name.endswith(".py"))
    texts = []
    for path in sorted(paths):
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        if path.parts[-2:] == ("pydoc_data", "topics.py"):
            strings = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
            texts += [text for text in strings if len(text) > 100]
        else:
            texts += _docstrings(tree)
    return texts


def _docstrings(node: ast.Module | ast.stmt) -> Iterator[str]:
    """Yield the docstrings of a node and of everything defined in it, including inside `if` and `try`."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = ast.get_docstring(node)
        if text:
            yield text
    for name in ("body", "orelse", "handlers", "finalbody"):
        for child in getattr(node, name, ()):
            yield from _docstrings(child)


def read_corpus(paths: Sequence[str | Path], column: str | None = None) -> list[str]:
    """Return the text of files, and of all files below folders except hidden and empty ones, one text per file.

    Args:
        paths: files and folders; `fsp.distillation.text.reading` describes how a file is read. Rows become paragraphs
            of their file's text.
        column: the column of text in files with rows; None for `text`, else the only column of strings.

    Raises:
        InputError: a path does not exist or cannot be read, a file is not UTF-8 text, or there is no text at all.
    """
    files = [file for path in map(Path, paths) for file in (files_in(path) if path.is_dir() else [path])]
    texts = ["\n\n".join(_documents(file, column)) for file in files]
    if not any(text.strip() for text in texts):
        raise InputError(f"the corpus {', '.join(map(str, paths))} has no text; name files or folders of UTF-8 text")
    return texts


def _documents(path: Path, column: str | None) -> Iterator[str]:
    for _, found in groupby(pieces(path, column), attrgetter("document")):
        yield "".join(piece.text for piece in found)


@dataclass(frozen=True)
class Corpus:
    """Passages in three parts; near-copies of a passage are in the same part.

    Attributes:
        train: passages for training steps and for fitting readouts.
        validation: passages on which the search measures the error.
        test: passages for the final measurement only.
        near_copies: number of passages that have a near-copy.
        elsewhere: passages of other kinds of text by name, for figures out of domain alone.
        tested: the `test_sentences` if they are known; None to find them when they are asked for.
    """

    train: list[str]
    validation: list[str]
    test: list[str]
    near_copies: int = 0
    elsewhere: dict[str, list[str]] = field(default_factory=dict)
    tested: list[str] | None = None

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Corpus":
        """Cut texts into passages, drop repeated ones, and split them, keeping near-copies together.

        A hash of the texts of a cluster of near-copies, independent of their order, decides which part the cluster goes
        to; a cluster of more than 2% of all passages goes to train.
        """
        found: dict[bytes, str] = {}
        for text in texts:
            for passage in passages(text):
                found.setdefault(hashlib.sha256(" ".join(passage.split()).encode()).digest(), passage)
        cluster = clusters(list(found.values()))
        sizes = np.bincount(cluster)
        first = [b"\xff" * 32] * len(sizes)
        for key, number in zip(found, cluster.tolist(), strict=True):
            first[number] = min(first[number], key)
        parts: tuple[list[str], list[str], list[str]] = ([], [], [])
        for passage, number in zip(found.values(), cluster.tolist(), strict=True):
            percent = int.from_bytes(first[number][:8], "big") % 100
            if sizes[number] > max(_SMALL, len(found) * _LARGEST):
                percent = 100
            parts[(percent < 2 * _HELD_OUT) + (percent < _HELD_OUT)].append(passage)
        return cls(*parts, near_copies=int(sizes[sizes > 1].sum()))

    @cached_property
    def digest(self) -> str:
        """Short digest of the text and its split."""
        whole = hashlib.sha256()
        for part in (self.train, self.validation, self.test):
            for passage in part:
                whole.update(passage.encode() + b"\0")
            whole.update(b"\1")
        return whole.hexdigest()[:16]

    @cached_property
    def test_sentences(self) -> list[str]:
        """Sentences of the test part, at most 4,096 in random order, that are no near-copies of one of another part."""
        if self.tested is not None:
            return self.tested
        known = [[sentence] for sentence in sentences([*self.train, *self.validation])]
        every = sentences(self.test)
        found = [every[row] for row in np.random.default_rng(0).permutation(len(every))[:_TESTED]]
        copied = near_copies([[sentence] for sentence in found], known)
        return [sentence for sentence, near in zip(found, copied, strict=True) if not near]

    def too_small(self, part: str, has: str, needs: str) -> InputError:
        """Return the error for a part (`training`, `validation` or `test`) that has less text than needed."""
        total = len(self.train) + len(self.validation) + len(self.test)
        size = sum(map(len, (*self.train, *self.validation, *self.test)))
        copies = f", {self.near_copies:,} of them near-copies of one another" if self.near_copies else ""
        return InputError(
            f"the corpus is too small: its {part} part has {has} and needs {needs}; in all it has {size:,} characters "
            f"in {total:,} passages{copies}; give about 300 kB of text or more"
        )


def pack(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], length: int) -> NDArray[np.int32]:
    """Return texts as full blocks of token ids, `n x length`, without padding; an incomplete last block is dropped.

    Each block is what the tokenizer puts before a text, tokens of text (texts separated by the end token), and what it
    puts after a text.
    """
    if not texts:
        return np.empty((0, length), dtype=np.int32)
    before, after, between = ends_of(tokenizer)
    encoded = tokenizer(list(texts), add_special_tokens=False, padding=False, truncation=False, verbose=False)
    stream = np.concatenate([np.array([*ids, *between], dtype=np.int32) for ids in encoded["input_ids"]])
    inner = length - len(before) - len(after)
    n = len(stream) // inner
    blocks = np.empty((n, length), dtype=np.int32)
    blocks[:, : len(before)], blocks[:, length - len(after) :] = before, after
    blocks[:, len(before) : length - len(after)] = stream[: n * inner].reshape(n, inner)
    return blocks


def ends_of(tokenizer: "PreTrainedTokenizerBase") -> tuple[list[int], list[int], list[int]]:
    """Return the ids that a tokenizer puts before a text, after it, and those that separate texts in a stream.

    An encoder's are its start and end token. A decoder's depend on the tokenizer: GPT-2 puts none around a text, Llama
    a start token before it; its end token separates texts.
    """
    start, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    if start is not None and end is not None:
        return [start], [end], [end]
    plain: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole: list[int] = tokenizer("a")["input_ids"]
    place = next((k for k in range(len(whole)) if whole[k : k + len(plain)] == plain), 0)
    separator = tokenizer.eos_token_id
    return whole[:place], whole[place + len(plain) :], [] if separator is None else [separator]
