"""What the command line says of a field of settings beside its type and default: `Annotated[int, Option("...")]`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """The option of a command that a field of settings becomes.

    Attributes:
        help: what the field is; the documentation of the field, and of the option in `--help`.
        names: of the option, e.g. `--soft/--hard`; None: made from the field's name.
        shown: what `--help` shows as the default; None: the default itself.

    Example:
        >>> from dataclasses import dataclass
        >>> from typing import Annotated
        >>> @dataclass(frozen=True)
        ... class Settings:
        ...     steps: Annotated[int, Option("Training steps.")] = 150
        >>> Settings().steps
        150
    """

    help: str
    names: str | None = None
    shown: str | None = None


SEED = Option("Seed of everything random.")
STEPS = Option("Training steps of each evaluated candidate.")
THREADS = Option("Processor threads; results depend on it.", shown="all")
