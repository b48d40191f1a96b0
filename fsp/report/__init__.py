"""What a run leaves for people: figures and one self-contained page."""

from pathlib import Path
from typing import Any


def write_pages(result: dict[str, Any], folder: Path) -> None:
    """Write `pareto.png` and `report.html` from a run's result and the `evaluations.csv` in its folder."""
    from fsp.report import figures, html

    table = html.load_evaluations(folder)
    figures.save_front(result, table, folder / "pareto.png")
    html.write_page(result, table, folder / "report.html")


def write_report(folder: Path) -> None:
    """Write the figures and the page of a finished run again.

    Raises:
        InputError: the folder holds no finished run.
    """
    from fsp.report.html import load_result

    write_pages(load_result(folder), folder)
