"""The command-line description of a settings field, beside its type and default: `Annotated[int, Option("...")]`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """The command-line option made from a settings field.

    Attributes:
        help: documentation of the field, and of the option in `--help`.
        names: names of the option, e.g. `--soft/--hard`; None: made from the field's name.
        shown: the default as `--help` shows it; None: the default itself.

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
TASK = Option("What the teacher is for: states, embedding, masked, causal or classes.", shown="what it is")
DEVICE = Option("Where networks run: auto, cpu, cuda, cuda:N or mps; results depend on it.")
DTYPE = Option("Numbers of networks: float32, bfloat16, or auto: bfloat16 for training alone, where it is fast.")
