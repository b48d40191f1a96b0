"""The spaces for which fsp has an error of its own; every command checks this before it loads torch."""

from fsp.base.errors import InputError
from fsp.families.others import other_way
from fsp.spaces.space import SearchSpace


def check_trained(space: SearchSpace) -> None:
    """Raise InputError if fsp has no error of its own for the family of a space."""
    if space.family_name != "bert":
        raise InputError(f"space {space.name} is of family {space.family_name}: {other_way(space.family_name)}")
