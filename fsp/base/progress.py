"""Progress of long work: bars with an estimated end on stderr, or nothing."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[float], object]


class Progress:
    """A display that shows nothing; the default of every function called from Python."""

    @contextmanager
    def bar(self, label: str, total: float) -> Iterator[Advance]:
        """Yield a function to call with the amount of work done since its last call."""
        yield lambda amount: None

    def say(self, text: str) -> None:
        """Show one line of text."""


class Bars(Progress):
    """Progress bars with elapsed and remaining time on stderr; without a terminal, one line per finished bar."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)

    @contextmanager
    def bar(self, label: str, total: float) -> Iterator[Advance]:
        """Yield a function to call with the amount of work done since its last call."""
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task(f"{label:<34}", total=total)
            yield lambda amount: progress.advance(task, amount)

    def say(self, text: str) -> None:
        """Print one line of text to stderr."""
        print(text, file=sys.stderr)
