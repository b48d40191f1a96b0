"""Training hyperparameters: sets of them, and grids Θ of sets."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from fsp.base.errors import InputError
from fsp.base.files import read_json

LARGEST = 2**31 - 1  # the largest seed or batch, which every store can hold


@dataclass(frozen=True, order=True)
class Hyperparameters:
    """One θ: everything that a fit depends on besides model, data and number of steps.

    Attributes:
        learning_rate: the peak of AdamW's learning rate.
        weight_decay: decoupled weight decay, on weight matrices only.
        warmup: fraction of the steps.
        batch: rows per step.
        seed: seed of the new head, the order of the rows and the dropout.
    """

    learning_rate: float
    weight_decay: float = 0.01
    warmup: float = 0.1
    batch: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "weight_decay", "warmup"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise InputError(f"{name} must be a number, not {value!r}")
            object.__setattr__(self, name, float(value))
        for name, least in (("batch", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= LARGEST:
                raise InputError(f"{name} must be an integer from {least} to {LARGEST}, not {value!r}")
        if self.learning_rate <= 0 or self.weight_decay < 0 or not 0 <= self.warmup <= 1:
            raise InputError(f"need learning_rate > 0, weight_decay >= 0 and warmup from 0 to 1; got {self}")

    def __str__(self) -> str:
        return " ".join(f"{name}={value:g}" for name, value in asdict(self).items())


def grid(**choices: Iterable[Any]) -> tuple[Hyperparameters, ...]:
    """Return all combinations; the last argument varies fastest.

    Example:
        >>> [str(t) for t in grid(learning_rate=[1e-4], batch=[8, 16])]  # doctest: +NORMALIZE_WHITESPACE
        ['learning_rate=0.0001 weight_decay=0.01 warmup=0.1 batch=8 seed=0',
         'learning_rate=0.0001 weight_decay=0.01 warmup=0.1 batch=16 seed=0']
    """
    return tuple(
        Hyperparameters(**dict(zip(choices, values, strict=True))) for values in itertools.product(*choices.values())
    )


SMALL = grid(learning_rate=[1e-3, 3e-4, 1e-4], batch=[8, 16])
# the grid of alexa/bort's README
BORT = grid(
    seed=[0, 1, 2, 3, 4],
    learning_rate=[1e-4, 1e-5, 9e-6],
    weight_decay=[0.0, 10.0, 100.0, 350.0],
    warmup=[0.35, 0.40, 0.45, 0.50],
    batch=[8, 16],
)
PRESETS = {"small": SMALL, "bort": BORT}


def load_theta(source: str | Path) -> tuple[Hyperparameters, ...]:
    """Return a preset by name (`small`, `bort`), or the sets in a JSON file: a list of objects.

    Raises:
        InputError: there is no such preset or file, the file is not a list of sets, a name is unknown or missing, a
            value is out of range, or a set occurs twice.

    Example:
        >>> len(load_theta("small")), len(load_theta("bort"))
        (6, 480)
    """
    if str(source) in PRESETS:
        return PRESETS[str(source)]
    path = Path(source)
    if not path.is_file():
        raise InputError(f"no hyperparameter sets {source}; name {' or '.join(PRESETS)}, or a JSON file")
    rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f'{path} must hold a list of objects such as {{"learning_rate": 1e-4, "batch": 16}}')
    known = {field.name for field in fields(Hyperparameters)}
    sets = []
    for number, row in enumerate(rows, 1):
        if "learning_rate" not in row or not row.keys() <= known:
            raise InputError(f"{path}, set {number}: give learning_rate and no names but {', '.join(sorted(known))}")
        try:
            sets.append(Hyperparameters(**row))
        except InputError as error:
            raise InputError(f"{path}, set {number}: {error}") from None
    return check_distinct(sets)


def check_distinct(sets: Sequence[Hyperparameters]) -> tuple[Hyperparameters, ...]:
    """Return the sets as a tuple. Raises InputError if there is none, or if one occurs twice."""
    if not sets:
        raise InputError("there are no hyperparameter sets; give at least one")
    first: dict[Hyperparameters, int] = {}
    for number, one in enumerate(sets, 1):
        if first.setdefault(one, number) != number:
            raise InputError(f"hyperparameter sets {first[one]} and {number} are equal ({one}); remove one")
    return tuple(sets)
