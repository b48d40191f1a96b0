"""How far an exported model's outputs are from torch's on real text, and how far they may be.

Each output has to be near by itself: token states are thousands of times as many as the numbers of a sentence
embedding, and would hide one that is wrong. And what the outputs are for has to stay: predictions, or the order of
sentence similarities, which an error of small size can still destroy where all embeddings are alike.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsp.errors import RunFailed
from fsp.measurement import similarity_agreement
from fsp.serving import LOGITS, SENTENCE, STATES, Saved

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

FLOAT32_TOLERANCE = 1e-4  # of an output's largest number; what the order of summation changes is 1e-6
INT8_TOLERANCE = 0.2  # root mean square difference against that of the output; trained encoders have up to .15
LEAST_SIMILARITIES = 0.95  # Spearman's correlation; trained encoders have .99 in int8
LEAST_PREDICTIONS = 0.9  # share; a trained classifier has .98 in int8 (experiments/speed)
_BATCH = 8
Outputs = list[NDArray[np.float32]]


@dataclass
class _Difference:
    """Of one output from torch's, summed up over batches."""

    largest: float = 0.0
    largest_output: float = 0.0
    squares: float = 0.0
    squares_output: float = 0.0

    def add(self, ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
        difference = np.abs(ours.astype(np.float64) - theirs)
        self.largest = max(self.largest, float(difference.max()))
        self.largest_output = max(self.largest_output, float(np.abs(ours).max()))
        self.squares += float((difference**2).sum())
        self.squares_output += float((ours.astype(np.float64) ** 2).sum())

    def describe(self) -> dict[str, float]:
        relative = float(np.sqrt(self.squares / max(self.squares_output, sys.float_info.min)))
        return {
            "largest_difference": self.largest,
            "largest_output": self.largest_output,
            "relative_difference": relative,
        }


def compare(saved: Saved, exported: "InferenceSession", sentences: Sequence[str], *, int8: bool) -> dict[str, Any]:
    """Return how far an exported model's outputs are from torch's.

    Args:
        saved: the model in torch.
        exported: the model in ONNX Runtime.
        sentences: three or more, to compare on.
        int8: whether it is quantised, which allows more.

    Returns:
        `differences`: of each output `largest_difference`, `largest_output` and `relative_difference` (root mean
        square of the differences over that of the output); the largest of each over the outputs; `agreement`: for
        logits the share of equal predictions, else Spearman's correlation of all pairs' sentence similarities;
        `tolerance`: what was allowed of each output, and of the agreement.

    Raises:
        RunFailed: an output differs, or the agreement falls, by more than that.
    """
    names = saved.serving.outputs
    differences = {name: _Difference() for name in names}
    decided: tuple[Outputs, Outputs] = ([], [])
    for batch in _batches(saved, sentences):
        kept = batch["attention_mask"].numpy().astype(bool)
        pair = [_finite(_of_torch(saved, batch)), _finite(_of_session(exported, names, batch))]
        for name, ours, theirs in zip(names, *pair, strict=True):
            if ours.ndim == 3:  # a value for each token: what stands at padding has no meaning
                ours, theirs = ours[kept], theirs[kept]
            differences[name].add(ours, theirs)
        for decisions, outputs in zip(decided, pair, strict=True):
            decisions.append(_decisions(dict(zip(names, outputs, strict=True)), kept))
    found = {name: difference.describe() for name, difference in differences.items()}
    tolerance = _check_outputs(found, int8=int8)
    of, least, agreement = _check_agreement(names, *map(np.concatenate, decided))
    return {
        **{key: max(difference[key] for difference in found.values()) for key in next(iter(found.values()))},
        "differences": found,
        "tolerance": {**tolerance, "agreement": least},
        "agreement": agreement,
        "agreement_of": of,
        "sentences": len(sentences),
    }


def _check_outputs(found: dict[str, dict[str, float]], *, int8: bool) -> dict[str, float]:
    """Return what is allowed of each output. Raises RunFailed where one differs by more."""
    for name, difference in found.items():
        # Logits may all be small differences of large numbers; other outputs are normalised.
        scale = max(difference["largest_output"], 1.0 if name == LOGITS else sys.float_info.min)
        measured = difference["relative_difference"] if int8 else difference["largest_difference"] / scale
        bound = INT8_TOLERANCE if int8 else FLOAT32_TOLERANCE
        if not measured <= bound:
            raise RunFailed(
                f"the exported {name} differs from torch's by {measured:.2g}, more than {bound:g}; nothing was kept"
            )
    return (
        {"relative_difference": INT8_TOLERANCE}
        if int8
        else {"largest_difference over the output's largest number (of logits 1 at least)": FLOAT32_TOLERANCE}
    )


def _check_agreement(names: tuple[str, ...], ours: NDArray[Any], theirs: NDArray[Any]) -> tuple[str, float, float]:
    """Return what agrees, how much of it has to and how much does. Raises RunFailed where it is too little."""
    if names == (LOGITS,):
        of, least, agreement = "predictions", LEAST_PREDICTIONS, float((ours == theirs).mean())
    else:
        of, least = "similarities of sentences (Spearman)", LEAST_SIMILARITIES
        agreement = similarity_agreement(ours, theirs)
    if not agreement >= least:  # also where it is no number
        raise RunFailed(
            f"the agreement of {of} with torch's is {agreement:.2g}, below {least:g}: the outputs are too near to each "
            "other for this precision, or the head is untrained; nothing was kept"
        )
    return of, least, agreement


def _decisions(outputs: dict[str, NDArray[np.float32]], kept: NDArray[np.bool_]) -> NDArray[Any]:
    """Return what the outputs are for: predicted classes, of tokens those that are kept, or embedded sentences."""
    if LOGITS in outputs:
        predicted = outputs[LOGITS].argmax(axis=-1)
        return predicted[kept] if predicted.ndim == 2 else predicted
    if SENTENCE in outputs:
        return outputs[SENTENCE]
    return (outputs[STATES] * kept[..., None]).sum(axis=1) / kept.sum(axis=1, keepdims=True)


def _of_torch(saved: Saved, batch: dict[str, Tensor]) -> Outputs:
    with torch.inference_mode():
        return [output.numpy() for output in saved.serving(**batch)]


def _of_session(exported: "InferenceSession", names: Sequence[str], batch: dict[str, Tensor]) -> Outputs:
    return exported.run(list(names), {name: tensor.numpy() for name, tensor in batch.items()})


def _finite(outputs: Outputs) -> Outputs:
    if not all(np.isfinite(output).all() for output in outputs):
        raise RunFailed("an output is no finite number; nothing was kept")
    return outputs


def _batches(saved: Saved, sentences: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Yield the sentences alone, in eights and in what remains, and at last one input of the greatest length."""
    longest = min(saved.serving.longest, 512)
    groups = [sentences[:1], *(sentences[i : i + _BATCH] for i in range(1, len(sentences), _BATCH))]
    for group in [*groups, [" ".join(sentences)]]:
        encoded = saved.tokenizer(
            list(group), padding="longest", truncation=True, max_length=longest, return_tensors="pt"
        )
        batch = {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
        if saved.serving.takes_types:
            batch["token_type_ids"] = torch.zeros_like(batch["input_ids"])
        yield batch
