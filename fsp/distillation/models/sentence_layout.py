"""How sentences are embedded: pooling and the modules after it, length and prompts, from sentence-transformers' files.

The library itself reads, runs and writes a layout: a network in a layout is a `SentenceTransformer`.
"""

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fsp.base.errors import InputError, is_out_of_memory
from fsp.base.files import read_json
from fsp.distillation.models.folder import modules_of
from fsp.distillation.models.loading import longest_input, quiet, sentence_tokens

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_LIBRARY = "sentence_transformers."
_AFTER = ("Dense", "LayerNorm", "Normalize", "Dropout")  # modules that may follow pooling
_EMBEDDING = "sentence_embedding"
_HARMLESS = frozenset(("torch_dtype", "dtype", "attn_implementation", "trust_remote_code", "add_pooling_layer"))
_STATES = {"method": "forward", "method_output_name": "last_hidden_state"}  # the output that the library must read


@dataclass(frozen=True)
class SentenceLayout:
    """How a network's token states become the embedding of a sentence.

    Attributes:
        transformer: the library's `Transformer` without its network: tokenizer, longest input, case.
        pooling: its `Pooling`, one mode or several concatenated.
        after: its modules after pooling, in order: `Dense`, `Normalize`, `LayerNorm`, `Dropout`.
        settings: further arguments of `SentenceTransformer`: prompts, default_prompt_name, similarity_fn_name,
            truncate_dim.
    """

    transformer: Any
    pooling: Any
    after: tuple[Any, ...]
    settings: dict[str, Any]

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer, with the longest input as its `model_max_length`."""
        return self.transformer.tokenizer

    @property
    def longest(self) -> int:
        """The largest number of tokens in an input; longer inputs are cut."""
        return int(self.transformer.max_seq_length)

    @property
    def modes(self) -> tuple[str, ...]:
        """The library's names of the pooling modes; several are concatenated."""
        mode = self.pooling.pooling_mode
        return (mode,) if isinstance(mode, str) else tuple(mode)

    @property
    def prompt(self) -> str:
        """The text put before every sentence that is encoded without naming a prompt."""
        return self.settings["prompts"].get(self.settings["default_prompt_name"]) or ""

    def on(self, device: torch.device) -> "SentenceLayout":
        """Return the layout with its modules on a device."""
        for module in (self.pooling, *self.after):
            module.to(device)
        return self

    def pool(self, states: Tensor, mask: Tensor, prompt_tokens: int = 0) -> Tensor:
        """Return the pooled states, `n x (modes · H)`.

        Args:
            states: token states, `n x length x H`.
            mask: 1 for tokens and 0 for padding, `n x length`.
            prompt_tokens: number of first tokens that belong to the prompt; used if pooling leaves prompts out.
        """
        features = {"token_embeddings": states, "attention_mask": mask}
        return self.pooling(features | ({"prompt_length": prompt_tokens} if prompt_tokens else {}))[_EMBEDDING]

    def finish(self, pooled: Tensor) -> Tensor:
        """Return the sentence embeddings, `n x d`, of pooled states."""
        features = {_EMBEDDING: pooled}
        for module in self.after:
            features = module(features)
        return features[_EMBEDDING][..., : self.settings["truncate_dim"]]

    def model(self, encoder: "PreTrainedModel", readout: nn.Linear | None = None) -> "SentenceTransformer":
        """Return the `SentenceTransformer` of an encoder in this layout; its `encode` and `save` are the library's.

        Args:
            encoder: a network that takes this layout's tokens; it is shared, not copied.
            readout: an affine map to insert after pooling, from the encoder's pooled states to those that the further
                modules of the layout take.
        """
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Dense, Pooling

        transformer = copy.deepcopy(self.transformer)
        transformer.model = encoder
        width = encoder.config.hidden_size
        modules = [transformer, Pooling(width, self.modes, include_prompt=self.pooling.include_prompt)]
        if readout is not None:
            read = Dense(readout.in_features, readout.out_features, activation_function=nn.Identity())
            read.linear.load_state_dict(readout.state_dict())
            modules.append(read)
        device = str(next(encoder.parameters()).device)
        return SentenceTransformer(modules=[*modules, *self.after], device=device, **self.settings).eval()

    def encode(
        self, encoder: "PreTrainedModel", sentences: Sequence[str], readout: nn.Linear | None = None
    ) -> NDArray[np.float32]:
        """Return the embeddings of sentences, `n x d`, as `SentenceTransformer.encode` computes them."""
        return self.model(encoder, readout).encode(list(sentences), show_progress_bar=False)

    def describe(self) -> dict[str, Any]:
        """Return the layout as a JSON-like value that differs between any two layouts that embed differently."""
        weights = hashlib.sha256()
        for module in self.after:
            for value in module.state_dict().values():
                weights.update(value.cpu().numpy().tobytes())
        return {
            "pooling": list(self.modes),
            "include_prompt": self.pooling.include_prompt,
            "modules": [[type(module).__name__, module.get_config_dict()] for module in self.after],
            "weights": weights.hexdigest()[:16],
            "longest": self.longest,
            "lower_case": self.transformer.do_lower_case,
            **self.settings,
        }


def layout_of(folder: Path) -> SentenceLayout | None:
    """Return the layout of a model's directory; None if it has no modules.json.

    Raises:
        InputError: the layout cannot be read, or has a module that fsp does not carry over to a student.
    """
    if not (folder / "modules.json").is_file():
        return None
    _check_modules(folder)
    return _load(folder)


def plain_layout(folder: Path) -> SentenceLayout:
    """Return the default layout for an encoder: the mean of its states, scaled to unit length, of at most 128 tokens.

    Raises:
        InputError: the library cannot load it.
    """
    from sentence_transformers.sentence_transformer.modules import Normalize

    return replace(_load(folder, sentence_tokens), after=(Normalize(),))


def _check_modules(folder: Path) -> None:
    """Raise InputError if a layout is not a Transformer, a Pooling, and modules that take pooled states."""
    modules = modules_of(folder)
    types = [one["type"] for one in modules]
    takes = f"fsp takes a Transformer, a Pooling, then any of {', '.join(_AFTER)}"
    for i, kind in enumerate(types):
        known = (("Transformer",), ("Pooling",))[i] if i < 2 else _AFTER
        if not kind.startswith(_LIBRARY) or kind.rpartition(".")[2] not in known:
            raise InputError(f"model {folder}: module {i} of its modules.json is {kind}; {takes}")
    if len(types) < 2:
        raise InputError(f"model {folder}: its modules.json has no Pooling; {takes}")
    for module in modules[2:]:
        path = folder / str(module.get("path", "")) / "config.json"
        said = read_json(path) if path.is_file() else None
        activation = said.get("activation_function") if isinstance(said, dict) else None
        if isinstance(activation, str) and not activation.startswith("torch."):
            raise InputError(
                f"model {folder}: its {module['type'].rpartition('.')[2]} has the activation {activation}, which is "
                "code of its own; fsp never runs code that comes with a model"
            )


def _check_arguments(folder: Path) -> None:
    """Raise InputError if the library would change the network's settings when it loads it."""
    for path in sorted(folder.glob("sentence_*_config.json")):
        said = read_json(path)
        for name in ("config_args", "config_kwargs", "model_args", "model_kwargs") if isinstance(said, dict) else ():
            changed = sorted(set(said.get(name) or ()) - _HARMLESS)
            if changed:
                raise InputError(
                    f"model {folder}: its {path.name} changes the network ({name}: {changed[0]}); write that into "
                    "config.json, and leave it out there"
                )


def _load(folder: Path, most: Callable[[Any], int] = longest_input) -> SentenceLayout:
    """Load everything but the network: the library reads only the embedding tables and a layer, which are dropped.

    `most` returns the longest allowed input for the network's configuration.
    """
    from sentence_transformers import SentenceTransformer

    _check_arguments(folder)
    try:
        with quiet():
            whole = SentenceTransformer(
                str(folder),
                device="cpu",
                local_files_only=True,
                model_kwargs={"dtype": torch.float32},
                config_kwargs={"num_hidden_layers": 1},  # without any a ModernBERT cannot be built
            )
    except Exception as error:  # the library raises errors of many kinds; each means that the model cannot be used
        if is_out_of_memory(error):
            raise
        raise InputError(f"cannot read the layout of model {folder}: {' '.join(str(error).split())[:200]}") from None
    transformer, pooling, *after = whole.eval().requires_grad_(False)
    reads = {name: transformer.modality_config.get("text", {}).get(name) for name in _STATES}
    if reads != _STATES or transformer.module_output_name != "token_embeddings":
        raise InputError(f"model {folder}: its Transformer reads {reads} of the network; fsp takes the last states")
    config = transformer.model.config
    transformer.max_seq_length = min(transformer.max_seq_length, most(config))
    transformer.model = None
    settings = {
        "prompts": whole.prompts,
        "default_prompt_name": whole.default_prompt_name,
        "similarity_fn_name": whole.similarity_fn_name,
        "truncate_dim": whole.truncate_dim,
    }
    layout = SentenceLayout(transformer, pooling, tuple(after), settings)
    _check_computes(folder, layout, config.hidden_size)
    return layout


def _check_computes(folder: Path, layout: SentenceLayout, width: int) -> None:
    """Raise InputError if the modules after pooling do not take pooled states, or have weights that are not finite."""
    for module in layout.after:
        names = {getattr(module, f"module_{end}_name", _EMBEDDING) for end in ("input", "output")}
        if names != {_EMBEDDING}:
            raise InputError(f"model {folder}: its {type(module).__name__} does not take the pooled states alone")
        for name, value in module.state_dict().items():
            if not bool(value.isfinite().all()):
                raise InputError(f"model {folder}: its {type(module).__name__} has non-finite numbers in {name}")
    pooled = torch.zeros(2, len(layout.modes) * width)
    try:
        with torch.inference_mode():
            layout.finish(pooled)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"model {folder}: its modules after pooling do not take its pooled states of {pooled.shape[1]} numbers "
            f"({reason}); take a sound copy of the model"
        ) from None
