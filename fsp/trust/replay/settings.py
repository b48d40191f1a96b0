"""Settings of a replay of a search."""

from dataclasses import dataclass
from typing import Annotated

from fsp.base.errors import InputError
from fsp.base.option import Option


@dataclass(frozen=True)
class ReplaySettings:
    """Settings of `fsp.trust.replay.search.replay_search`, which also checks method and evaluations.

    Raises:
        InputError: an unknown objective, or no seed.
    """

    method: Annotated[
        str,
        Option("maximal, interval, certified, fitted, random, tpe, nsga2, gp, params, params-ascending or exhaustive."),
    ]
    evaluations: Annotated[int, Option("Evaluations of one search; exhaustive evaluates everything regardless.")]
    objective: Annotated[str, Option("w: largest W-coefficient; error: least error.")] = "w"
    max_size: Annotated[float | None, Option("Largest p allowed.", shown="none")] = None
    max_speed: Annotated[float | None, Option("Largest i allowed.", shown="none")] = None
    seeds: Annotated[int, Option("How often to search, each time with another seed.")] = 1

    def __post_init__(self) -> None:
        if self.objective not in ("w", "error"):
            raise InputError(f"no objective {self.objective!r}; there are w and error")
        if self.seeds < 1:
            raise InputError(f"seeds {self.seeds} is out of range; search at least once")
