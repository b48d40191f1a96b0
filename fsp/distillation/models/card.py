"""The description in a saved model's directory: `fsp.json` for programs, the model card for people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsp.base.files import write_json, write_text

FACTS = "fsp.json"


def describe_model(
    folder: Path, facts: Mapping[str, Any], header: Mapping[str, str], title: str, *paragraphs: str
) -> None:
    """Write `fsp.json` and the model card, `README.md`.

    Args:
        folder: the model's directory.
        facts: contents of `fsp.json`.
        header: the card's metadata for the hub, written as YAML.
        title: title of the card.
        paragraphs: text and tables of the card, in Markdown.
    """
    head = ["---", *(f"{name}: {value}" for name, value in header.items()), "---", f"# {title}"]
    write_text(folder / "README.md", "\n\n".join(["\n".join(head), *paragraphs]) + "\n")
    write_json(folder / FACTS, dict(facts))


def table(rows: Mapping[str, Any]) -> str:
    """Return a Markdown table of names and values, of numbers that are no integers four digits.

    Example:
        >>> table({"longest_input": 128, "error": 0.28334691}).splitlines()
        ['| | |', '|---|---|', '| longest input | 128 |', '| error | 0.2833 |']
    """
    shown = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in rows.items()}
    return "\n".join(
        ["| | |", "|---|---|", *(f"| {name.replace('_', ' ')} | {value} |" for name, value in shown.items())]
    )
