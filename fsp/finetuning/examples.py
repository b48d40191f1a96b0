"""Labelled texts: reading them from files, checking them, and setting part of dev aside."""

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fsp.errors import InputError
from fsp.near_copies import normalised

TEXT_COLUMNS = (("text",), ("text", "text_pair"), ("sentence",), ("sentence1", "sentence2"))
HELD_OUT = 3  # one in so many rows of dev is set aside where there is no test set


@dataclass(frozen=True)
class Example:
    """A labelled text or pair of texts.

    fields: one or two texts. label: index of the class. target: probabilities of the classes to train on instead of
    the label alone. source: of a generated point, the row of dev that it was made from; None for a given one.
    """

    fields: tuple[str, ...]
    label: int
    target: tuple[float, ...] | None = None
    source: int | None = None


@dataclass(frozen=True)
class Data:
    """What a fine-tuning starts from.

    dev: what fits are compared on. final: what nothing but the final figures sees; `final_is` tells whether it is the
    `test` set, or the `held-out third of dev`.
    """

    labels: tuple[str, ...]
    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    final: tuple[Example, ...]
    final_is: str

    @property
    def digest(self) -> str:
        """Short digest of all rows."""
        whole = hashlib.sha256(repr(self.labels).encode())
        for part in (self.train, self.dev, self.final):
            whole.update(repr([(one.fields, one.label) for one in part]).encode())
        return whole.hexdigest()[:16]


def load_data(
    train: str | Path,
    dev: str | Path,
    test: str | Path | None = None,
    *,
    text: Sequence[str] = (),
    label: str = "label",
    seed: int = 0,
) -> Data:
    """Read train, dev and test from CSV, JSONL or parquet files.

    Without a test set a third of dev is set aside, stratified by label, equal texts kept together.

    Args:
        train: the file of the rows to train on.
        dev: the file of the rows to compare fits on.
        test: the file of the rows that only the final figures see.
        text: one or two columns of text; by default `text`, `text` and `text_pair`, `sentence`, or `sentence1` and
            `sentence2`, whichever the train set has.
        label: the column of the label.
        seed: of what is set aside.

    Raises:
        InputError: a file or column is missing, a text is no text, a set is empty, train has a single class, dev or
            test has a label that train has not, or two sets have rows in common.
    """
    frames = {name: _read(Path(path)) for name, path in (("train", train), ("dev", dev), ("test", test)) if path}
    columns = _text_columns(frames["train"], Path(train), tuple(text))
    rows = {name: _rows(frame, columns, label, name) for name, frame in frames.items()}
    labels = _labels(rows["train"])
    if len(labels) < 2:
        raise InputError(f"train has the single label {labels[0]!r}; give rows of at least two labels")
    parts = {name: _indexed(found, labels, name) for name, found in rows.items()}
    _refuse_overlap(parts)
    if "test" in parts:
        return Data(labels, parts["train"], parts["dev"], parts["test"], "test")
    compared, aside = set_aside(parts["dev"], seed)
    return Data(labels, parts["train"], compared, aside, "held-out third of dev")


def set_aside(dev: Sequence[Example], seed: int) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Return dev without a third of it, and that third: stratified by label, equal texts on the same side.

    Raises:
        InputError: dev has too few rows.
    """
    groups: dict[str, list[Example]] = {}
    for one in dev:
        groups.setdefault(normalised(one.fields), []).append(one)
    order = np.random.default_rng([seed, 3]).permutation(len(groups))
    shuffled = [list(groups.values())[i] for i in order]
    shuffled.sort(key=lambda group: group[0].label)  # stable: within a label the order stays random
    aside = {id(one) for group in shuffled[HELD_OUT - 1 :: HELD_OUT] for one in group}
    if not aside:
        raise InputError(f"dev has {len(dev)} rows, too few to set a third aside; give more, or a test set")
    return (
        tuple(one for one in dev if id(one) not in aside),
        tuple(one for one in dev if id(one) in aside),
    )


def _read(path: Path) -> Any:
    """Return a file as a data frame; CSV cells stay text."""
    import pandas as pd

    readers = {".csv": "CSV", ".tsv": "TSV", ".jsonl": "JSONL", ".ndjson": "JSONL", ".parquet": "parquet"}
    kind = readers.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"{path} is no .csv, .tsv, .jsonl or .parquet file; convert it")
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        if kind == "parquet":
            return pd.read_parquet(path)
        if kind == "JSONL":
            lines = path.read_text(encoding="utf-8-sig").split("\n")  # U+2028 and U+0085 may stand inside a string
            return pd.DataFrame([dict(json.loads(line)) for line in lines if line.strip()], dtype=object)
        separator = "," if kind == "CSV" else "\t"
        return pd.read_csv(
            path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig", quoting=_quoting(path, kind)
        )
    except ImportError:
        raise InputError(f"reading {path} needs pyarrow; run: pip install pyarrow") from None
    except pd.errors.EmptyDataError:
        raise InputError(f"{path} is empty") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}); convert it") from None
    except Exception as error:  # pandas and pyarrow raise many kinds; for the user each is one unreadable file
        raise InputError(f"{path} is not readable as {kind}: {' '.join(str(error).split())[:150]}") from None


def _quoting(path: Path, kind: str) -> Literal[0, 3]:
    """Return csv's rule for quotation marks: none in a TSV with any that stands alone in its line, as GLUE ships it."""
    if kind == "TSV":
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            if any(line.count('"') % 2 for line in file):
                return csv.QUOTE_NONE
    return csv.QUOTE_MINIMAL


def _text_columns(frame: Any, path: Path, wanted: tuple[str, ...]) -> tuple[str, ...]:
    if wanted:
        if len(wanted) > 2 or len(set(wanted)) < len(wanted):
            raise InputError(f"name one or two different columns of text, not {', '.join(wanted)}")
        return wanted
    present = [columns for columns in TEXT_COLUMNS if set(columns) <= set(frame.columns)]
    if not present:
        known = ", ".join(map(str, frame.columns)) or "none"
        raise InputError(f"{path} has no column text or sentence (it has: {known}); name the column with --text")
    return max(present, key=len)


def _rows(frame: Any, columns: tuple[str, ...], label: str, name: str) -> list[tuple[tuple[str, ...], Any]]:
    missing = [column for column in (*columns, label) if column not in frame.columns]
    if missing:
        known = ", ".join(map(str, frame.columns))
        raise InputError(f"{name} has no column {', '.join(missing)} (it has: {known}); see --text and --label")
    if frame.empty:
        raise InputError(f"{name} has no rows")
    for column in columns:
        for number, value in enumerate(frame[column], 1):
            if not isinstance(value, str) or not value.strip() or "\0" in value:
                raise InputError(f"{name}, row {number}: {column} is {value!r:.60}, not a text")
        if all(_is_number(value) for value in frame[column]):
            raise InputError(f"{name}: column {column} holds numbers, not texts; name the column of text with --text")
    found = []
    for number, (*fields, value) in enumerate(zip(*(frame[column] for column in (*columns, label)), strict=True), 1):
        plain = _plain(value)
        if plain is None:
            raise InputError(f"{name}, row {number}: {label} is {value!r:.60}, not a label")
        found.append((tuple(fields), plain))
    return found


def _plain(label: Any) -> str | None:
    """Return a label as text: whole numbers without a fraction, truth values as they are; None where it is none."""
    if isinstance(label, float | np.floating) and float(label).is_integer():
        label = int(label)
    if isinstance(label, str | bool | int | np.integer | np.bool_):
        plain = str(label).strip()
        whole = re.fullmatch(r"(-?\d+)\.0*", plain)
        return str(int(whole[1])) if whole else plain or None
    return None


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _labels(rows: Sequence[tuple[tuple[str, ...], str]]) -> tuple[str, ...]:
    """The labels in order: numbers by value, others by alphabet."""
    found = {label for _, label in rows}
    if all(label.lstrip("-").isdigit() for label in found):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))


def _indexed(rows: Sequence[tuple[tuple[str, ...], str]], labels: tuple[str, ...], name: str) -> tuple[Example, ...]:
    index = {label: i for i, label in enumerate(labels)}
    for number, (_, label) in enumerate(rows, 1):
        if label not in index:
            raise InputError(f"{name}, row {number}: label {label!r} is not among train's ({', '.join(labels)})")
    return tuple(Example(fields, index[label]) for fields, label in rows)


def _refuse_overlap(parts: dict[str, tuple[Example, ...]]) -> None:
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        if one in parts and other in parts:
            known = {normalised(example.fields) for example in parts[one]}
            common = sum(normalised(example.fields) in known for example in parts[other])
            if common:
                raise InputError(
                    f"{common} of {len(parts[other])} rows of {other} are also in {one}; remove them there or here"
                )


def majority_share(examples: Sequence[Example]) -> float:
    """Return the share of the most frequent label: what always guessing it would score."""
    return max(Counter(one.label for one in examples).values()) / len(examples)
