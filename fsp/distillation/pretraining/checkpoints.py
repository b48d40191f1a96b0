"""Checkpoints: directories that are written atomically and checked before use, without pickle."""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fsp.base.errors import InputError, RunFailed
from fsp.base.files import read_json, sha256, whole_folder, write_json

_TENSORS, _STATE = "tensors.safetensors", "checkpoint.json"
_NAME = re.compile(r"step-(\d{9})")


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, keep: int) -> Path:
    """Write a checkpoint, then remove the oldest ones.

    Args:
        folder: folder of the checkpoints.
        step: steps done.
        tensors: tensors by name, which must not share memory.
        state: any value that JSON can represent.
        keep: number of checkpoints to keep.

    Raises:
        RunFailed: the checkpoint cannot be written; existing ones are not changed.
    """
    target = folder / f"step-{step:09d}"
    try:
        with whole_folder(target) as temporary:
            save_file(dict(tensors), temporary / _TENSORS)
            _to_disk(temporary / _TENSORS)
            facts = {"step": step, "state": dict(state), "sha256": {_TENSORS: sha256(temporary / _TENSORS)}}
            write_json(temporary / _STATE, facts)
            _to_disk(temporary / _STATE)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        last = _last(folder)
        intact = f"; {last} is intact" if last else ""
        raise RunFailed(f"cannot write the checkpoint of step {step}: {reason}{intact}") from None
    prune(folder, keep)
    return target


def prune(folder: Path, keep: int) -> None:
    """Remove all checkpoints but the last `keep`."""
    for old in _all(folder)[:-keep]:
        shutil.rmtree(old)


def load(folder: Path) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
    """Return the steps done, the tensors and the state of the last checkpoint; None if there is none.

    Raises:
        InputError: the checkpoint is damaged. Nothing is deleted.
    """
    path = _last(folder)
    if path is None:
        return None
    advice = f"; remove {path} to go on from the one before, if any"
    try:
        facts = read_json(path / _STATE)
        if sha256(path / _TENSORS) != facts["sha256"][_TENSORS]:
            raise InputError(f"{path / _TENSORS} is damaged (its contents have changed)")
        return int(facts["step"]), load_file(path / _TENSORS), dict(facts["state"])
    except InputError as error:
        raise InputError(f"{str(error).partition('; remove')[0]}{advice}") from None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"checkpoint {path} is damaged ({' '.join(str(error).split())[:100]}){advice}") from None


def _all(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if _NAME.fullmatch(path.name))


def _last(folder: Path) -> Path | None:
    found = _all(folder)
    return found[-1] if found else None


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
