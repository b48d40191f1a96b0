"""Loading the trained maximum point T: from an installed package, a directory or the hub."""

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fsp.errors import InputError
from fsp.families import bert
from fsp.families.bert.heads import check_cuttable
from fsp.files import sha256
from fsp.guard import guarded
from fsp.space import Architecture
from fsp.training.sentence_layout import SentenceLayout, encoder_of, layout_of, plain_layout

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_SPARE_ROWS = 256  # of an embedding table, at most
_PREDICTING = ("ForMaskedLM", "ForPreTraining")  # architectures with a head for masked language modelling


@dataclass(frozen=True)
class Teacher:
    """A trained encoder with its tokenizer. `fingerprint` changes with any weight.

    head: for masked language modelling, token states `(..., H)` to logits `(..., vocabulary)`; None where T has none.
    source: the directory or hub name that T was loaded from.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    name: str
    fingerprint: str
    head: nn.Module | None = None
    source: str = ""

    @cached_property
    def layout(self) -> SentenceLayout:
        """How T embeds sentences: as its directory says, or without a layout as `plain_layout` does.

        Raises:
            InputError: the directory's layout cannot be read or carried over to a student.
        """
        return layout_of(self.source) or plain_layout(self.source)

    @property
    def architecture(self) -> Architecture:
        """T's shape."""
        return bert.architecture_of(self.model.config)

    @property
    def constants(self) -> dict[str, int]:
        """The sizes of T's embedding tables."""
        return bert.constants_of(self.model.config)

    def check(self, architecture: Architecture) -> None:
        """Raise InputError where a shape cannot be cut out of T: larger than T, or A does not divide H."""
        check_cuttable(self.architecture, architecture)


def packaged_teacher(source: Mapping[str, str]) -> Path:
    """Return the folder of the trained T that an installed package carries, its weights checked.

    Args:
        source: see `SearchSpace.teacher`.

    Raises:
        InputError: not installed (the message is the command to run), or other weights than expected.
    """
    spec = importlib.util.find_spec(source["package"])  # finds the folder without running the package
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"the trained maximum point is not installed; run: {source['install']}")
    folder = Path(next(iter(spec.submodule_search_locations))) / source["folder"]
    weights = folder / "model.safetensors"
    if not weights.is_file() or sha256(weights) != source["sha256"]:
        raise InputError(f"{source['package']} does not hold the expected weights; run: {source['install']}")
    return folder


def load_teacher(source: str | Path, *, name: str | None = None) -> Teacher:
    """Load a BERT or RoBERTa encoder in Hugging Face format, from a directory or by hub name; float32, CPU.

    Its head for masked language modelling comes along where the weights have one.

    Args:
        source: the directory or hub name.
        name: what reports call it; the directory's or hub's name by default.

    Raises:
        InputError: no such model, no weights, weights missing for parts of the encoder, or an unsupported family.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoTokenizer
    from transformers.utils import logging

    name = name or (Path(source).name if Path(source).is_dir() else str(source))
    given, source = str(source), encoder_of(source)
    folder = Path(source) if Path(source).is_dir() else None
    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # its report of missing weights is checked below and told in one line
    try:
        safe = guarded(source)
        config = AutoConfig.from_pretrained(source, **safe)
        bert.architecture_of(config)
        if folder and not any(folder.glob("*.safetensors")) and not any(folder.glob("pytorch_model*.bin")):
            raise InputError(f"teacher {source} has no weights; put model.safetensors beside its config.json")
        predicts = any(str(name).endswith(_PREDICTING) for name in config.architectures or ())
        loader = AutoModelForMaskedLM if predicts else AutoModel
        whole, info = loader.from_pretrained(source, dtype=torch.float32, output_loading_info=True, **safe)
        tokenizer = AutoTokenizer.from_pretrained(source, **safe)
    except InputError as error:
        raise InputError(f"teacher {source}: {error}") from None
    except Exception as error:  # the loaders raise many kinds; for the user each is one unusable teacher
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"cannot load teacher {source}: {reason}") from None
    finally:
        logging.set_verbosity(verbosity)
    model, head = whole.base_model, None
    missing = sorted(key for key in info["missing_keys"] if not key.startswith("pooler."))
    if predicts:
        name_of_head, head = next((n, part) for n, part in whole.named_children() if n != whole.base_model_prefix)
        absent = [key for key in missing if key.startswith(f"{name_of_head}.")]
        if absent:  # transformers has put random weights there
            head, missing = None, [key for key in missing if key not in absent]
    if missing:
        raise InputError(
            f"teacher {source} lacks weights for {missing[0]} and {len(missing) - 1} more; not a trained encoder"
        )
    if any(key.startswith("pooler.") for key in info["missing_keys"]):
        model.pooler = None
    if tokenizer.cls_token_id is None or tokenizer.sep_token_id is None:
        raise InputError(f"teacher {source}: its tokenizer has no start or end token")
    _check_tokenizer(source, tokenizer, model.config)
    whole.eval().requires_grad_(False)
    fingerprint = _fingerprint(model, *([] if head is None else [head]))
    return Teacher(model, tokenizer, name, fingerprint, head, given)


def _check_tokenizer(source: str | Path, tokenizer: Any, config: Any) -> None:
    """Refuse a tokenizer that is not the model's own: its ids would name other words, and every number be wrong.

    Embedding tables are rounded up to a round number of rows, so a model may have a few more than its tokenizer.
    """
    tokens, table = len(tokenizer), config.vocab_size
    if not table - max(_SPARE_ROWS, table // 100) <= tokens <= table:
        raise InputError(
            f"teacher {source}: its tokenizer has {tokens} tokens and its model {table}, they do not belong together; "
            "put its own tokenizer.json (or vocabulary files) beside its config.json"
        )
    paddings = getattr(config, "pad_token_id", None), tokenizer.pad_token_id
    if None not in paddings and paddings[0] != paddings[1]:
        raise InputError(
            f"teacher {source}: its tokenizer pads with token {paddings[1]} and its model with {paddings[0]}, they do "
            "not belong together; put its own tokenizer.json (or vocabulary files) beside its config.json"
        )


def _fingerprint(*parts: nn.Module) -> str:
    whole = hashlib.sha256()
    for part in parts:
        for name, weight in sorted(part.state_dict().items()):
            whole.update(name.encode() + weight.numpy().tobytes())
    return whole.hexdigest()[:16]
