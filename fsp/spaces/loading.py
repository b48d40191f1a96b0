"""Loading search spaces: those that come with fsp, those of installed packages, and files."""

import importlib.metadata
import importlib.resources
from pathlib import Path

from fsp.base.errors import InputError
from fsp.spaces.files import from_entry_point, read_toml, run_python
from fsp.spaces.space import SearchSpace


def shipped_spaces() -> dict[str, Path]:
    """Return the search spaces that come with fsp, by name."""
    inside = Path(str(importlib.resources.files("fsp"))) / "search_spaces"
    folder = inside if inside.is_dir() else Path(__file__).parents[2] / "search_spaces"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def installed_spaces() -> dict[str, importlib.metadata.EntryPoint]:
    """Return the search spaces that installed packages offer in the entry-point group `fsp.search_spaces`, by name."""
    return {entry.name: entry for entry in importlib.metadata.entry_points(group="fsp.search_spaces")}


def load_space(name_or_path: str | Path) -> SearchSpace:
    """Return the search space of that name, or the one in that `.toml` or `.py` file.

    Spaces of fsp take precedence over those of installed packages. A `.py` file is run, so it must be trusted.

    Raises:
        InputError: the name is unknown, or the file is unreadable or not a valid search space.

    Example:
        >>> load_space("minilm").maximum
        Architecture(D=6, A=12, H=384, I=1536)
    """
    shipped = shipped_spaces()
    path = shipped.get(str(name_or_path), Path(name_or_path))
    if path.suffix == ".toml":
        return read_toml(path)
    if path.suffix == ".py":
        return run_python(path)
    installed = installed_spaces()
    if str(name_or_path) not in installed:
        known = ", ".join([*shipped, *sorted(set(installed) - set(shipped))])
        raise InputError(f"no search space {str(name_or_path)!r}; there are {known}, or give a .toml or .py file")
    return from_entry_point(installed[str(name_or_path)])


def with_usual_constants(space: SearchSpace) -> tuple[SearchSpace, str | None]:
    """Return a space with constants, and the name of the shipped space that lends them if it has none of its own.

    For checks and counts before there is a T, which brings its own constants. A space whose family has no shipped space
    is returned unchanged.

    Example:
        >>> from fsp.spaces.space import SearchSpace
        >>> bare = SearchSpace("mine", {"D": (1, 2), "H": (8, 16)}, (), {"D": 2, "H": 16}, "mlp")
        >>> with_usual_constants(bare)[0].constants, with_usual_constants(bare)[1]
        ({'inputs': 784, 'outputs': 10}, 'mlp')
    """
    usual = {other.family_name: other for other in map(load_space, shipped_spaces())}  # for bert: minilm
    if space.constants or space.family_name not in usual:
        return space, None
    return space.with_constants(usual[space.family_name].constants), usual[space.family_name].name
