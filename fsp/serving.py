"""A saved model as the network that serves it: token ids and mask to states, logits or sentence embeddings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fsp.distillation import load_student
from fsp.errors import InputError
from fsp.families import bert
from fsp.guard import guarded
from fsp.measurement import pooled

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_CLASSES = re.compile(r"(Bert|Roberta)(Model|For(MaskedLM|SequenceClassification|TokenClassification))")
_HEADS = "masked tokens, sequences or tokens"
SENTENCE = "sentence_embedding"
STATES = "last_hidden_state"
LOGITS = "logits"


class Serving(nn.Module):
    """A Hugging Face network as a function of tensors, `input_ids, attention_mask[, token_type_ids]`, each `n x s`.

    outputs: the names of what it returns, in order: `logits` where the network has a head; else `last_hidden_state`
    `n x s x H` and, with a readout, the unit-length `sentence_embedding` `n x d` that sentence-transformers computes.
    """

    def __init__(self, network: "PreTrainedModel", readout: nn.Module | None = None):
        super().__init__()
        self.network = network
        self.readout = readout
        headless = type(network).__name__.endswith("Model")
        self.outputs = (LOGITS,) if not headless else (STATES,) if readout is None else (STATES, SENTENCE)

    @property
    def takes_types(self) -> bool:
        """Whether the network tells the first of two texts from the second."""
        return self.network.config.type_vocab_size > 1

    @property
    def longest(self) -> int:
        """The most tokens of an input; RoBERTa keeps the first positions for padding."""
        config = self.network.config
        return config.max_position_embeddings - (config.pad_token_id + 1 if config.model_type == "roberta" else 0)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Return the outputs."""
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        result = self.network(input_ids=input_ids, attention_mask=attention_mask, **types)
        if self.outputs == (LOGITS,):
            return (result.logits,)
        states = result.last_hidden_state
        if self.readout is None:
            return (states,)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return states, nn.functional.normalize(self.readout(pooled(states, mask)), dim=-1)


@dataclass(frozen=True)
class Saved:
    """A model directory, loaded: its network in float32 on the CPU, and its tokenizer."""

    serving: Serving
    tokenizer: "PreTrainedTokenizerBase"


def inputs_for(serving: Serving, *, batch: int, length: int, padded: bool = False) -> dict[str, Tensor]:
    """Return random token ids, mask and, where the network takes them, types, `batch x length` each."""
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

    A folder in sentence-transformers' layout, as fsp writes it, brings its readout along. Nothing in the folder is
    run as code.

    Args:
        folder: the directory, with config.json, model.safetensors and the tokenizer's files.

    Raises:
        InputError: no such directory or weights, another family or head, or weights missing for parts of it.
    """
    import transformers
    from transformers.utils import logging

    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} is no model directory; name one with config.json and model.safetensors")
    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # its report of missing weights is checked below and told in one line
    try:
        safe = guarded(folder)
        config = transformers.AutoConfig.from_pretrained(folder, **safe)
        bert.architecture_of(config)
        named = (config.architectures or ["none"])[0]
        if not _CLASSES.fullmatch(named):
            raise InputError(f"class {named!r} is not supported; it takes encoders alone or with a head for {_HEADS}")
        if not any(folder.glob("*.safetensors")):
            raise InputError("it has no weights; put model.safetensors beside its config.json")
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **safe)
        if (folder / "2_Dense" / "model.safetensors").is_file():
            student = load_student(folder)
            return Saved(Serving(student.encoder, student.readout).eval(), tokenizer)
        network, info = getattr(transformers, named).from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
    except InputError as error:
        raise InputError(f"model {folder}: {error}") from None
    except Exception as error:  # the loaders raise many kinds; for the user each is one unusable model
        raise InputError(f"cannot load model {folder}: {' '.join(str(error).split())[:200]}") from None
    finally:
        logging.set_verbosity(verbosity)
    missing = sorted(key for key in info["missing_keys"] if not (named.endswith("Model") and "pooler." in key))
    if missing:
        raise InputError(f"model {folder} lacks weights for {missing[0]} and {len(missing) - 1} more")
    if named.endswith("Model"):
        network.pooler = None  # its output is none of those served
    return Saved(Serving(network).eval().requires_grad_(False), tokenizer)
