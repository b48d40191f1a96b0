"""A saved model as a network to serve: from token ids and mask, or pixels, to states, logits or sentence embeddings."""

import copy
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fsp.base.errors import InputError
from fsp.distillation.models.loading import (
    ModelFolder,
    let_find_the_last_token,
    longest_input,
    open_model,
    quiet,
    reads_text,
    takes_types,
)
from fsp.distillation.models.own import is_own
from fsp.distillation.models.sentence_layout import SentenceLayout, layout_of
from fsp.families.family import family_of_type, is_causal

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_LOADERS = {  # endings of the names of transformers' classes that can be served, and what loads them
    "ForMaskedLM": "AutoModelForMaskedLM",
    "ForCausalLM": "AutoModelForCausalLM",
    "LMHeadModel": "AutoModelForCausalLM",
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForTokenClassification": "AutoModelForTokenClassification",
    "ForImageClassification": "AutoModelForImageClassification",
    "Model": "AutoModel",
}
_HEADS = "masked or next tokens, sequences, tokens or images"
SENTENCE = "sentence_embedding"
STATES = "last_hidden_state"
LOGITS = "logits"


class Serving(nn.Module, ABC):
    """A Hugging Face network as a function of tensors.

    Attributes:
        network: the Hugging Face network; a decoder returns no cache of keys and values.
        outputs: names of the outputs, in order: `logits` if the network has a head, else `last_hidden_state`.
    """

    outputs: tuple[str, ...]

    def __init__(self, network: "PreTrainedModel"):
        super().__init__()
        self.network = network
        if hasattr(network.config, "use_cache"):
            network.config.use_cache = False
        self.outputs = (STATES,) if network.base_model is network else (LOGITS,)

    @abstractmethod
    def inputs(self, *, batch: int, length: int) -> dict[str, Tensor]:
        """Return random inputs of that size without padding, on the CPU: the fastest way to call the network.

        Raises:
            InputError: the network takes no input of that length.
        """

    @abstractmethod
    def example(self, *, batch: int, length: int, padded: bool = False) -> dict[str, Tensor]:
        """Return random values of all arguments of `forward`, in their order.

        Args:
            batch: number of samples.
            length: tokens of each.
            padded: whether the second half of the last text is padding.
        """

    @property
    @abstractmethod
    def axes(self) -> dict[int, tuple[str, int, int]]:
        """The axes of inputs whose sizes may vary: name, least and greatest size by number."""


class TextServing(Serving):
    """A network that takes `input_ids, attention_mask[, token_type_ids]`, each `n x s`; see `Serving`.

    Attributes:
        layout: the layout of sentence-transformers, None if there is none. With one, a network without a head returns
            `last_hidden_state` `n x s x H` and the `sentence_embedding` `n x d` that sentence-transformers computes.
        prompt_tokens: number of tokens of the default prompt.
    """

    def __init__(self, network: "PreTrainedModel", layout: SentenceLayout | None = None):
        super().__init__(network)
        self.layout = layout
        self.modules_of_layout = nn.ModuleList([] if layout is None else [layout.pooling, *layout.after])
        self.prompt_tokens = 0 if layout is None else _prompt_tokens(layout, network)
        if self.outputs == (STATES,) and layout is not None:
            self.outputs = (STATES, SENTENCE)

    @property
    def takes_types(self) -> bool:
        """Whether the network distinguishes the first of two texts from the second by token types."""
        return takes_types(self.network.config)

    @property
    def longest(self) -> int:
        """The most tokens of an input."""
        return longest_input(self.network.config)

    @property
    def attends_to_all(self) -> bool:
        """Whether every token attends to all others, not only to earlier or near ones."""
        config: Any = self.network.config
        family = family_of_type(config.model_type)
        return family.anatomy is not None and not is_causal(family) and not hasattr(config, "layer_types")

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Return the outputs."""
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        result = self.network(input_ids=input_ids, attention_mask=attention_mask, **types)
        if self.outputs == (LOGITS,):
            return (result.logits,)
        states = result.last_hidden_state
        if self.layout is None:
            return (states,)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        if self.prompt_tokens and not self.layout.pooling.include_prompt:  # the library's own code cannot be exported
            mask = mask * (torch.arange(mask.shape[1], device=mask.device) >= self.prompt_tokens)
        return states, self.layout.finish(self.layout.pool(states, mask))

    def inputs(self, *, batch: int, length: int) -> dict[str, Tensor]:
        """Return random token ids alone; see `Serving.inputs`."""
        if not 2 <= length <= self.longest:
            raise InputError(f"length {length} is out of range; the network takes 2 to {self.longest}")
        return {"input_ids": self._tokens(batch, length)}

    def example(self, *, batch: int, length: int, padded: bool = False) -> dict[str, Tensor]:
        """Return random token ids, mask and, if the network takes them, types, `batch x length` each."""
        tokens = self._tokens(batch, length)
        mask = torch.ones_like(tokens)
        if padded:
            mask[-1, length // 2 :] = 0
        types: Mapping[str, Tensor] = {"token_type_ids": torch.zeros_like(tokens)} if self.takes_types else {}
        return {"input_ids": tokens, "attention_mask": mask, **types}

    @property
    def axes(self) -> dict[int, tuple[str, int, int]]:
        """The axes of texts and of tokens."""
        return {0: ("batch", 1, 4096), 1: ("sequence", 2, self.longest)}

    def _tokens(self, batch: int, length: int) -> Tensor:
        vocabulary = self.network.config.vocab_size
        generator = torch.Generator().manual_seed(0)
        return torch.randint(min(5, vocabulary - 1), vocabulary, (batch, length), generator=generator)


class ImageServing(Serving):
    """A network that takes `pixel_values`, `n x channels x height x width`; see `Serving`."""

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs."""
        result = self.network(pixel_values=pixel_values)
        return (result.logits if self.outputs == (LOGITS,) else result.last_hidden_state,)

    def inputs(self, *, batch: int, length: int) -> dict[str, Tensor]:
        """Return random images; the length is not used."""
        config: Any = self.network.config
        size = (batch, config.num_channels, config.image_size, config.image_size)
        return {"pixel_values": torch.randn(size, generator=torch.Generator().manual_seed(0))}

    def example(self, *, batch: int, length: int, padded: bool = False) -> dict[str, Tensor]:
        """Return random images."""
        return self.inputs(batch=batch, length=length)

    @property
    def axes(self) -> dict[int, tuple[str, int, int]]:
        """The axis of images."""
        return {0: ("batch", 1, 4096)}


def can_be_served(network: nn.Module) -> bool:
    """Return whether a network is one of transformers that takes text or images."""
    config = getattr(network, "config", None)
    return hasattr(network, "base_model") and (reads_text(config) or hasattr(config, "image_size"))


def serving_of(network: "PreTrainedModel", layout: SentenceLayout | None = None) -> Serving:
    """Return a network of transformers as a function of tensors, in evaluation mode."""
    made = TextServing(network, layout) if reads_text(network.config) else ImageServing(network)
    return made.eval().requires_grad_(False)


def _prompt_tokens(layout: SentenceLayout, network: "PreTrainedModel") -> int:
    """Return the number of tokens of the default prompt before every sentence."""
    if not layout.prompt:
        return 0
    return int(layout.model(network).preprocess(["A text."], prompt=layout.prompt).get("prompt_length", 0))


@dataclass(frozen=True)
class Saved:
    """A loaded model directory: its network in float32 on the CPU, and what reads its inputs.

    Attributes:
        serving: the network.
        tokenizer: the tokenizer of a network that takes text; it converts text to lower case if the directory requires
            it.
        library: the directory as sentence-transformers loads it; None if it does not have that layout.
        processor: the settings of the image processor, if the directory has such a file.
    """

    serving: Serving
    tokenizer: "PreTrainedTokenizerBase | None" = None
    library: "SentenceTransformer | None" = None
    processor: Path | None = None

    @property
    def text(self) -> TextServing:
        """The network. Raises InputError if it takes no text."""
        if not isinstance(self.serving, TextServing):
            raise InputError("the network takes images, not text")
        return self.serving

    @property
    def longest(self) -> int:
        """The number of tokens that texts are cut to: sentence-transformers' limit, and at most the network's."""
        layout = self.text.layout
        return self.text.longest if layout is None else min(layout.longest, self.text.longest)

    @property
    def prompt(self) -> str:
        """The default prompt, which sentence-transformers puts before every text unless another is named."""
        return "" if self.text.layout is None else self.text.layout.prompt


def tokenised(saved: Saved, texts: Sequence[str], longest: int) -> dict[str, Tensor]:
    """Return the network's inputs for texts with the default prompt, cut to a length and padded to the longest text."""
    assert saved.tokenizer is not None
    encoded = saved.tokenizer(
        [saved.prompt + text for text in texts], padding="longest", truncation=True, max_length=longest,
        return_tensors="pt",
    )  # fmt: skip
    batch = {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
    if saved.text.takes_types:
        batch["token_type_ids"] = torch.zeros_like(batch["input_ids"])
    return batch


def save_reader(saved: Saved, folder: Path) -> None:
    """Write the settings of the image processor, or the tokenizer.

    The tokenizer is written so that `tokenizers.Tokenizer.from_file` cuts and pads as sentence-transformers does.
    """
    if saved.processor is not None:
        shutil.copy(saved.processor, folder)
    if saved.tokenizer is None:
        return
    tokenizer = copy.deepcopy(saved.tokenizer)
    tokenizer.model_max_length = saved.longest
    tokenizer.save_pretrained(folder)
    if tokenizer.is_fast:
        backend = tokenizer.backend_tokenizer
        backend.enable_truncation(saved.longest)
        backend.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
        backend.save(str(folder / "tokenizer.json"))


def load_saved(folder: Path) -> Saved:
    """Load a model directory in Hugging Face format: a network of a known family, alone or with a common head.

    A folder in sentence-transformers' layout is loaded with its pooling and further modules. No code in the folder is
    executed.

    Args:
        folder: the directory, with config.json, model.safetensors and the files of the tokenizer or image processor.

    Raises:
        InputError: the directory does not exist, the family or head is not supported, weights are missing, or
            `fsp.distillation.models.loading` rejects the model.
    """
    if not folder.exists():  # names on the hub are not accepted
        raise InputError(f"model {folder}: there is no such folder")
    if is_own(folder):
        raise InputError(
            f"model {folder}: networks that transformers does not know have no export; time them with "
            "--runtime eager or compile"
        )
    found = open_model(folder)
    with found.blamed():
        family = family_of_type(found.config.model_type)
        family.architecture_of(found.config)
        named = (found.config.architectures or ["none"])[0]
        loader = next((loader for ending, loader in _LOADERS.items() if named.endswith(ending)), None)
        if loader is None:
            raise InputError(f"class {named!r} is not supported; it takes networks alone or with a head for {_HEADS}")
    network = _network(found, loader)
    if not reads_text(network.config):
        processor = found.folder / "preprocessor_config.json"
        return Saved(serving_of(network), processor=processor if processor.is_file() else None)
    tokenizer = found.tokenizer()
    tokenizer.padding_side = "right"  # networks count positions from the first token
    if is_causal(family) and loader == "AutoModelForSequenceClassification":
        with found.blamed():
            let_find_the_last_token(network.config, tokenizer)
    layout = layout_of(found.root) if network.base_model is network else None
    serving = serving_of(network, layout)
    if layout is None:
        return Saved(serving, tokenizer)
    if layout.transformer.do_lower_case:
        _lower_case(tokenizer)
    return Saved(serving, tokenizer, _library(found.root, layout.longest))


def _network(found: ModelFolder, loader: str) -> "PreTrainedModel":
    import transformers

    network, missing = found.network(getattr(transformers, loader))
    with found.blamed():
        if missing:
            raise InputError(f"it lacks weights for {missing[0]} and {len(missing) - 1} more")
    if network.base_model is network and getattr(network, "pooler", None) is not None:
        network.pooler = None  # its output is not served
    return network


def _lower_case(tokenizer: Any) -> None:
    from tokenizers import normalizers

    backend = tokenizer.backend_tokenizer
    own = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])


def _library(folder: Path, longest: int) -> "SentenceTransformer":
    """Return the directory as sentence-transformers loads it; `layout_of` has checked that it can be loaded.

    If the directory's limit is above the number of positions of the network, the library would fail on longer texts,
    so the limit is lowered.
    """
    from sentence_transformers import SentenceTransformer

    with quiet():
        found = SentenceTransformer(
            str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32}
        ).eval()
    found.max_seq_length = min(found.max_seq_length or longest, longest)
    return found
