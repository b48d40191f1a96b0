"""What can go wrong, by what follows from it."""


class InputError(ValueError):
    """What the user gave cannot be used; the message is one line saying what is wrong and what to do (exit 2)."""


class RunFailed(RuntimeError):
    """The input was fine and the work still failed, e.g. every candidate diverged (exit 1)."""


class Diverged(ArithmeticError):
    """Training gave something that is no number; the candidate is recorded as failed."""
