"""The sources of figures: a table in memory, or the files that a command has written."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from fsp.base.errors import InputError
from fsp.base.files import read_json

Shape = Mapping[str, int]


@dataclass(frozen=True)
class Evaluated:
    """Evaluated candidates and the choice among them.

    Attributes:
        table: one row per candidate, failed ones left out.
        selected: the choice.
        maximum: p, i and, if known, error of T.
        limits: absolute limits, by column.
        largest_w: the shapes of the largest W, with p of all parameters (`total`) and of the encoder (`encoder`).
    """

    table: pd.DataFrame
    selected: Shape | None = None
    maximum: Mapping[str, float] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    largest_w: Mapping[str, Shape] = field(default_factory=dict)

    def row(self, shape: Shape | None) -> pd.Series | None:
        """Return the row of an architecture, None if there is none."""
        if shape is None:
            return None
        found = self.table[(self.table[list(shape)] == pd.Series(shape)).all(axis=1)]
        return None if found.empty else found.iloc[0]

    def runners_up(self, by: str = "error", count: int = 3) -> pd.DataFrame:
        """Return the next best rows after the choice, the best first.

        Args:
            by: the column that ranks; larger is better if its name begins with `w_`, else smaller. With `error`,
                candidates trained longer (`finalist_error`) come before all others.
            count: number of rows.
        """
        chosen = self.row(self.selected)
        others = self.table if chosen is None else self.table.drop(index=[chosen.name])
        columns = ["finalist_error", by] if by == "error" and "finalist_error" in others else [by]
        return others.sort_values(columns, ascending=not by.startswith("w_")).head(count)


Source = pd.DataFrame | Evaluated | str | Path


def outcome(source: Source, selected: Shape | None, maximum: Mapping[str, float] | None) -> Evaluated:
    """Return the outcome in a table or the folder of a run; `selected` and `maximum` take precedence over its own.

    Raises:
        InputError: the folder holds no finished run, or the table has no column `error`.
    """
    if isinstance(source, pd.DataFrame):
        if "error" not in source:
            raise InputError(f"the table has no column error; it has {', '.join(map(str, source.columns))}")
        return Evaluated(source.dropna(subset=["error"]), selected, maximum or {})
    if not isinstance(source, Evaluated):
        source = outcome_of(load_result(Path(source)), load_evaluations(Path(source)))
    return replace(source, selected=selected or source.selected, maximum={**source.maximum, **(maximum or {})})


def outcome_of(result: Mapping[str, Any], table: pd.DataFrame) -> Evaluated:
    """Return the outcome in a run's `result.json` and `evaluations.csv`."""
    full = next(model for model in result["models"] if model["name"] == "T")
    known = {name: value for name, value in full.items() if isinstance(value, int | float)}
    return Evaluated(
        table.dropna(subset=["error"]),
        result["selected"],
        {**known, "error": full["error"]["mean"]},
        result["search"]["limits"],
        {name: w["architecture"] for name, w in result["w_choice"].items()},
    )


def load_result(folder: Path) -> dict[str, Any]:
    """Return a finished run's result. Raises InputError if there is none."""
    if not (folder / "result.json").is_file():
        raise InputError(f"{folder} holds no finished run; make one with: fsp run SPACE --out {folder}")
    result = read_json(folder / "result.json")
    if not isinstance(result, dict) or result.get("schema") != 1:
        raise InputError(f"{folder / 'result.json'} is no result of this version of fsp (schema 1)")
    return result


def load_evaluations(folder: Path) -> pd.DataFrame:
    """Return a run's table of evaluations. Raises InputError if there is none."""
    return read_evaluations(folder / "evaluations.csv")


def read_evaluations(path: Path) -> pd.DataFrame:
    """Return a CSV file that fsp has written. Raises InputError if it cannot be read."""
    try:
        return pd.read_csv(path)
    except (ValueError, OSError):
        raise InputError(f"{path} cannot be read as a table; run again in a new folder") from None


def columns_of(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return the rows in which all the named columns have numbers. Raises InputError if there are none."""
    for name in names:
        if name not in table:
            raise InputError(f"the table has no column {name}; it has {', '.join(map(str, table.columns))}")
    known = table.dropna(subset=names)
    if known.empty:
        raise InputError(f"no row of the table has numbers in {', '.join(names)}")
    return known
