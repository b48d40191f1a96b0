"""Cutting text into passages and into sentences, in every script."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache

from unicode_segmentation_rs import text_width, unicode_sentences, unicode_words

PASSAGE = 1000  # characters; approximate size of passages, the unit of the split
LONGEST = 4 * PASSAGE  # characters; longer lines are cut
_BLANK_LINES = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")
_WRAPPED = range(50, 121)  # columns that text is wrapped at
_FILLED = 0.75  # share of the columns that most lines of wrapped text fill
_LEAST_WORDS = 2
_MARKS = 32  # the most marks on one letter
_LETTERS = 0.75  # smallest share of letters in the visible characters of a sentence; code has fewer


def passages(text: str) -> list[str]:
    r"""Return a text cut into passages of about 1,000 characters: at blank lines, else at line ends, else anywhere.

    Example:
        >>> [len(passage) for passage in passages("A short line of text.\n\n" * 100)]
        [1010, 1010, 274]
    """
    result, current = [], ""
    for separator, piece in _pieces(text):
        if piece.strip():
            current = f"{current}{separator}{piece}" if current else piece
            if len(current) >= PASSAGE:
                result.append(current)
                current = ""
    return [*result, current] if current else result


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Yield (separator, piece) for each paragraph; those above 4,000 characters are split into lines, and these cut."""
    for paragraph in _BLANK_LINES.split(text):
        separator = "\n\n"
        for line in paragraph.splitlines() if len(paragraph) > LONGEST else [paragraph]:
            for piece in cut(line, LONGEST):
                yield separator, piece
                separator = " "
            separator = "\n"


def cut(line: str, longest: int) -> Iterator[str]:
    """Yield a line in pieces of at most `longest` characters, cut at a space, else anywhere except before a mark.

    Example:
        >>> list(cut("one two three", 8))
        ['one two', 'three']
    """
    start = 0
    while len(line) - start > longest:
        stop = next((i for i in range(start + longest, start, -1) if line[i].isspace()), 0)
        if not stop:
            stop = start + longest
            while stop > max(start + 1, start + longest - _MARKS) and _kind(line[stop]) == "M":
                stop -= 1
        yield line[start:stop]
        start = stop
        while start < len(line) and line[start].isspace():
            start += 1
    yield line[start:]


def sentences(texts: Iterable[str], *, longest: int = 300) -> list[str]:
    """Return the distinct sentences of the texts, in order; white space within them is a single space.

    Sentences follow the Unicode rules, in every script. A line is a sentence of its own, with or without a full stop,
    unless its paragraph is wrapped text. A sentence of more than `longest` characters is cut (Thai, for example, has no
    mark for the end of a sentence). Code, tables and rules are left out: pieces of a single word, and pieces in which
    less than 75% of the visible characters except one (the full stop) are letters, their marks or digits.

    Source: Unicode Standard Annex #29, section 5.

    Example:
        >>> sentences(["Is it so? यह सच है। 天气很好。真的。", "cheap flights"])
        ['Is it so?', 'यह सच है।', '天气很好。', '真的。', 'cheap flights']
    """
    found: dict[str, None] = {}
    for text in texts:
        for paragraph in _BLANK_LINES.split(text):
            for run in _unwrapped(paragraph):
                for sentence in unicode_sentences(run):
                    for piece in cut(" ".join(sentence.split()), longest):
                        if _is_language(piece):
                            found[piece] = None
    return list(found)


def _unwrapped(paragraph: str) -> list[str]:
    """Return the lines of a paragraph, with wrapped lines joined.

    Wrapped text is 50 to 120 columns wide. If most lines except the last fill three quarters of the width, all are
    joined; otherwise a line that does is joined with the next one if that begins with a lower-case letter.
    """
    lines = [line.strip() for line in paragraph.splitlines()]
    widths = [text_width(line) for line in lines]
    widest = max(widths, default=0)
    if len(lines) < 2 or widest not in _WRAPPED:
        return lines
    filled = [width >= _FILLED * widest for width in widths]
    if 2 * sum(filled[:-1]) > len(lines) - 1:
        return [" ".join(lines)]
    joined = lines[:1]
    for line, full in zip(lines[1:], filled, strict=False):
        if full and line[:1].islower():
            joined[-1] += " " + line
        else:
            joined.append(line)
    return joined


def _is_language(piece: str) -> bool:
    if len(unicode_words(piece)) < _LEAST_WORDS:
        return False
    kinds = [_kind(character) for character in piece]
    visible = len(kinds) - kinds.count("Z")
    letters = kinds.count("L") + kinds.count("M")
    return 2 * letters > visible and letters + kinds.count("N") >= _LETTERS * (visible - 1)


@cache
def _kind(character: str) -> str:
    """The first letter of a character's general category: L letter, M mark, N number, Z space, ..."""
    return unicodedata.category(character)[0]
