"""`report.html`: one self-contained page without scripts or network access."""

import base64
from pathlib import Path
from typing import Any

import pandas as pd

from fsp.errors import InputError
from fsp.files import read_json, write_text
from fsp.report import figures
from fsp.report.summary import CARD_COLUMNS, COLUMNS, NAMES, card_rows, error_of, headline, model_rows, trust

_COLUMNS = (
    "parameters",
    "encoder_parameters",
    "operations",
    "error",
    "finalist_error",
    "w_total",
    "w_encoder",
    "seconds",
    "failure",
)


def load_result(folder: Path) -> dict[str, Any]:
    """Return a finished run's result. Raises InputError where there is none."""
    if not (folder / "result.json").is_file():
        raise InputError(f"{folder} holds no finished run; make one with: fsp run SPACE --out {folder}")
    result = read_json(folder / "result.json")
    if not isinstance(result, dict) or result.get("schema") != 1:
        raise InputError(f"{folder / 'result.json'} is no result of this version of fsp (schema 1)")
    return result


def load_evaluations(folder: Path) -> pd.DataFrame:
    """Return a run's table of evaluations. Raises InputError where there is none."""
    try:
        return pd.read_csv(folder / "evaluations.csv")
    except (ValueError, OSError):
        raise InputError(f"{folder / 'evaluations.csv'} cannot be read as a table; run again in a new folder") from None


def write_page(result: dict[str, Any], table: pd.DataFrame, path: Path) -> None:
    """Write the page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    def embedded(svg: bytes) -> str:
        return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()

    shape = list(result["selected"])
    columns = [*shape, *(c for c in _COLUMNS if c in table and table[c].notna().any())]
    ordered = table.sort_values("error")[columns].astype(object).where(table.notna(), "")
    page = (
        Environment(loader=PackageLoader("fsp.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        .get_template("page.html")
        .render(
            result=result,
            headline=headline(result),
            error=error_of(result),
            models=model_rows(result),
            names=NAMES,
            titles=COLUMNS,
            columns=columns,
            evaluations=ordered.to_dict("records"),
            selected=result["selected"],
            trust=trust(result),
            card_titles=CARD_COLUMNS,
            card=card_rows(result["card"]) if result.get("card") else [],
            light=embedded(figures.front_svg(result, table, dark=False)),
            dark=embedded(figures.front_svg(result, table, dark=True)),
        )
    )
    write_text(path, page)
