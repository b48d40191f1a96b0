"""Watching a run: a log of JSON lines, a progress bar, TensorBoard, and a plot."""

import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsp.base.errors import InputError
from fsp.base.files import replacing, write_text

_PARTS = ("kl", "mlm", "cosine", "mse", "relation")


class RunLog:
    """A file with one JSON object per line: the records of steps, and of evaluations (under `held_out`).

    The records of steps that a resumed run repeats are removed first, so that every step is recorded once.

    Args:
        path: the file.
    """

    def __init__(self, path: Path):
        self._path = path
        self._fresh = True

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record, which has a `step`; numbers that are not finite become null."""
        if self._fresh:
            self._fresh = False
            kept = [json.dumps(old) for old in read_log(self._path) if old["step"] < record["step"]]
            write_text(self._path, "".join(f"{line}\n" for line in kept))
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_finite(record)) + "\n")

    def held_out(self, step: int) -> dict[str, float]:
        """Return the evaluation after a given step; empty if there is none."""
        return next((r["held_out"] for r in read_log(self._path) if r["step"] == step and "held_out" in r), {})


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the records of a log, without an incomplete last line, as a killed process leaves it."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records.append(record)
    return records


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Watch:
    """Shows records on stderr: a progress bar on a terminal, elsewhere a line per evaluation."""

    def __init__(self, steps: int, first: int = 0):
        self._steps, self._first = steps, first
        self._task: Any = None

    @contextmanager
    def shown(self) -> Iterator["Watch"]:
        """Show the bar within a `with` block."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True, highlight=False)
        columns = (
            BarColumn(20),
            MofNCompleteColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        with self._progress:
            self._task = self._progress.add_task("", total=self._steps, completed=self._first)
            yield self

    def step(self, record: Mapping[str, Any]) -> None:
        """Show a step."""
        parts = " ".join(f"{name} {record[name]:.3f}" for name in _PARTS if name in record)
        text = (
            f"loss {record['loss']:.3f} ({parts}), lr {record['learning_rate']:.1e}, "
            f"{record['tokens_per_second']:,.0f} tokens/s, {record['mfu']:.0%} of peak"
        )
        self._progress.update(self._task, completed=record["step"], description=text)
        if record["skipped"]:
            self.say(f"step {record['step']} skipped: {record['skipped']}")

    def evaluation(self, step: int, found: Mapping[str, float]) -> None:
        """Show an evaluation."""
        self.say(f"step {step}: held out " + ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in found.items()))

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self._progress.disable:
            print(text, file=sys.stderr)
        else:
            self._progress.console.print(text, markup=False)


class TensorBoard:
    """Writes records as scalars for TensorBoard. Raises InputError if it is not installed."""

    def __init__(self, folder: Path):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise InputError(
                '--tensorboard needs the package tensorboard; run: pip install "fsp[tensorboard]"'
            ) from None
        self._writer = SummaryWriter(str(folder))

    def write(self, record: Mapping[str, Any], group: str = "train") -> None:
        """Write every number of a record."""
        for name, value in record.items():
            if name != "step" and isinstance(value, int | float) and not isinstance(value, bool):
                self._writer.add_scalar(f"{group}/{name}", value, record["step"])
        self._writer.flush()


def plot(log: Path, path: Path) -> None:
    """Plot the losses of a log over the steps, and the evaluations next to them.

    Args:
        log: log file of the run.
        path: image file to write.
    """
    from matplotlib.figure import Figure

    records = read_log(log)
    steps = [r for r in records if "loss" in r and r["loss"] is not None and not r.get("skipped")]
    found = [{"step": r["step"], **r["held_out"]} for r in records if "held_out" in r]
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in ("loss", *_PARTS):
        if steps and name in steps[0]:
            left.plot([r["step"] for r in steps], [r.get(name) for r in steps], label=name, linewidth=0.8)
    left.set(xlabel="step", ylabel="loss", yscale="log", title="training")
    for name in ("accuracy", "agreement", "hidden_cosine"):
        if found and name in found[0]:
            right.plot([r["step"] for r in found], [r[name] for r in found], marker=".", label=name.replace("_", " "))
    right.set(xlabel="step", title="held-out text")
    for axes in (left, right):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
