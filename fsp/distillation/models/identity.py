"""The identity of a model: a digest of everything that changes what the model computes."""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fsp.base.files import digest, read_json, sha256
from fsp.distillation.models.loading import METADATA, knows
from fsp.families.family import Family

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

_MODULES = "modules.json"
_SENTENCE_FILES = ("sentence_*_config.json", "config_sentence_transformers.json")
_VERSIONS = "__version__"


def fingerprint(
    *parts: "nn.Module",
    config: "PretrainedConfig",
    tokenizer: "PreTrainedTokenizerBase | None" = None,
    folder: Path | None = None,
    without: Collection[str] = (),
    processor: Any = None,
) -> str:
    """Return a short digest (16 hexadecimal digits) of a model.

    It changes with any weight, with every setting that changes the function, with the tokenizer, and with the
    modules that sentence-transformers applies after the encoder. It does not depend on the file format of the weights.

    Args:
        parts: networks, whose weights are compared in float32.
        config: configuration of the network; names, versions and label names are ignored.
        tokenizer: None to ignore the tokenizer.
        folder: folder with the files of sentence-transformers, if there are any.
        without: weights of the first part to ignore because they are random.
        processor: the image processor, if there is one.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
        >>> network = BertModel(config)
        >>> known = fingerprint(network, config=config)
        >>> config.hidden_act = "relu"
        >>> fingerprint(network, config=config) == known
        False
    """
    told = [_settings(config), tokenizer and _tokenizer(tokenizer), folder and _sentence_files(folder)]
    if processor is not None:
        told.append(json.loads(json.dumps(processor.to_dict(), default=str)))
    return digest([_weights(parts, without), *told])


def fingerprint_own(network: "nn.Module", family: Family) -> str:
    """Return a short digest of a network of a family without transformers: its weights, shape and constants."""
    config: Any = network.config
    told = [family.MODEL_TYPES, dict(family.architecture_of(config)), family.constants_of(config)]
    return digest([_weights((network,), ()), *told])


def _weights(parts: "tuple[nn.Module, ...]", without: Collection[str]) -> str:
    whole = hashlib.sha256()
    for number, part in enumerate(parts):
        for name, weight in sorted(part.state_dict().items()):
            if number or name not in without:
                value = weight.detach().cpu()
                value = value.float() if value.is_floating_point() else value
                whole.update(f"{number} {name} {tuple(value.shape)} ".encode())
                whole.update(memoryview(value.contiguous().flatten().view(torch.uint8).numpy()))
    return whole.hexdigest()


def _settings(config: "PretrainedConfig") -> dict[str, Any]:
    """Settings of a configuration that differ from the defaults of its class, without keys that nothing reads."""
    default = type(config)()
    kept = {name: value for name, value in config.to_dict().items() if name not in METADATA and knows(config, name)}
    said = {name: value for name, value in kept.items() if value != getattr(default, name, None)}
    return {"model_type": config.model_type, **said}


def _tokenizer(tokenizer: Any) -> dict[str, Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(backend.to_str()) if backend is not None else {"vocabulary": tokenizer.get_vocab()}
    for of_the_last_call in ("truncation", "padding", "version"):
        rules.pop(of_the_last_call, None)
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    sides = [tokenizer.padding_side, tokenizer.truncation_side, list(tokenizer.model_input_names)]
    return {"rules": rules, "special": special, "sides": sides}


def _sentence_files(folder: Path) -> dict[str, Any]:
    """Settings and weights of the modules after the encoder, by path."""
    if not (folder / _MODULES).is_file():
        return {}
    modules = read_json(folder / _MODULES)
    named = [module for module in modules if isinstance(module, dict)] if isinstance(modules, list) else []
    places = [module["path"] for module in named if module.get("path")]
    files = [folder / _MODULES, *(path for pattern in _SENTENCE_FILES for path in sorted(folder.glob(pattern)))]
    for place in sorted(set(map(str, places))):
        if (folder / place).resolve().is_relative_to(folder.resolve()):  # never read files outside the folder
            files += sorted(path for path in (folder / place).glob("*") if path.is_file())
    return {str(path.relative_to(folder)): _content(path) for path in files}


def _content(path: Path) -> Any:
    if path.suffix != ".json":
        return sha256(path)
    content = read_json(path)
    return {key: value for key, value in content.items() if key != _VERSIONS} if isinstance(content, dict) else content
