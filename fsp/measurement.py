"""Measuring T and its students on held-out text: error, agreement of sentence similarities, latency."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsp.models import longest_input, sentence_tokens
from fsp.progress import Silent
from fsp.timing import Latency, interleaved
from fsp.training.student import Student
from fsp.training.teacher import Teacher
from fsp.workload import BATCH, LENGTH

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


def student_embeddings(student: Student, teacher: Teacher, sentences: Sequence[str]) -> NDArray[np.float32]:
    """Return T's mean token states of sentences as read from the student's, `n x H`."""
    own = torch.from_numpy(embeddings(student.encoder, teacher.tokenizer, sentences))
    with torch.inference_mode():
        return student.readout(own).numpy()


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
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        cosines.append((unit @ unit.T)[upper])
    return float(spearmanr(*cosines).statistic)


def latencies(
    teacher: Teacher, students: Mapping[str, Student], *, repeats: int = 60, display: Silent | None = None
) -> dict[str, Latency]:
    """Time T (under the name `T`) and students side by side: token ids to a sentence embedding, eager.

    One sequence of 128 tokens, or as many as T takes; mean pooling and a student's readout are inside, tokenisation is
    not.
    """
    config, generator = teacher.model.config, torch.Generator().manual_seed(0)
    length = min(LENGTH, longest_input(config))
    tokens = torch.randint(5, config.vocab_size, (BATCH, length), generator=generator)
    mask = torch.ones_like(tokens)

    def of_teacher() -> Tensor:
        return pooled(teacher.model(input_ids=tokens).last_hidden_state, mask)

    def of_student(student: Student) -> Tensor:
        return student.readout(pooled(student.encoder(input_ids=tokens).last_hidden_state, mask))

    calls: dict[str, Callable[[], object]] = {
        "T": of_teacher,
        **{name: partial(of_student, student) for name, student in students.items()},
    }
    warmup = 5
    with torch.inference_mode(), (display or Silent()).bar("measuring latency", repeats + warmup) as advance:
        return interleaved(calls, repeats=repeats, warmup=warmup, advance=advance)
