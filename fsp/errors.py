"""The two ways a command can end badly."""


class InputError(ValueError):
    """What the user gave cannot be used; the message is one line saying what is wrong and what to do (exit 2)."""


class RunFailed(RuntimeError):
    """The input was fine and the work still failed, e.g. every candidate diverged (exit 1)."""
