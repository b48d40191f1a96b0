"""Report cards on record: how well the surrogate error of a space and teacher was found to rank."""

from pathlib import Path
from typing import Any

from fsp.base.errors import InputError
from fsp.base.files import read_json
from fsp.spaces.loading import shipped_spaces

SCHEMA = 1
_NEEDED = ("space", "teacher", "corpus", "fingerprint", "steps", "shapes", "rankings", "stability")


def read_card(path: Path) -> dict[str, Any]:
    """Return the report card in a `card.json`. Raises InputError if the file holds none."""
    card = read_json(path)
    if not isinstance(card, dict) or card.get("schema") != SCHEMA or any(name not in card for name in _NEEDED):
        raise InputError(f"{path} is no report card of this version of fsp (schema {SCHEMA}); see fsp error card")
    return card


def card_for(fingerprint: str, task: str, steps: int, given: Path | None = None) -> dict[str, Any] | None:
    """Return the report card of a teacher's surrogate error after `steps` steps, None if none is on record.

    Args:
        fingerprint: fingerprint of the teacher, see `fsp.distillation.models.identity`.
        task: what the teacher is for.
        steps: s.
        given: a `card.json`; None to look among the cards shipped with fsp beside its search spaces.

    Raises:
        InputError: the given card is unreadable, or of another teacher or number of steps.
    """
    if given is not None:
        card = read_card(given)
        if (card["fingerprint"], card["steps"], _task_of(card)) != (fingerprint, steps, task):
            raise InputError(
                f"{given} is the report card of {card['teacher']} after {card['steps']} steps, and this is another "
                "teacher (or an older fsp made it), task or number of steps; make one with: fsp error card"
            )
        return card
    for path in shipped_spaces().values():
        beside = path.with_suffix(".card.json")
        if not beside.is_file():
            continue
        card = read_card(beside)
        if (card["fingerprint"], card["steps"], _task_of(card)) == (fingerprint, steps, task):
            return card
    return None


def _task_of(card: dict[str, Any]) -> str:
    """Return the task of a card; those of earlier versions compared token states alone."""
    return str(card.get("task", "states"))
