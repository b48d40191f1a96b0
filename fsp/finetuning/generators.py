"""Generators τ: new texts made from given ones by edits, by refilling masks, or by mixing with neighbours.

Each is a function of texts and a random generator that returns at most `points` different new texts per text, in the
same format: they have the same number of fields, no empty field, and the same words except the changed ones.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fsp.base.device import Device
from fsp.base.errors import InputError
from fsp.distillation.models.loading import check_sees_both_sides, longest_input, open_model
from fsp.finetuning.examples import normalised

Fields = tuple[str, ...]
Random = np.random.Generator

_NEAREST = 5  # candidates for a word's synonym and for a text's neighbour
_LEAST_COSINE = 0.5  # words of an embedding table with a lower cosine are not synonyms
_LIKELIEST = 20  # candidates for a mask
_TRIES = 3  # tries per point: an edit may change nothing, or repeat an earlier text
_BATCH = 32


class Masked(NamedTuple):
    """A masked language model with its tokenizer.

    Attributes:
        model: the masked language model.
        tokenizer: its tokenizer.
        device: where the model is.
    """

    model: Any
    tokenizer: Any
    device: Device = Device()


class Generator(Protocol):
    """Makes new texts.

    Attributes:
        points: the largest number of new texts per text.
    """

    points: int

    def __call__(self, texts: Sequence[Fields], random: Random) -> list[list[Fields]]:
        """Return the new texts made from each text."""
        ...


def _different(original: Fields, make: Callable[[], Fields], points: int) -> list[Fields]:
    """Return up to `points` results that differ from the original and from each other."""
    seen = {normalised(original)}
    found: list[Fields] = []
    for _ in range(_TRIES * points):
        if len(found) == points:
            break
        new = make()
        if normalised(new) not in seen and all(field.strip() for field in new):
            seen.add(normalised(new))
            found.append(new)
    return found


class Synonyms:
    """The nearest words in a model's table of input embeddings.

    Args:
        table: the embeddings of its tokens, `V x H`.
        tokenizer: the model's tokenizer.

    Raises:
        InputError: its tokens are not words.
    """

    def __init__(self, table: NDArray[np.float32], tokenizer: Any):
        self._index = whole_words(tokenizer)
        self._words = list(self._index)
        if len(self._words) < _NEAREST:
            raise InputError("the tokens of this model are not words, so it gives no synonyms; use another generator")
        vectors = table[list(self._index.values())]
        vectors = vectors - vectors.mean(axis=0)
        self._vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        self._row = {word: row for row, word in enumerate(self._words)}
        self._known: dict[str, list[str]] = {}

    def __call__(self, word: str) -> list[str]:
        """Return up to five words that have a cosine of at least .5 with a word, nearest first."""
        if word not in self._row:
            return []
        if word not in self._known:
            cosines = self._vectors @ self._vectors[self._row[word]]
            nearest = np.argsort(-cosines, kind="stable")[1 : 1 + _NEAREST]
            self._known[word] = [self._words[i] for i in nearest if cosines[i] >= _LEAST_COSINE]
        return self._known[word]


class Edits:
    """Replacements by synonyms, insertions of synonyms, swaps and deletions, as in EDA.

    Each new text is made by one of the four, drawn at random, applied to one tenth of the words (at least one) of a
    random field.

    Args:
        synonyms: returns the synonyms of a word in lower case.
        points: the largest number of new texts per text.
        rate: share of the words that change.

    Source: Wei and Zou, EDA (EMNLP 2019).
    """

    def __init__(self, synonyms: Callable[[str], list[str]], points: int, rate: float = 0.1):
        self._synonyms, self.points, self._rate = synonyms, points, rate

    def __call__(self, texts: Sequence[Fields], random: Random) -> list[list[Fields]]:
        """Return the new texts made from each text."""
        return [_different(fields, partial(self._edited, fields, random), self.points) for fields in texts]

    def _edited(self, fields: Fields, random: Random) -> Fields:
        place = int(random.integers(len(fields)))
        words = fields[place].split()
        edit = (self._replace, self._insert, self._swap, self._delete)[int(random.integers(4))]
        for _ in range(max(1, round(self._rate * len(words)))):
            words = edit(words, random)
        return (*fields[:place], " ".join(words), *fields[place + 1 :])

    def _synonym(self, words: list[str], random: Random) -> tuple[int, str] | None:
        """Draw a word that has synonyms, and one of its synonyms."""
        for place in random.permutation(len(words)):
            found = self._synonyms(_core(words[place]).lower())
            if found:
                return int(place), found[int(random.integers(len(found)))]
        return None

    def _replace(self, words: list[str], random: Random) -> list[str]:
        drawn = self._synonym(words, random)
        if drawn is None:
            return words
        place, synonym = drawn
        return [*words[:place], _in_place_of(words[place], synonym), *words[place + 1 :]]

    def _insert(self, words: list[str], random: Random) -> list[str]:
        drawn = self._synonym(words, random)
        if drawn is None:
            return words
        place = int(random.integers(len(words) + 1))
        return [*words[:place], drawn[1], *words[place:]]

    def _swap(self, words: list[str], random: Random) -> list[str]:
        if len(words) < 2:
            return words
        one, other = random.choice(len(words), size=2, replace=False)
        words = list(words)
        words[one], words[other] = words[other], words[one]
        return words

    def _delete(self, words: list[str], random: Random) -> list[str]:
        if len(words) < 2:
            return words
        place = int(random.integers(len(words)))
        return [*words[:place], *words[place + 1 :]]


class Refill:
    """Masks words and replaces each by one of the twenty likeliest words of a masked language model.

    Args:
        masked: a masked language model with its tokenizer.
        points: the largest number of new texts per text.
        rate: share of the words that are masked; at least one word is.
        length: number of tokens that the model sees of a text; later words are never masked.
    """

    def __init__(self, masked: Masked, points: int, rate: float = 0.15, length: int = 128):
        self._model, self._tokenizer, self._device = masked
        if self._tokenizer.mask_token is None:
            raise InputError("the tokenizer of the masked language model has no mask token")
        self.points, self._rate = points, rate
        self._length = min(length, longest_input(self._model.config))
        ids = whole_words(self._tokenizer)
        self._words, self._ids = list(ids), torch.tensor(list(ids.values()))

    def __call__(self, texts: Sequence[Fields], random: Random) -> list[list[Fields]]:
        """Return the new texts made from each text."""
        masked = [self._mask(fields, random) for fields in texts for _ in range(self.points)]
        filled = iter(self._fill(masked, random))
        result = []
        for fields in texts:
            made = iter([next(filled) for _ in range(self.points)])
            result.append(_different(fields, partial(next, made, fields), self.points))
        return result

    def _mask(self, fields: Fields, random: Random) -> tuple[list[list[str]], list[tuple[int, int]]]:
        """Return the words of each field, and the places, as (field, word), that are to be filled."""
        words = [field.split() for field in fields]
        if any(self._tokenizer.mask_token in field for field in fields):  # cannot be told from our masks
            return words, []
        places = [(f, w) for f, field in enumerate(words) for w, word in enumerate(field) if len(_core(word)) > 2]
        count = min(len(places), max(1, round(self._rate * len(places))))
        return words, [places[i] for i in sorted(random.choice(len(places), size=count, replace=False))]

    def _fill(self, masked: Sequence[tuple[list[list[str]], list[tuple[int, int]]]], random: Random) -> list[Fields]:
        filled = []
        for start in range(0, len(masked), _BATCH):
            part = masked[start : start + _BATCH]
            holes = [self._with_holes(words, places) for words, places in part]
            batch = self._tokenizer(
                *map(list, zip(*holes, strict=True)),
                padding="longest",
                truncation=True,
                max_length=self._length,
                return_tensors="pt",
            )
            with torch.inference_mode(), self._device.computing():
                logits = self._model(**batch.to(self._device.torch)).logits[:, :, self._ids].float().cpu()
            batch = batch.to("cpu")
            for row, (words, places) in enumerate(part):
                found = (batch["input_ids"][row] == self._tokenizer.mask_token_id).nonzero().flatten().tolist()
                words = [list(field) for field in words]
                for (field, place), token in zip(places, found, strict=False):
                    likeliest = logits[row, token].topk(min(_LIKELIEST, len(self._words)))
                    weights = likeliest.values.double().softmax(0).numpy()
                    drawn = int(likeliest.indices[int(random.choice(len(weights), p=weights / weights.sum()))])
                    words[field][place] = _in_place_of(words[field][place], self._words[drawn])
                filled.append(tuple(" ".join(field) for field in words))
        return filled

    def _with_holes(self, words: list[list[str]], places: list[tuple[int, int]]) -> tuple[str, ...]:
        mask = self._tokenizer.mask_token
        chosen = set(places)
        return tuple(
            " ".join(word.replace(_core(word), mask, 1) if (f, w) in chosen else word for w, word in enumerate(field))
            for f, field in enumerate(words)
        )


class Mix:
    """Joins the beginning of one text and the end of another: a text and one of its neighbours in the train set.

    Neighbours are the nearest texts by cosine in an embedding space. One of the five nearest is drawn, then the text
    that provides the beginning, then the position of the join, from .3 to .7 of both texts.

    Args:
        embed: maps texts to vectors, `n x H`.
        pool: the texts of the train rows.
        points: the largest number of new texts per text.
    """

    def __init__(self, embed: Callable[[Sequence[Fields]], NDArray[np.float32]], pool: Sequence[Fields], points: int):
        self._embed, self._pool, self.points = embed, list(pool), points
        self._vectors = _unit(embed(self._pool))

    def __call__(self, texts: Sequence[Fields], random: Random) -> list[list[Fields]]:
        """Return the new texts made from each text."""
        if not texts:
            return []
        order = np.argsort(-(_unit(self._embed(texts)) @ self._vectors.T), axis=1, kind="stable")[:, :_NEAREST]
        result = []
        for fields, nearest in zip(texts, order, strict=True):
            neighbours = [self._pool[i] for i in nearest]
            result.append(_different(fields, partial(self._mixed, fields, neighbours, random), self.points))
        return result

    def _mixed(self, fields: Fields, neighbours: Sequence[Fields], random: Random) -> Fields:
        pair = [fields, neighbours[int(random.integers(len(neighbours)))]]
        if random.random() < 0.5:
            pair.reverse()
        share = random.uniform(0.3, 0.7)
        return tuple(_joined(begin, end, share) for begin, end in zip(*pair, strict=True))


def load_masked(source: str, device: Device | None = None) -> Masked:
    """Return a masked language model with its tokenizer. Raises InputError if its head is missing."""
    from transformers import AutoModelForMaskedLM

    found = open_model(source)
    with found.blamed():
        check_sees_both_sides(found.config)
    model, missing = found.network(AutoModelForMaskedLM)
    if missing:
        raise InputError(f"{source} is no masked language model: its checkpoint lacks {missing[0]}")
    place = device or Device()
    return Masked(model.requires_grad_(False).to(place.torch), found.tokenizer(), place)


def whole_words(tokenizer: Any) -> dict[str, int]:
    """Return the tokens that are whole words of three letters or more, in lower case, with their ids.

    If the vocabulary marks pieces inside words (`##`), these are the unmarked tokens; otherwise the tokens that are
    marked as the beginning of a word.
    """
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    marked = any(token.startswith("##") for token in vocabulary)
    found: dict[str, int] = {}
    for token, number in sorted(vocabulary.items(), key=lambda item: item[1]):
        word = token if marked else token[1:] if token[:1] in "Ġ▁" else ""
        if len(word) > 2 and word.isalpha():
            found.setdefault(word.lower(), number)
    return found


def _joined(begin: str, end: str, share: float) -> str:
    first, second = begin.split(), end.split()
    return " ".join([*first[: max(1, round(share * len(first)))], *second[round(share * len(second)) :]])


def _core(word: str) -> str:
    """Return the letters of a word without the punctuation around them; empty if other characters are between them."""
    match = re.fullmatch(r"[\W_]*([^\W\d_]+)[\W_]*", word)
    return match.group(1) if match else ""


def _in_place_of(word: str, new: str) -> str:
    """Return a new word with the punctuation and the capitals of the old word."""
    core = _core(word)
    if core.isupper() and len(core) > 1:
        new = new.upper()
    elif core[:1].isupper():
        new = new.capitalize()
    return word.replace(core, new, 1)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
