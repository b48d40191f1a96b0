"""The differences of an exported model's outputs from the original's on real text, or on images, and their limits.

Each output is judged separately, by its purpose: token states have thousands of times as many numbers as a sentence
embedding and would hide an error in it. Sentence embeddings must point in the direction of
`SentenceTransformer.encode`, and their similarities must keep their order, which even a small error can destroy if all
embeddings are similar. Token states and logits must be close in value, and predictions must stay the same.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsp.base.errors import InputError, RunFailed
from fsp.deploy.serving import LOGITS, SENTENCE, STATES, Saved, TextServing, tokenised
from fsp.distillation.similarity import similarity_agreement

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

FLOAT32_TOLERANCE = 1e-4  # share of an output's largest number; another order of summation changes it by 1e-6
INT8_TOLERANCE = 0.2  # root mean square of the difference over that of the output; trained encoders have .05 to .07
LEAST_SIMILARITIES = 0.95  # mean cosine and Spearman's correlation; trained encoders have .998 in int8
LEAST_PREDICTIONS = 0.9  # share of equal predictions; a trained classifier has .98 in int8 (experiments/speed)
_BATCH = 8
_MOST_TOKENS = 512
_IMAGES = (1, 8, 3)  # sizes of the batches that networks of images are compared on
Outputs = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Tolerances:
    """The limits for a quantised model's outputs; None for the default of each.

    Attributes:
        tolerance: the largest relative difference of token states and logits, as a root mean square.
        agreement: the least agreement in the cosine and similarities of sentences, or in predictions.
    """

    tolerance: float | None = None
    agreement: float | None = None

    def __post_init__(self) -> None:
        if self.tolerance is not None and not self.tolerance > 0:
            raise InputError(f"tolerance {self.tolerance:g} is no positive number")
        if self.agreement is not None and not 0 < self.agreement <= 1:
            raise InputError(f"agreement {self.agreement:g} is not between 0 and 1")


@dataclass(frozen=True)
class Check:
    """One figure of one output, compared with its limit.

    Attributes:
        output: name of the output.
        measure: name of the figure.
        value: the figure.
        limit: its limit.
        at_least: whether the limit is a lower one, not an upper one.
    """

    output: str
    measure: str
    value: float
    limit: float
    at_least: bool

    @property
    def passed(self) -> bool:
        """Whether the value is within the limit; NaN is not."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        bound = "at least" if self.at_least else "at most"
        return f"{self.output}: {self.measure} {self.value:.4g} ({bound} {self.limit:g})"


@dataclass
class _Difference:
    """The difference of one output from the original's, accumulated over batches."""

    largest: float = 0.0
    largest_output: float = 0.0
    squares: float = 0.0
    squares_output: float = 0.0
    decided: tuple[list[NDArray[Any]], list[NDArray[Any]]] = field(default_factory=lambda: ([], []))

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


def compare(
    saved: Saved,
    exported: "InferenceSession",
    sentences: Sequence[str],
    *,
    int8: bool,
    limits: Tolerances | None = None,
) -> dict[str, Any]:
    """Return the differences of an exported model's outputs from torch's, and of embeddings from the library's.

    Args:
        saved: the model in torch.
        exported: the model in ONNX Runtime.
        sentences: three or more sentences to compare on; a network of images is compared on random ones instead.
        int8: whether the exported model is quantised, which allows larger differences.
        limits: the limits if it is quantised.

    Returns:
        `differences`: for each output `largest_difference`, `largest_output` and `relative_difference` (root mean
        square of the differences over that of the output); the largest of each over the outputs; `agreement`: for
        logits the share of equal predictions, else Spearman's correlation of the similarities of all pairs of
        sentences; `checks`: each judged figure with `output`, `measure`, `value`, `limit` and `at_least`.

    Raises:
        RunFailed: a figure is beyond its limit.
    """
    limits = limits or Tolerances()
    names = saved.serving.outputs
    differences = {name: _Difference() for name in names}
    decides = SENTENCE if SENTENCE in names else names[0]
    reads_text = isinstance(saved.serving, TextServing)
    for texts, batch in _batches(saved, sentences) if reads_text else _images(saved):
        ours, theirs = _expected(saved, texts, batch), _of_session(exported, names, batch)
        _check_finite(ours, theirs)
        for name, expected in ours.items():
            pair = expected, theirs[name]
            kept = batch["attention_mask"].numpy().astype(bool) if reads_text else np.ones(expected.shape[:2], bool)
            if name == decides:
                for decisions, output in zip(differences[name].decided, pair, strict=True):
                    decisions.append(_decisions(name, output, kept))
            # outputs per token have no meaning at padding
            differences[name].add(*(output[kept] if output.ndim == 3 else output for output in pair))
    found = {name: difference.describe() for name, difference in differences.items()}
    decided, decided_by_exported = map(np.concatenate, differences[decides].decided)
    of, agreement, checks = _judge(found, decided, decided_by_exported, int8, limits)
    if not all(check.passed for check in checks):
        told = "; ".join(map(str, checks))
        mend = "; --tolerance and --agreement set what is allowed" if int8 else ""
        raise RunFailed(f"the exported model is too far from the original: {told}{mend}; nothing was kept")
    return {
        **{key: max(difference[key] for difference in found.values()) for key in next(iter(found.values()))},
        "differences": found,
        "checks": [asdict(check) for check in checks],
        "agreement": agreement,
        "agreement_of": of,
        **({"sentences": len(sentences)} if reads_text else {"images": sum(_IMAGES)}),
    }


def _judge(
    found: dict[str, dict[str, float]], ours: NDArray[Any], theirs: NDArray[Any], int8: bool, limits: Tolerances
) -> tuple[str, float, list[Check]]:
    """Return the name of the agreement, its value, and the checks of all outputs."""
    tolerance = limits.tolerance or INT8_TOLERANCE
    checks = []
    for name, difference in found.items():
        if not int8:
            # Logits may all be small differences of large numbers; other outputs are normalised.
            scale = max(difference["largest_output"], 1.0 if name == LOGITS else sys.float_info.min)
            value = difference["largest_difference"] / scale
            checks.append(Check(name, "largest difference over its largest number", value, FLOAT32_TOLERANCE, False))
        elif name != SENTENCE:
            checks.append(Check(name, "relative difference", difference["relative_difference"], tolerance, False))
    if LOGITS in found:
        of, least, agreement = "predictions", LEAST_PREDICTIONS, float((ours == theirs).mean())
        checks.append(Check(LOGITS, "share of equal predictions", agreement, limits.agreement or least, True))
        return of, agreement, checks
    least, output = limits.agreement or LEAST_SIMILARITIES, SENTENCE if SENTENCE in found else STATES
    agreement = similarity_agreement(ours, theirs)
    checks.append(Check(output, "Spearman's correlation of similarities", agreement, least, True))
    if SENTENCE in found:
        checks.append(Check(SENTENCE, "mean cosine", _mean_cosine(ours, theirs), least, True))
    return "similarities of sentences (Spearman)", agreement, checks


def _mean_cosine(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float(((ours * theirs).sum(axis=1) / np.maximum(norms, sys.float_info.min)).mean())


def _decisions(name: str, output: NDArray[np.float32], kept: NDArray[np.bool_]) -> NDArray[Any]:
    """Return what an output decides: predicted classes (of tokens, for the kept ones), or embedded sentences."""
    if name == LOGITS:
        predicted = output.argmax(axis=-1)
        return predicted[kept] if predicted.ndim == 2 else predicted
    if name == SENTENCE:
        return output
    return (output * kept[..., None]).sum(axis=1) / kept.sum(axis=1, keepdims=True)


def _images(saved: Saved) -> Iterator[tuple[None, dict[str, Tensor]]]:
    """Yield batches of random images, each of another brightness and contrast."""
    for seed, size in enumerate(_IMAGES):
        generator = torch.Generator().manual_seed(seed)
        for name, noise in saved.serving.inputs(batch=size, length=0).items():
            brightness, contrast = torch.randn(2, size, 1, 1, 1, generator=generator)
            yield None, {name: brightness + contrast * noise}


def _expected(saved: Saved, texts: Sequence[str] | None, batch: dict[str, Tensor]) -> Outputs:
    """Return torch's outputs, with the library's sentence embeddings if there are texts."""
    with torch.inference_mode():
        found = {
            name: output.numpy() for name, output in zip(saved.serving.outputs, saved.serving(**batch), strict=True)
        }
    if found.pop(SENTENCE, None) is not None and texts is not None:
        assert saved.library is not None
        found[SENTENCE] = saved.library.encode(list(texts), show_progress_bar=False)
    return found


def _of_session(exported: "InferenceSession", names: Sequence[str], batch: dict[str, Tensor]) -> Outputs:
    found = exported.run(list(names), {name: tensor.numpy() for name, tensor in batch.items()})
    return dict(zip(names, found, strict=True))


def _check_finite(*outputs: Outputs) -> None:
    if not all(np.isfinite(output).all() for found in outputs for output in found.values()):
        raise RunFailed("an output is no finite number; nothing was kept")


def _batches(saved: Saved, sentences: Sequence[str]) -> Iterator[tuple[Sequence[str] | None, dict[str, Tensor]]]:
    """Yield one sentence, the others in batches of eight, a text that is cut, and an input of the greatest length.

    All but the last come with their texts. The last is needed only if sentence-transformers cuts texts to fewer tokens.
    """
    long = [" ".join(sentences)]
    for group in [sentences[:1], *(sentences[i : i + _BATCH] for i in range(1, len(sentences), _BATCH)), long]:
        yield group, tokenised(saved, group, min(saved.longest, _MOST_TOKENS))
    if saved.longest < saved.text.longest:
        yield None, tokenised(saved, long, min(saved.text.longest, _MOST_TOKENS))
