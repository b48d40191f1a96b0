"""Directories of networks that transformers does not know, such as those of family `mlp` or of a third party's.

`config.json` holds the family's name as `model_type`, the `architecture` and the `constants`; `model.safetensors` holds
the weights.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from fsp.base.errors import InputError, untrusted
from fsp.base.files import read_json, write_json
from fsp.families.architecture import Architecture
from fsp.families.family import Family, name_of

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


def is_own(folder: Path) -> bool:
    """Return whether a directory holds a network of a family without transformers."""
    config = read_json(folder / _CONFIG) if (folder / _CONFIG).is_file() else None
    return isinstance(config, dict) and "architecture" in config and "constants" in config


def model_type_in(folder: Path) -> Any:
    """Return the `model_type` of a directory's config.json; None if it has none."""
    config = read_json(folder / _CONFIG) if (folder / _CONFIG).is_file() else None
    return config.get("model_type") if isinstance(config, dict) else None


def load_own(folder: Path, family: Family) -> Any:
    """Load a network that `save_own` wrote, in evaluation mode, float32, on the CPU.

    Raises:
        InputError: the directory is damaged, or its weights do not belong to its config.json.
    """
    import torch

    config = read_json(folder / _CONFIG)
    with untrusted(f"model {folder}", "take a sound copy of it", SafetensorError):
        shape, constants = Architecture(config["architecture"]), {k: int(v) for k, v in config["constants"].items()}
        weights = {name: value.float() for name, value in load_file(folder / _WEIGHTS).items()}
    network: Any = family.build(shape, constants)
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    if wanted != found:
        wrong = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
        raise InputError(f"model {folder}: its weights and its config.json differ in {wrong[0]}; take a sound copy")
    if bad := [name for name, value in weights.items() if not bool(torch.isfinite(value).all())]:
        raise InputError(f"model {folder}: it has NaN or infinite numbers in {bad[0]}; take a sound copy of the model")
    network.load_state_dict(weights)
    return network.eval()


def save_own(network: Any, family: Family, folder: Path) -> None:
    """Write a network of a family without transformers into a directory, for `load_own`.

    Example:
        >>> import tempfile
        >>> from fsp.families import mlp
        >>> network = mlp.build(dict(D=1, H=4), dict(inputs=2, outputs=3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_own(network, mlp, Path(folder))
        ...     load_own(Path(folder), mlp).config == network.config
        True
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, folder / _WEIGHTS)
    config: Mapping[str, Any] = {
        "model_type": next(iter(family.MODEL_TYPES), name_of(family)),
        "architecture": dict(family.architecture_of(network.config)),
        "constants": family.constants_of(network.config),
    }
    write_json(folder / _CONFIG, dict(config))
