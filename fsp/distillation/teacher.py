"""Loading the trained maximum point T: from an installed package, a directory or the hub."""

import importlib.util
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from fsp.base.errors import InputError
from fsp.base.files import sha256
from fsp.distillation.models.identity import fingerprint
from fsp.distillation.models.loading import check_sees_both_sides, open_model
from fsp.distillation.models.sentence_layout import SentenceLayout, layout_of, plain_layout
from fsp.families import bert
from fsp.families.architecture import Architecture
from fsp.families.bert.heads import check_cuttable

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_PREDICTING = ("ForMaskedLM", "ForPreTraining")  # architectures with a head for masked language modelling


@dataclass(frozen=True)
class Teacher:
    """A trained encoder with its tokenizer.

    Attributes:
        model: the encoder.
        tokenizer: its tokenizer.
        name: its name in reports.
        fingerprint: digest of everything that changes what they compute, see `fsp.distillation.models.identity`.
        head: the head for masked language modelling, from token states `(..., H)` to logits `(..., vocabulary)`; None
            if T has none.
        folder: T's directory.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    name: str
    fingerprint: str
    head: nn.Module | None = None
    folder: Path = Path()

    @cached_property
    def layout(self) -> SentenceLayout:
        """How T embeds sentences: by the layout in its directory, or else by `plain_layout`.

        Raises:
            InputError: the directory's layout cannot be read or carried over to a student.
        """
        found = layout_of(self.folder) or plain_layout(self.folder)
        if found.tokenizer.pad_token is None:
            found.tokenizer.pad_token = self.tokenizer.pad_token
        return found

    @property
    def architecture(self) -> Architecture:
        """T's shape."""
        return bert.architecture_of(self.model.config)

    @property
    def constants(self) -> dict[str, int]:
        """The sizes of T's embedding tables."""
        return bert.constants_of(self.model.config)

    def check(self, architecture: Architecture) -> None:
        """Raise InputError if a shape cannot be cut out of T: it is larger than T, or A does not divide H."""
        check_cuttable(self.architecture, architecture)

    def check_savable(self) -> None:
        """Raise InputError if students cannot be saved with T's settings and layout; called before long work."""
        tokenizer = self.layout.tokenizer
        with tempfile.TemporaryDirectory() as folder:
            try:
                self.model.config.save_pretrained(folder)
                tokenizer.save_pretrained(folder)
            except Exception as error:  # several libraries write these files and raise errors of many kinds
                reason = " ".join(str(error).split())[:200]
                raise InputError(
                    f"teacher {self.name}: its settings or tokenizer cannot be saved again: {reason}"
                ) from None


def packaged_teacher(source: Mapping[str, str]) -> Path:
    """Return the folder of the trained T in an installed package, after checking its weights.

    Args:
        source: see `SearchSpace.teacher`.

    Raises:
        InputError: the package is not installed (the message names the command to run), or its weights differ.
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

    Its head for masked language modelling is loaded if the weights have one.

    Args:
        source: the directory or hub name.
        name: its name in reports; by default the name of the directory or on the hub.

    Raises:
        InputError: there is no such model, its family is not supported, or `fsp.distillation.models.loading` refuses
            it.
    """
    from transformers import AutoModel, AutoModelForMaskedLM

    found = open_model(source, what="teacher")
    with found.blamed():
        bert.architecture_of(found.config)
        predicts = any(str(name).endswith(_PREDICTING) for name in found.config.architectures or ())
        if predicts:
            check_sees_both_sides(found.config)
    whole, missing = found.network(AutoModelForMaskedLM if predicts else AutoModel)
    model, head = whole.base_model, None
    if predicts:
        name_of_head, head = next((n, part) for n, part in whole.named_children() if n != whole.base_model_prefix)
        if any(key.startswith(f"{name_of_head}.") for key in missing):
            head = None  # the weights have no head, so transformers made a random one
    tokenizer = found.tokenizer()
    with found.blamed():
        if tokenizer.cls_token_id is None or tokenizer.sep_token_id is None:
            raise InputError("its tokenizer has no start or end token")
        if head is not None and tokenizer.mask_token_id is None:
            raise InputError("its tokenizer has no mask token, but its head predicts masked tokens")
    whole.requires_grad_(False)
    parts = (model,) if head is None else (model, head)
    known = fingerprint(*parts, config=model.config, tokenizer=tokenizer, folder=found.root)
    return Teacher(model, tokenizer, name or found.name, known, head, found.root)
