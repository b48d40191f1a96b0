"""Measuring T and its students on held-out text: error, agreement of sentence similarities, latency."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsp.base.defaults import BATCH, LENGTH
from fsp.base.progress import Progress
from fsp.base.timing import Latency, interleaved
from fsp.distillation.models.loading import longest_input, sentence_tokens
from fsp.distillation.models.sentence_layout import SentenceLayout
from fsp.distillation.sentence_readout import readout_of
from fsp.distillation.student import Student
from fsp.distillation.teacher import Teacher

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
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


@dataclass(frozen=True)
class SentenceFigures:
    """How close a student's sentence embeddings are to T's, both as sentence-transformers computes them.

    Attributes:
        spearman: agreement of the similarities of all pairs of sentences, see `similarity_agreement`.
        cosine: mean cosine between the two embeddings of a sentence.
        pooled_error: 1 - R² of T's pooled states predicted from the student's, before T's further modules.
    """

    spearman: float
    cosine: float
    pooled_error: float

    @classmethod
    def of(cls, layout: SentenceLayout, wanted: NDArray[np.float32], found: NDArray[np.float32]) -> "SentenceFigures":
        """Compare a student's pooled states with T's, both `n x (modes · H)`, for n >= 3 different sentences."""
        with torch.inference_mode():
            reference, own = (layout.finish(torch.from_numpy(pooled)).numpy() for pooled in (wanted, found))
        return cls(
            similarity_agreement(reference, own),
            float((_unit(reference) * _unit(own)).sum(axis=1).mean()),
            float(((wanted - found) ** 2).sum() / ((wanted - wanted.mean(axis=0)) ** 2).sum()),
        )


@torch.inference_mode()
def pooled_states(student: Student, layout: SentenceLayout, sentences: Sequence[str]) -> NDArray[np.float32]:
    """Return T's pooled states of sentences as predicted from the student's, `n x (modes · H)`."""
    own = torch.from_numpy(layout.pooled(student.encoder, sentences))
    return readout_of(student, layout)(own).numpy()


def similarity_agreement(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return Spearman's correlation between the cosine similarities of all pairs of rows of two embeddings.

    Args:
        first: embeddings of n >= 3 sentences, `n x d`.
        second: other embeddings of the same sentences, `n x d'`.
    """
    from scipy.stats import spearmanr

    upper = np.triu_indices(len(first), k=1)
    cosines = []
    for vectors in (first, second):
        unit = _unit(vectors)
        cosines.append((unit @ unit.T)[upper])
    return float(spearmanr(*cosines).statistic)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def latencies(
    teacher: Teacher, students: Mapping[str, Student], *, repeats: int = 60, display: Progress | None = None
) -> dict[str, Latency]:
    """Time T (under the name `T`) and students side by side, from token ids to a sentence embedding, in eager mode.

    The input is one sequence of 128 tokens, or of T's longest input if that is shorter. The whole saved model is timed
    as sentence-transformers runs it, with pooling, the readout and T's further modules; tokenisation is not.
    """
    layout, generator = teacher.layout, torch.Generator().manual_seed(0)
    length = min(LENGTH, longest_input(teacher.model.config))
    tokens = torch.randint(5, teacher.model.config.vocab_size, (BATCH, length), generator=generator)
    mask = torch.ones_like(tokens)
    models = {
        "T": layout.model(teacher.model),
        **{name: layout.model(one.encoder, readout_of(one, layout)) for name, one in students.items()},
    }

    def embed(model: "SentenceTransformer") -> object:
        return model({"input_ids": tokens, "attention_mask": mask})

    calls: dict[str, Callable[[], object]] = {name: partial(embed, model) for name, model in models.items()}
    warmup = 5
    with torch.inference_mode(), (display or Progress()).bar("measuring latency", repeats + warmup) as advance:
        return interleaved(calls, repeats=repeats, warmup=warmup, advance=advance)
