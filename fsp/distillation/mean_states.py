"""The mean token states of texts, as a plain encoder without a layout of its own embeds them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsp.distillation.models.loading import sentence_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_BATCH = 64


def pooled(states: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of token states `(n, length, H)` over the tokens that the mask `(n, length)` keeps."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1)


@torch.inference_mode()
def embeddings(
    encoder: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", sentences: Sequence[str]
) -> NDArray[np.float32]:
    """Return the mean token states of sentences, `n x H`, in the order given."""
    by_length = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    result = np.empty((len(sentences), encoder.config.hidden_size), dtype=np.float32)
    for i in range(0, len(by_length), _BATCH):
        rows = by_length[i : i + _BATCH]
        batch = tokenizer(
            [sentences[row] for row in rows],
            padding="longest",
            truncation=True,
            max_length=sentence_tokens(encoder.config),
            return_tensors="pt",
        )
        states = encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        result[rows] = pooled(states, batch["attention_mask"]).numpy()
    return result
