"""A model's folder in Hugging Face format: finding it, and checking that fsp can use its files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsp.base.errors import InputError
from fsp.base.files import read_json

_INDICES = ("*.safetensors.index.json", "*.bin.index.json")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_OF_THE_HUB = ("*.json", "*.txt", "*.model", "*.codes", "model*.safetensors", "[0-9]_*/*")
_OTHER_RUNTIMES = ("onnx/*", "openvino/*")


def find_model(source: str | Path) -> Path:
    """Return the folder of a model: a local folder, or the files of a hub name, downloaded unless they are cached.

    A name that looks like a path is not looked up on the hub.

    Raises:
        InputError: there is no such folder, and the hub has no such model or cannot be reached.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    path = Path(source)
    if path.is_dir():
        return path
    if path.exists():
        raise InputError("this is a file; name the folder that holds config.json and the weights")
    try:
        validate_repo_id(str(source))
    except HFValidationError:
        raise InputError("there is no such folder") from None
    if path.parent != Path() and path.parent.is_dir():
        raise InputError("there is no such folder")
    return _from_hub(str(source))


def _from_hub(name: str) -> Path:
    """Return the folder with the files of a hub name; without a connection, the files downloaded before."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    def fetch(patterns: tuple[str, ...]) -> Path:
        return Path(snapshot_download(name, allow_patterns=list(patterns), ignore_patterns=list(_OTHER_RUNTIMES)))

    try:
        folder = fetch(_OF_THE_HUB)
        return folder if has_weights(folder) else fetch(("pytorch_model*.bin", "pytorch_model.bin.index.json"))
    except LocalEntryNotFoundError as error:  # raised if nothing is cached and the hub cannot be reached
        reason = " ".join(str(error).partition("\n")[0].split())[:100]
        raise InputError(f"there is no such folder, and the hub cannot be reached ({reason})") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise InputError(f"there is no such folder, and the hub does not provide such a model ({status})") from None


def modules_of(folder: Path) -> list[dict[str, Any]]:
    """Return the modules that sentence-transformers' modules.json lists, each with its `type`.

    Raises:
        InputError: modules.json is not a list of modules.
    """
    modules = read_json(folder / "modules.json")
    listed = isinstance(modules, list) and modules and all(isinstance(one, dict) for one in modules)
    if not listed or not all(isinstance(one.get("type"), str) for one in modules):
        raise InputError(f"model {folder}: its modules.json is no list of modules; take a sound copy of the model")
    return modules


def encoder_in(folder: Path) -> Path:
    """Return the folder of the encoder in a model's folder: the folder itself, or the one that modules.json names.

    Up to version 2, sentence-transformers saved the network in `0_Transformer`.

    Raises:
        InputError: modules.json is not a list of modules.
    """
    if (folder / "config.json").is_file() or not (folder / "modules.json").is_file():
        return folder
    inner = folder / str(modules_of(folder)[0].get("path") or "")
    inside = inner.resolve().is_relative_to(folder.resolve())
    return inner if inside and (inner / "config.json").is_file() else folder


def has_weights(folder: Path) -> bool:
    """Return whether a folder holds weights that can be read without running code."""
    return any(any(folder.glob(pattern)) for pattern in _WEIGHTS)


def check_folder(folder: Path) -> dict[str, Any]:
    """Check the files of a model's folder and return its config.json.

    Raises:
        InputError: config.json or the weights are missing, an index of weights is malformed or names files outside the
            folder, or other files change the model in a way that fsp does not support.
    """
    if not (folder / "config.json").is_file():
        raise InputError(_no_config(folder))
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise InputError("its config.json is not a JSON object; take a sound copy of the model")
    for path in sorted(path for pattern in _INDICES for path in folder.glob(pattern)):
        _check_index(path)
    if (folder / "adapter_config.json").exists():
        raise InputError(
            "adapters lie beside its weights (adapter_config.json), and fsp does not apply them; merge them into the "
            "weights and save that model, or remove the adapter's files"
        )
    _check_code(config, "config.json")
    if (folder / "tokenizer_config.json").is_file() and isinstance(
        own := read_json(folder / "tokenizer_config.json"), dict
    ):
        _check_code(own, "tokenizer_config.json")
    return config


def _no_config(folder: Path) -> str:
    inner = sorted(path.parent.name for path in folder.glob("*/config.json") if _names_a_model(path))
    if inner:
        return f"it has no config.json of a model; its encoder lies in {inner[0]}, so name {folder / inner[0]}"
    return "it is no model directory; name one with config.json and model.safetensors"


def _names_a_model(path: Path) -> bool:
    config = read_json(path)
    return isinstance(config, dict) and "model_type" in config


def _check_index(path: Path) -> None:
    index = read_json(path)
    parts = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
        raise InputError(f"{path} is no index of weights; take a sound copy of the model")
    if outside := [part for part in parts.values() if Path(part).name != part]:
        raise InputError(f"{path} names {outside[0]!r}, which is no file beside it; take a sound copy of the model")


def _check_code(config: Mapping[str, Any], file: str) -> None:
    """Refuse a model with code of its own: fsp does not run it, and the library's code would be another network."""
    if config.get("auto_map"):
        named = config["auto_map"]
        example = next(iter(named.values())) if isinstance(named, dict) else named
        raise InputError(
            f"its {file} asks for code of its own (auto_map: {example}), which fsp does not run; if the model does not "
            "need it, remove auto_map"
        )
