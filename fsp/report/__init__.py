"""What a run leaves for people: figures and one self-contained page."""

from pathlib import Path


def write_report(folder: Path) -> None:
    """Write `pareto.png` and `report.html` from a run's `result.json` and `evaluations.csv`.

    Raises:
        InputError: the folder holds no finished run.
    """
    from fsp.report import figures, html

    result, table = html.load_run(folder)
    figures.save_front(result, table, folder / "pareto.png")
    html.write_page(result, table, folder / "report.html")
