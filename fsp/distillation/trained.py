"""The spaces whose candidates can be cut out of a trained T; every command checks this before it loads torch."""

from fsp.base.errors import InputError
from fsp.families.family import load_family
from fsp.spaces.space import SearchSpace


def check_trained(space: SearchSpace) -> None:
    """Raise InputError if candidates of a space cannot be cut, so that fsp has no error of its own for them."""
    if load_family(space.family).anatomy is None:
        raise InputError(
            f"space {space.name}: networks of family {space.family_name} cannot be cut, as it declares no anatomy; "
            "declare one, or search the space by fsp.extract(space, error=...) with an error of your own "
            "(docs/own-space.md)"
        )
