"""Loading the trained maximum point T: from an installed package, a directory or the hub."""

import importlib.util
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsp.base.device import Device
from fsp.base.errors import InputError
from fsp.base.files import sha256
from fsp.distillation.models.identity import fingerprint, fingerprint_own
from fsp.distillation.models.loading import (
    ModelFolder,
    check_classes,
    check_sees_both_sides,
    let_find_the_last_token,
    open_model,
)
from fsp.distillation.models.own import is_own, load_own, model_type_in, save_own
from fsp.distillation.models.sentence_layout import SentenceLayout, layout_of, plain_layout
from fsp.families.architecture import Architecture
from fsp.families.family import Family, family_of_type, is_causal, name_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TASKS = ("states", "embedding", "masked", "causal", "classes")
_HEADS = {  # endings of the names of transformers' classes, and the task that their head is for
    "ForMaskedLM": "masked",
    "ForPreTraining": "masked",
    "ForCausalLM": "causal",
    "LMHeadModel": "causal",
    "ForSequenceClassification": "classes",
    "ForImageClassification": "classes",
    "Model": "states",
}
_LOADERS = {
    "states": "AutoModel",
    "embedding": "AutoModel",
    "masked": "AutoModelForMaskedLM",
    "causal": "AutoModelForCausalLM",
}


@dataclass(frozen=True)
class Teacher:
    """A trained network with what it needs to read its inputs.

    Attributes:
        network: the network on its device, with its head if the task compares what the head returns.
        family: its family.
        task: what it is for, one of `TASKS`.
        name: its name in reports.
        fingerprint: digest of everything that changes what it computes, see `fsp.distillation.models.identity`.
        tokenizer: its tokenizer; None for a network that does not read text.
        processor: its image processor; None for a network that does not read images.
        folder: T's directory.
        device: where it runs.
    """

    network: Any
    family: Family
    task: str
    name: str
    fingerprint: str
    tokenizer: Any = None
    processor: Any = None
    folder: Path = Path()
    device: Device = field(default_factory=Device)

    @cached_property
    def layout(self) -> SentenceLayout:
        """How T embeds sentences: by the layout in its directory, or else by `plain_layout`.

        Raises:
            InputError: the directory's layout cannot be read or carried over to a student.
        """
        found = layout_of(self.folder) or plain_layout(self.folder)
        if found.tokenizer.pad_token is None:
            found.tokenizer.pad_token = self.tokenizer.pad_token
        return found.on(self.device.torch)

    @property
    def architecture(self) -> Architecture:
        """T's shape."""
        return self.family.architecture_of(self.network.config)

    @property
    def constants(self) -> dict[str, int]:
        """The other sizes of T's network, such as those of its embedding tables."""
        return self.family.constants_of(self.network.config)

    @property
    def is_own(self) -> bool:
        """Whether the network is of a family without transformers."""
        return not hasattr(self.network, "save_pretrained")

    def check(self, architecture: Architecture) -> None:
        """Raise InputError if a shape cannot be cut out of T."""
        if self.family.anatomy is None:
            raise InputError(f"the family of {self.name} declares no anatomy, so its networks cannot be cut")
        self.family.anatomy.check(self.architecture, architecture)

    def save_network(self, network: Any, folder: Path) -> None:
        """Write a network of T's kind into a directory, with T's tokenizer or image processor."""
        if self.is_own:
            save_own(network, self.family, folder)
            return
        for name in ("generation_config",):
            if getattr(self.network, name, None) is not None:
                setattr(network, name, getattr(self.network, name))
        network.save_pretrained(folder)
        for reader in (self.tokenizer, self.processor):
            if reader is not None:
                reader.save_pretrained(folder)

    def check_savable(self) -> None:
        """Raise InputError if students cannot be saved with T's settings and layout; called before long work."""
        tokenizer = self.layout.tokenizer if self.task == "embedding" else self.tokenizer
        with tempfile.TemporaryDirectory() as folder:
            try:
                for one in (None if self.is_own else self.network.config, tokenizer, self.processor):
                    if one is not None:
                        one.save_pretrained(folder)
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


def load_teacher(
    source: str | Path,
    *,
    name: str | None = None,
    family: Family | None = None,
    task: str | None = None,
    device: Device | None = None,
) -> Teacher:
    """Load a trained network, in float32, from a directory or by hub name.

    Args:
        source: a directory in Hugging Face format, one that `fsp.distillation.models.own` describes, or a hub name.
        name: its name in reports; by default the name of the directory or on the hub.
        family: the family it must be of; None for the one of its model type.
        task: one of `TASKS`; None for what T is: the task of its head, `embedding` for a directory of
            sentence-transformers, else `states`.
        device: where it runs; None for the CPU.

    Raises:
        InputError: there is no such model, it is of no known family or of another, it cannot serve the task, or
            `fsp.distillation.models.loading` refuses it.
    """
    if task is not None and task not in TASKS:
        raise InputError(f"no task {task!r}; there are {', '.join(TASKS)}")
    place = device or Device()
    if Path(source).is_dir() and is_own(Path(source)):
        return _own_teacher(Path(source), name, family, task, place)
    found = open_model(source, what="teacher")
    with found.blamed():
        family = _checked(family, found.config.model_type)
        family.architecture_of(found.config)
        wanted = _served(found, task, family)
    network, wanted = _network(found, wanted, asked=task is not None)
    tokenizer = processor = None
    if getattr(network.config, "vocab_size", None) is not None:
        tokenizer = found.tokenizer()
        with found.blamed():
            _check_tokens(tokenizer, wanted)
            if wanted == "classes" and is_causal(family):
                let_find_the_last_token(network.config, tokenizer)
    else:
        processor = _processor(found)
    network.requires_grad_(False)
    known = fingerprint(network, config=network.config, tokenizer=tokenizer, folder=found.root, processor=processor)
    return Teacher(
        network.to(place.torch), family, wanted, name or found.name, known, tokenizer, processor, found.root, place
    )


def _own_teacher(folder: Path, name: str | None, family: Family | None, task: str | None, device: Device) -> Teacher:
    family = _checked(family, model_type_in(folder))
    if task not in (None, "classes"):
        raise InputError(f"teacher {folder}: a network of its own kind serves the task classes, not {task}")
    network = load_own(folder, family).requires_grad_(False)
    taken = list(family.inputs(family.constants_of(network.config), batch=1, length=1).values())
    if len(taken) != 1 or not taken[0].is_floating_point():
        raise InputError(
            f"teacher {folder}: fsp compares networks that transformers does not know where their forward pass takes "
            "one array of floating-point numbers and returns the logits of classes; this one takes others"
        )
    known = fingerprint_own(network, family)
    return Teacher(
        network.to(device.torch), family, "classes", name or folder.name, known, folder=folder, device=device
    )


def _checked(family: Family | None, model_type: Any) -> Family:
    """Return the family of a model type; refuse one that is not the family asked for."""
    if family is None:
        return family_of_type(model_type)
    if model_type not in family.MODEL_TYPES:
        other = name_of(family_of_type(model_type)).rpartition(".")[2]  # refuses a type of no family
        raise InputError(
            f"its model type {model_type!r} is of family {other}, and the search space is of another, for "
            f"{', '.join(family.MODEL_TYPES)}; take a space of family {other} (fsp space lists them)"
        )
    return family


def _head_task(found: ModelFolder) -> str | None:
    """Return the task that a model's head is for, `states` without a head; None for other heads."""
    named = str((found.config.architectures or ["Model"])[0])
    return next((task for ending, task in _HEADS.items() if named.endswith(ending)), None)


def _served(found: ModelFolder, task: str | None, family: Family) -> str:
    """Return the task that a model is to serve. Raises InputError if it cannot."""
    head = _head_task(found)
    # sentence-transformers uses the body, whatever the head
    encodes = head in ("states", "masked", "causal") and (found.root / "modules.json").is_file()
    wanted = task or ("embedding" if encodes else head)
    named = (found.config.architectures or ["none"])[0]
    if wanted is None:
        raise InputError(
            f"its class {named} has a head for which fsp has no task; --task states compresses its body alone"
        )
    if wanted in ("masked", "causal", "classes") and wanted != head:
        raise InputError(f"its class {named} cannot serve the task {wanted}, only {head or 'states'}")
    if wanted == "masked":
        check_sees_both_sides(found.config)
    if wanted == "causal" and not is_causal(family):
        raise InputError(
            f"its class {named} predicts the next token, but its tokens see those after them (it is no decoder); "
            "--task states compresses its body alone"
        )
    if wanted == "classes":
        check_classes(found.config)
    if wanted == "embedding" and getattr(found.config, "vocab_size", None) is None:
        raise InputError("it reads no text, so it cannot serve the task embedding; use --task states")
    return wanted


def _network(found: ModelFolder, task: str, *, asked: bool) -> tuple[Any, str]:
    """Return the network with the head that a task needs, and the task; without a trained head, `states`."""
    import transformers

    named = str((found.config.architectures or [""])[0])
    loader = _LOADERS.get(task, f"AutoModel{named[named.find('For') :]}")
    network, missing = found.network(getattr(transformers, loader))
    if not missing or network.base_model is network:  # a bare body goes without its pooler
        return network, task
    if task == "masked" and not asked:  # its weights are those of a body alone
        return found.network(transformers.AutoModel)[0], "states"
    raise InputError(f"teacher {found.source}: it has no trained head for the task {task} ({missing[0]} is missing)")


def _check_tokens(tokenizer: "PreTrainedTokenizerBase", task: str) -> None:
    if task == "masked" and (tokenizer.cls_token_id is None or tokenizer.sep_token_id is None):
        raise InputError("its tokenizer has no start or end token")
    if task == "masked" and tokenizer.mask_token_id is None:
        raise InputError("its tokenizer has no mask token, but its head predicts masked tokens")


def _processor(found: ModelFolder) -> Any:
    """Return the image processor of a model; None for a model without one."""
    from transformers import AutoImageProcessor

    if not (found.folder / "preprocessor_config.json").is_file():
        return None
    with found.blamed():
        return AutoImageProcessor.from_pretrained(
            found.folder, local_files_only=True, trust_remote_code=False, use_fast=False
        )
