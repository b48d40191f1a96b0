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

    fingerprint: of all that changes what they compute, see `fsp.distillation.models.identity`.
    head: for masked language modelling, token states `(..., H)` to logits `(..., vocabulary)`; None where T has none.
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
        """How T embeds sentences: as its directory says, or without a layout as `plain_layout` does.

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
        """Raise InputError where a shape cannot be cut out of T: larger than T, or A does not divide H."""
        check_cuttable(self.architecture, architecture)

    def check_savable(self) -> None:
        """Raise InputError where students could not be saved with T's settings and layout; before long work."""
        tokenizer = self.layout.tokenizer
        with tempfile.TemporaryDirectory() as folder:
            try:
                self.model.config.save_pretrained(folder)
                tokenizer.save_pretrained(folder)
            except Exception as error:  # libraries of many kinds write these files
                reason = " ".join(str(error).split())[:200]
                raise InputError(
                    f"teacher {self.name}: its settings or tokenizer cannot be saved again: {reason}"
                ) from None


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
        InputError: no such model, an unsupported family, or `fsp.distillation.models.loading` refuses it.
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
            head = None  # transformers has put random weights there
    tokenizer = found.tokenizer()
    with found.blamed():
        if tokenizer.cls_token_id is None or tokenizer.sep_token_id is None:
            raise InputError("its tokenizer has no start or end token")
        if head is not None and tokenizer.mask_token_id is None:
            raise InputError("its tokenizer has no mask token, and its head predicts masked tokens")
    whole.requires_grad_(False)
    parts = (model,) if head is None else (model, head)
    known = fingerprint(*parts, config=model.config, tokenizer=tokenizer, folder=found.root)
    return Teacher(model, tokenizer, name or found.name, known, head, found.root)
