"""Loading pretrained models and tokenizers of any family: quietly, in float32, with one line where it fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fsp.errors import InputError
from fsp.guard import guarded


@dataclass(frozen=True)
class Pretrained:
    """A model with its tokenizer. `missing`: names of weights that the checkpoint lacks and that are random."""

    model: Any
    tokenizer: Any
    missing: tuple[str, ...]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' bars and reports off the terminal."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def load_model(auto: Any, source: str | Path, **options: Any) -> tuple[Any, tuple[str, ...]]:
    """Return a model in evaluation mode and the names of the weights that its checkpoint lacks.

    Args:
        auto: a class such as `transformers.AutoModel`.
        source: a directory or a hub name.
        options: of `from_pretrained`.

    Raises:
        InputError: there is no such model, or it is not one of that class.
    """
    try:
        with quiet():
            options |= {"dtype": torch.float32, "output_loading_info": True, **guarded(source)}
            model, info = auto.from_pretrained(source, **options)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the loaders raise many kinds; for the user each is one unusable model
        raise InputError(f"cannot load {source} as {auto.__name__}: {_line(error)}") from None
    return model.eval(), tuple(sorted(info["missing_keys"]))


def load_tokenizer(source: str | Path) -> Any:
    """Return a tokenizer that can pad; a decoder's pads with its end token.

    Raises:
        InputError: there is none, or it has neither a padding nor an end token.
    """
    from transformers import AutoTokenizer

    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(source, **guarded(source))
    except Exception as error:  # as above
        raise InputError(f"cannot load the tokenizer of {source}: {_line(error)}") from None
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise InputError(f"the tokenizer of {source} has neither a padding nor an end token")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_encoder(source: str | Path) -> Pretrained:
    """Return an encoder without head, frozen. Raises InputError where its weights are missing."""
    from transformers import AutoModel

    model, missing = load_model(AutoModel, source)
    lacking = [name for name in missing if "pooler" not in name]
    if lacking:
        raise InputError(f"{source} lacks weights for {lacking[0]} and {len(lacking) - 1} more; it is not trained")
    return Pretrained(model.requires_grad_(False), load_tokenizer(source), missing)


def whole_words(tokenizer: Any) -> dict[str, int]:
    """Return the tokens that are words of three letters or more by themselves, in lower case, with their ids.

    Where pieces inside a word are marked (`##`), these are the unmarked ones; elsewhere those with a mark of a word's
    begin.
    """
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    marked = any(token.startswith("##") for token in vocabulary)
    found: dict[str, int] = {}
    for token, number in sorted(vocabulary.items(), key=lambda item: item[1]):
        word = token if marked else token[1:] if token[:1] in "Ġ▁" else ""
        if len(word) > 2 and word.isalpha():
            found.setdefault(word.lower(), number)
    return found


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
