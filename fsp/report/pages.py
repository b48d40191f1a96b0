"""Writing the readable results of a run: the pictures and the page."""

from pathlib import Path
from typing import Any

from fsp.base.errors import untrusted


def write_pages(result: dict[str, Any], folder: Path) -> None:
    """Write the pictures and `report.html` from a run's result and the `evaluations.csv` in its folder."""
    from fsp.report import alternatives, fronts, html
    from fsp.report.sources import load_evaluations, outcome_of

    table = load_evaluations(folder)
    alternatives.save_alternatives(result, folder / "alternatives.png")
    fronts.save_pairs(outcome_of(result, table), folder / "pareto.png")
    html.write_page(result, table, folder / "report.html", certificate=html.certificate_in(folder, result))


def write_report(folder: Path) -> None:
    """Write the figures and the page of a finished run again.

    A `certificate.json` in the folder is shown as well.

    Raises:
        InputError: the folder holds no finished run, a damaged one, or a certificate of another space.
    """
    from jinja2 import TemplateError

    from fsp.report.sources import load_result

    result = load_result(folder)
    with untrusted(f"the run in {folder}", "run again in a new folder", TemplateError):
        write_pages(result, folder)
