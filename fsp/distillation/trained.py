"""Which spaces fsp has an error of its own for; every command asks before it loads torch."""

from fsp.base.errors import InputError
from fsp.families.others import other_way
from fsp.spaces.space import SearchSpace


def check_trained(space: SearchSpace) -> None:
    """Raise InputError where fsp has no error of its own for a space's family."""
    if space.family_name != "bert":
        raise InputError(f"space {space.name} is of family {space.family_name}: {other_way(space.family_name)}")
