"""What a model's directory could do beyond holding a model, refused before a loader of transformers reads it."""

from pathlib import Path

from fsp.errors import InputError
from fsp.files import read_json


def guarded(source: str | Path) -> dict[str, bool]:
    """Return the options under which a loader runs no code that comes with a model.

    Without them transformers asks at a terminal whether to run it.

    Args:
        source: a directory or a hub name.

    Raises:
        InputError: the directory's index of weights is none, or names files outside the directory.
    """
    for path in sorted(Path(source).glob("*.index.json")) if Path(source).is_dir() else ():
        index = read_json(path)
        parts = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
            raise InputError(f"{path} is no index of weights; take a sound copy of the model")
        if outside := [part for part in parts.values() if Path(part).name != part]:
            raise InputError(f"{path} names {outside[0]!r}, which is no file beside it; take a sound copy of the model")
    return {"trust_remote_code": False}
