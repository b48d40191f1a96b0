"""`report.html`: one self-contained page, interactive without network access, readable without scripts."""

import base64
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from fsp.base.errors import InputError
from fsp.base.files import write_text
from fsp.base.rounding import at_least, at_most
from fsp.report.alternatives import alternatives_svg
from fsp.report.explorer import explorer
from fsp.report.fronts import pairs_svg
from fsp.report.sources import outcome_of
from fsp.report.summary import (
    CARD_COLUMNS,
    NAMES,
    card_rows,
    columns_of,
    command,
    error_of,
    headline,
    model_rows,
    trust,
    unit_of,
)

_PREDICTED = ("predicted_error", "predicted_low", "predicted_high")
_COLUMNS = (
    "parameters",
    "encoder_parameters",
    "operations",
    "peak_memory",
    "error",
    "finalist_error",
    *_PREDICTED,
    "w_total",
    "w_encoder",
    "seconds",
    "failure",
)
_COMPARED = ("error", "encoder_parameters", "parameters", "operations")
_REAL = ("error", "finalist_error", *_PREDICTED, "w_total", "w_encoder", "seconds")
_PRINTED = 40  # rows of the printed table


def certificate_in(folder: Path, result: dict[str, Any]) -> dict[str, Any] | None:
    """Return the recomputed result of the `certificate.json` in a folder, None if there is none.

    Raises:
        InputError: the file is not a certificate, or is of another space than the run.
    """
    from fsp.search.certificates.certificate import check_certificate, verify
    from fsp.search.certificates.reading import read_certificate

    path = folder / "certificate.json"
    if not path.exists():
        return None
    content = read_certificate(path)
    check_certificate(content)
    space, own = content["space"] or {}, result["config"]["space"]
    if any(space.get(key) != own[key] for key in ("parameters", "rules", "maximum")):
        raise InputError(f"{path} is of another search space than the run in {folder}; move it elsewhere")
    verdict = verify(content)
    return {"holds": verdict.holds, "reasons": verdict.reasons, "target": content["target"], **verdict.result}


def _inline(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def write_page(
    result: dict[str, Any], table: pd.DataFrame, path: Path, *, certificate: dict[str, Any] | None = None
) -> None:
    """Write the page; `certificate` is the result of `certificate_in`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    held = outcome_of(result, table)
    shape = list(result["selected"])
    columns = [*shape, *(c for c in _COLUMNS if c in table and table[c].notna().any())]
    ordered = table.sort_values("error").reset_index(drop=True)[columns]
    shown = explorer(held, ordered)
    facts = {"document": shown.document, "roots": shown.roots, "shape": shape, "selected": result["selected"]}
    environment = Environment(
        loader=PackageLoader("fsp.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"at_least": at_least, "at_most": at_most}
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # the order of Bokeh's models matters
    page = environment.get_template("page.html").render(
        result=result,
        headline=headline(result),
        error=error_of(result),
        certificate=certificate,
        models=model_rows(result),
        names=NAMES,
        titles=columns_of(result),
        unit=unit_of(result),
        readout=any(model["readout_parameters"] for model in result["models"]),
        columns=columns,
        real=_REAL,
        evaluations=ordered.head(_PRINTED).astype(object).where(ordered.notna(), "").to_dict("records"),
        evaluated=len(ordered),
        selected=result["selected"],
        trust=trust(result),
        card_titles=CARD_COLUMNS,
        card=card_rows(result["card"]) if result.get("card") else [],
        picture=_inline(pairs_svg(held)),
        first_picture=_inline(alternatives_svg(result)),
        trained=result.get("trained", result["config"]["tokens"]),
        script=shown.script,
        linking=files("fsp.report").joinpath("templates", "explorer.js").read_text(encoding="utf-8"),
        explorer={**facts, "compared": _COMPARED},
        command=command(result),
    )
    write_text(path, page)
