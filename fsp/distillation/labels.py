"""Labels of classes: how they are written in files, and the numbers that T gives to their names."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError

_WHOLE = r"-?[0-9]{1,18}"
_SHOWN = 20  # names of classes in a message


def plain_label(label: Any) -> str | None:
    """Return a label as text, with whole numbers as integers; None if the value is not a label."""
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if isinstance(label, str | int):
        plain = str(label).strip()
        whole = re.fullmatch(rf"({_WHOLE})\.0*", plain)
        return str(int(whole[1])) if whole else plain or None
    return None


def is_whole(label: str) -> bool:
    """Return whether a label is a whole number."""
    return re.fullmatch(_WHOLE, label) is not None


def in_order(
    names: Sequence[str], label_ids: Mapping[str, int] | None, classes: int | None
) -> Mapping[str, int] | None:
    """Return the numbers of classes by name: T's, or the places in alphabetical order if T's classes have no names.

    Args:
        names: the names that occur.
        label_ids: numbers of T's classes by name.
        classes: number of T's classes; None if unknown.

    Raises:
        InputError: T's classes have no names, and there are more or fewer names than classes.
    """
    found = sorted(set(names))
    if _named(label_ids) or all(map(is_whole, found)) or set(found) <= set(label_ids or ()):
        return label_ids
    if classes is not None and classes != len(found):
        raise InputError(
            f"there are {len(found)} classes ({_listed(found)}), and T has {classes} without names; give samples of "
            f"every class, or call the classes by numbers from 0 to {classes - 1}"
        )
    return {name: number for number, name in enumerate(found)}


def numbered(
    labels: Sequence[str | int], label_ids: Mapping[str, int] | None, classes: int | None
) -> NDArray[np.int64]:
    """Return the number of each label's class, `(n,)`.

    Args:
        labels: names of T's classes, or numbers.
        label_ids: numbers of T's classes by name, as in the configuration of a model; None if they have no names.
        classes: number of T's classes; None if unknown.

    Raises:
        InputError: a label is not one of T's classes, or a class has a single sample.

    Example:
        >>> numbered(["good", "bad", "good", "bad"], {"bad": 0, "good": 1}, classes=2)
        array([1, 0, 1, 0])
    """
    counts = Counter(map(str, labels))
    if label_ids and counts.keys() <= label_ids.keys():
        numbers = {name: label_ids[name] for name in counts}
    elif unknown := [name for name in counts if not is_whole(name) and not (label_ids and name in label_ids)]:
        if label_ids and _named(label_ids):
            raise InputError(f"label {unknown[0]!r}: T has the classes {_listed(list(label_ids))}; use their names")
        raise InputError(f"label {unknown[0]!r}: T's classes have no names; use their numbers from 0")
    elif mixed := [name for name in counts if not is_whole(name)]:
        whole = next(name for name in counts if is_whole(name))
        raise InputError(f"the labels are names such as {mixed[0]!r} and numbers such as {whole}; use one of both")
    else:
        numbers = {name: int(name) for name in counts}
    for name, number in numbers.items():
        if number < 0 or (classes is not None and number >= classes):
            most = "T's classes are numbered from 0" + ("" if classes is None else f" to {classes - 1}")
            raise InputError(f"label {name}: {most}; mend it, or leave the labels out")
    for number, times in Counter(numbers[str(label)] for label in labels).items():
        if times < 2:
            name = next(name for name in counts if numbers[name] == number)
            raise InputError(f"class {name} has one sample; give at least two or leave the labels out")
    return np.array([numbers[str(label)] for label in labels], dtype=np.int64)


def _named(label_ids: Mapping[str, int] | None) -> bool:
    """Return whether classes have names other than the usual placeholders."""
    return label_ids is not None and any(not re.fullmatch("LABEL_[0-9]+", name) for name in label_ids)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
