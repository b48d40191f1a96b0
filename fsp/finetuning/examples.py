"""Labelled texts: reading them from files, checking them, and setting part of dev aside."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fsp.base.errors import InputError
from fsp.distillation.labels import is_whole, plain_label
from fsp.distillation.text.near_copies import normalised
from fsp.distillation.text.reading import is_number
from fsp.distillation.text.rows import read_rows

TEXT_COLUMNS = (("text",), ("text", "text_pair"), ("sentence",), ("sentence1", "sentence2"))
HELD_OUT = 3  # if there is no test set, one row of dev in three is set aside


@dataclass(frozen=True)
class Example:
    """A labelled text or pair of texts.

    Attributes:
        fields: one or two texts.
        label: index of the class.
        target: probabilities of the classes to train on instead of the label; None for the label.
        source: the row of dev that a generated point was made from; None for a row of the data.
    """

    fields: tuple[str, ...]
    label: int
    target: tuple[float, ...] | None = None
    source: int | None = None


@dataclass(frozen=True)
class Data:
    """The data of a fine-tuning.

    Attributes:
        labels: names of the classes.
        train: rows to train on.
        dev: rows to compare fits on.
        final: rows used for the final figures only.
        final_is: where they come from, `test` set or `held-out third of dev`.
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
    """Read train, dev and test from files with rows (see `fsp.distillation.text.rows`).

    Without a test set, a third of dev is set aside, stratified by label, with equal texts kept together.

    Args:
        train: file of the rows to train on.
        dev: file of the rows to compare fits on.
        test: file of the rows for the final figures.
        text: one or two columns of text; by default those that the train set has of `text`, `text` and `text_pair`,
            `sentence`, or `sentence1` and `sentence2`.
        label: the column of the label.
        seed: seed of the choice of rows to set aside.

    Raises:
        InputError: a file or column is missing, a value in a column of text is not text, a set is empty, train has a
            single class, dev or test has a label that train does not have, or two sets have rows in common.
    """
    given = {name: path for name, path in (("train", train), ("dev", dev), ("test", test)) if path}
    frames = {name: [row.values for row in read_rows(Path(path))] for name, path in given.items()}
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
    """Return two thirds of dev, and the other third, stratified by label, with equal texts in the same part.

    Raises:
        InputError: dev has too few rows.
    """
    groups: dict[str, list[Example]] = {}
    for one in dev:
        groups.setdefault(normalised(one.fields), []).append(one)
    order = np.random.default_rng([seed, 3]).permutation(len(groups))
    shuffled = [list(groups.values())[i] for i in order]
    shuffled.sort(key=lambda group: group[0].label)  # the sort is stable, so the order within a label stays random
    aside = {id(one) for group in shuffled[HELD_OUT - 1 :: HELD_OUT] for one in group}
    if not aside:
        raise InputError(f"dev has {len(dev)} rows, too few to set a third aside; give more, or a test set")
    return (
        tuple(one for one in dev if id(one) not in aside),
        tuple(one for one in dev if id(one) in aside),
    )


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, None]:
    return {column: None for row in rows for column in row}


def _text_columns(rows: Sequence[dict[str, Any]], path: Path, wanted: tuple[str, ...]) -> tuple[str, ...]:
    if wanted:
        if len(wanted) > 2 or len(set(wanted)) < len(wanted):
            raise InputError(f"name one or two different columns of text, not {', '.join(wanted)}")
        return wanted
    found = _columns(rows)
    present = [columns for columns in TEXT_COLUMNS if set(columns) <= found.keys()]
    if not present and rows:
        known = ", ".join(found) or "none"
        raise InputError(f"{path} has no column text or sentence (it has: {known}); name the column with --text")
    return max(present, key=len, default=())


def _rows(
    rows: Sequence[dict[str, Any]], columns: tuple[str, ...], label: str, name: str
) -> list[tuple[tuple[str, ...], str]]:
    if not rows:
        raise InputError(f"{name} has no rows")
    known = _columns(rows)
    missing = [column for column in (*columns, label) if column not in known]
    if missing:
        raise InputError(f"{name} has no column {', '.join(missing)} (it has: {', '.join(known)}); see --text, --label")
    found = []
    for number, row in enumerate(rows, 1):
        for column in columns:
            value = row.get(column)
            if not isinstance(value, str) or not value.strip() or "\0" in value:
                raise InputError(f"{name}, row {number}: {column} is {value!r:.60}, not a text")
        plain = plain_label(row.get(label))
        if plain is None:
            raise InputError(f"{name}, row {number}: {label} is {row.get(label)!r:.60}, not a label")
        found.append((tuple(row[column] for column in columns), plain))
    for column in columns:
        if all(is_number(row[column]) for row in rows):
            raise InputError(f"{name}: column {column} holds numbers, not texts; name the column of text with --text")
    _refuse_mixed({plain for _, plain in found}, name, label)
    return found


def _refuse_mixed(labels: set[str], name: str, column: str) -> None:
    """Raise InputError if two of the labels are probably the same."""
    known: dict[str, str] = {}
    for label in sorted(labels):
        other = known.setdefault(label.casefold(), label)
        if other != label:
            raise InputError(f"{name}: {column} has {other!r} and {label!r}, which differ in case alone; use one")
    truth = sorted(label for label in labels if label.casefold() in ("true", "false"))
    numbers = sorted(filter(is_whole, labels))
    if truth and numbers:
        raise InputError(f"{name}: {column} has {truth[0]!r} and {numbers[0]!r}; use truth values or numbers, not both")


def _labels(rows: Sequence[tuple[tuple[str, ...], str]]) -> tuple[str, ...]:
    """Return the labels in order: numbers by value, others alphabetically."""
    found = sorted({label for _, label in rows})
    return tuple(sorted(found, key=int) if all(map(is_whole, found)) else found)


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
    """Return the share of the most frequent label, which is the accuracy of always guessing it."""
    return max(Counter(one.label for one in examples).values()) / len(examples)
