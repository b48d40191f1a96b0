"""A saved model as a network to serve: from token ids and mask to states, logits or sentence embeddings."""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fsp.base.errors import InputError
from fsp.distillation.models.loading import longest_input, open_model, quiet
from fsp.distillation.models.sentence_layout import SentenceLayout, layout_of
from fsp.families import bert

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_CLASSES = re.compile(r"(Bert|Roberta)(Model|For(MaskedLM|SequenceClassification|TokenClassification))")
_HEADS = "masked tokens, sequences or tokens"
SENTENCE = "sentence_embedding"
STATES = "last_hidden_state"
LOGITS = "logits"


class Serving(nn.Module):
    """A Hugging Face network as a function of tensors, `input_ids, attention_mask[, token_type_ids]`, each `n x s`.

    Attributes:
        network: the Hugging Face network.
        layout: the layout of sentence-transformers, None if there is none.
        prompt_tokens: number of tokens of the default prompt.
        outputs: names of the outputs, in order: `logits` if the network has a head; else `last_hidden_state`
            `n x s x H` and, with a layout, the `sentence_embedding` `n x d` that sentence-transformers computes.
    """

    def __init__(self, network: "PreTrainedModel", layout: SentenceLayout | None = None):
        super().__init__()
        self.network = network
        self.layout = layout
        self.modules_of_layout = nn.ModuleList([] if layout is None else [layout.pooling, *layout.after])
        self.prompt_tokens = 0 if layout is None else _prompt_tokens(layout, network)
        headless = type(network).__name__.endswith("Model")
        self.outputs = (LOGITS,) if not headless else (STATES,) if layout is None else (STATES, SENTENCE)

    @property
    def takes_types(self) -> bool:
        """Whether the network distinguishes the first of two texts from the second by token types."""
        return self.network.config.type_vocab_size > 1

    @property
    def longest(self) -> int:
        """The most tokens of an input."""
        return longest_input(self.network.config)

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
            mask = mask * (torch.arange(mask.shape[1]) >= self.prompt_tokens)
        return states, self.layout.finish(self.layout.pool(states, mask))


def _prompt_tokens(layout: SentenceLayout, network: "PreTrainedModel") -> int:
    """Return the number of tokens of the default prompt before every sentence."""
    if not layout.prompt:
        return 0
    return int(layout.model(network).preprocess(["A text."], prompt=layout.prompt).get("prompt_length", 0))


@dataclass(frozen=True)
class Saved:
    """A loaded model directory: its network in float32 on the CPU, and its tokenizer.

    Attributes:
        serving: the network.
        tokenizer: the tokenizer; it converts text to lower case if the directory requires it.
        library: the directory as sentence-transformers loads it; None if it does not have that layout.
    """

    serving: Serving
    tokenizer: "PreTrainedTokenizerBase"
    library: "SentenceTransformer | None" = None

    @property
    def longest(self) -> int:
        """The number of tokens that texts are cut to: sentence-transformers' limit, and at most the network's."""
        layout = self.serving.layout
        return self.serving.longest if layout is None else min(layout.longest, self.serving.longest)

    @property
    def prompt(self) -> str:
        """The default prompt, which sentence-transformers puts before every text unless another is named."""
        return "" if self.serving.layout is None else self.serving.layout.prompt


def tokenised(saved: Saved, texts: Sequence[str], longest: int) -> dict[str, Tensor]:
    """Return the network's inputs for texts with the default prompt, cut to a length and padded to the longest text."""
    encoded = saved.tokenizer(
        [saved.prompt + text for text in texts], padding="longest", truncation=True, max_length=longest,
        return_tensors="pt",
    )  # fmt: skip
    batch = {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
    if saved.serving.takes_types:
        batch["token_type_ids"] = torch.zeros_like(batch["input_ids"])
    return batch


def save_tokenizer(saved: Saved, folder: Path) -> None:
    """Write the tokenizer so that `tokenizers.Tokenizer.from_file` cuts and pads as sentence-transformers does."""
    tokenizer = copy.deepcopy(saved.tokenizer)
    tokenizer.model_max_length = saved.longest
    tokenizer.save_pretrained(folder)
    if tokenizer.is_fast:
        backend = tokenizer.backend_tokenizer
        backend.enable_truncation(saved.longest)
        backend.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
        backend.save(str(folder / "tokenizer.json"))


def inputs_for(serving: Serving, *, batch: int, length: int, padded: bool = False) -> dict[str, Tensor]:
    """Return random token ids, mask and, if the network takes them, types, `batch x length` each."""
    vocabulary = serving.network.config.vocab_size
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(min(5, vocabulary - 1), vocabulary, (batch, length), generator=generator)
    mask = torch.ones_like(tokens)
    if padded:
        mask[-1, length // 2 :] = 0
    types: Mapping[str, Tensor] = {"token_type_ids": torch.zeros_like(tokens)} if serving.takes_types else {}
    return {"input_ids": tokens, "attention_mask": mask, **types}


def load_saved(folder: Path) -> Saved:
    """Load a model directory in Hugging Face format: a BERT or RoBERTa encoder, alone or with a common head.

    A folder in sentence-transformers' layout is loaded with its pooling and further modules. No code in the folder is
    executed.

    Args:
        folder: the directory, with config.json, model.safetensors and the tokenizer's files.

    Raises:
        InputError: the directory does not exist, the family or head is not supported, weights are missing, or
            `fsp.distillation.models.loading` rejects the model.
    """
    import transformers

    if not folder.exists():  # names on the hub are not accepted
        raise InputError(f"model {folder}: there is no such folder")
    found = open_model(folder)
    with found.blamed():
        bert.architecture_of(found.config)
        named = (found.config.architectures or ["none"])[0]
        if not (kind := _CLASSES.fullmatch(named)):
            raise InputError(f"class {named!r} is not supported; it takes encoders alone or with a head for {_HEADS}")
    network, missing = found.network(getattr(transformers, f"Auto{kind[2].replace('For', 'ModelFor')}"))
    tokenizer = found.tokenizer()
    with found.blamed():
        if missing:
            raise InputError(f"it lacks weights for {missing[0]} and {len(missing) - 1} more")
    if getattr(network, "pooler", None) is not None:
        network.pooler = None  # its output is not served
    layout = layout_of(found.root) if named.endswith("Model") else None
    serving = Serving(network, layout).eval().requires_grad_(False)
    if layout is None:
        return Saved(serving, tokenizer)
    if layout.transformer.do_lower_case:
        _lower_case(tokenizer)
    return Saved(serving, tokenizer, _library(found.root, layout.longest))


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
