"""Labellers S, which label generated points with a probability per class."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest

from fsp.base.device import Device
from fsp.base.errors import InputError
from fsp.distillation.models.loading import check_classes, longest_input, sentence_tokens, takes_types
from fsp.finetuning.classifier import open_text_model
from fsp.finetuning.examples import Example, majority_share

Fields = tuple[str, ...]
Labeller = Callable[[Sequence[Fields]], NDArray[np.float64]]  # from texts to probabilities, `n x classes`

ENOUGH = 2 / 3  # the accuracy of S that the theory requires
_SIGNIFICANCE = 0.05
_STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # candidates for C, chosen by cross-validation on train
_LENGTH = 128
_BATCH = 64


def load_labeller(
    source: str, train: Sequence[Example], labels: Sequence[str], device: Device | None = None
) -> Labeller:
    """Return a labeller.

    Args:
        source: `tfidf` for logistic regression on TF-IDF; `probe:DIR` for logistic regression on the mean token states
            of the frozen encoder in DIR (a directory or hub name); or a directory or hub name of a trained classifier
            with the same labels. The first two are fitted on train.
        train: the train set.
        labels: the classes.
        device: where its network runs; None for the CPU.

    Raises:
        InputError: there is no such model, or it has other labels.
    """
    if source == "tfidf":
        return _tfidf(train, len(labels))
    if source.startswith("probe:"):
        return _probe(source.removeprefix("probe:"), train, len(labels), device)
    if not source:
        raise InputError("name a labeller: tfidf, probe:DIR or DIR")
    return _classifier(source, labels, device or Device())


@dataclass(frozen=True)
class LabellerVerdict:
    """The quality of a labeller on some rows.

    Attributes:
        accuracy: share of the rows that it labels correctly.
        chance: accuracy of always guessing the most frequent label.
        rows: number of rows.
        level: `enough` (above 2/3), `weak` (above chance), or `chance` (not significantly better than `chance`, at 5%,
            one-sided).
    """

    accuracy: float
    chance: float
    rows: int
    level: str

    def __str__(self) -> str:
        meaning = {
            "enough": "above the 2/3 that the theory asks",
            "weak": "below the 2/3 that the theory asks",
            "chance": f"no better than guessing ({self.chance:.1%})",
        }
        return f"the labeller is right on {self.accuracy:.1%} of {self.rows} rows of dev: {meaning[self.level]}"


def judge(labeller: Labeller, dev: Sequence[Example]) -> LabellerVerdict:
    """Return the quality of a labeller on rows that it was not fitted on."""
    guesses = labeller([one.fields for one in dev]).argmax(axis=1)
    right = int(sum(guess == one.label for guess, one in zip(guesses, dev, strict=True)))
    chance = majority_share(dev)
    better = chance < 1 and binomtest(right, len(dev), chance, alternative="greater").pvalue <= _SIGNIFICANCE
    level = "chance" if not better else "enough" if right / len(dev) > ENOUGH else "weak"
    return LabellerVerdict(right / len(dev), chance, len(dev), level)


def _tfidf(train: Sequence[Example], classes: int) -> Labeller:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    try:
        features = vectorizer.fit_transform([" ".join(one.fields) for one in train])
    except ValueError:
        raise InputError("the texts of train hold no words; tfidf cannot label them") from None
    model = _logistic(features, [one.label for one in train])
    return lambda texts: _spread(model, lambda: vectorizer.transform([" ".join(f) for f in texts]), len(texts), classes)


def _probe(source: str, train: Sequence[Example], classes: int, device: Device | None) -> Labeller:
    embed = embedder(source, device)
    model = _logistic(embed([one.fields for one in train]), [one.label for one in train])
    return lambda texts: _spread(model, lambda: embed(texts), len(texts), classes)


def embedder(source: str | Path, device: Device | None = None) -> Callable[[Sequence[Fields]], NDArray[np.float32]]:
    """Return a function from texts to the mean token states of a frozen encoder, scaled to unit length, `n x H`."""
    from transformers import AutoModel

    found, place = open_text_model(source), device or Device()
    encoder, tokenizer = found.network(AutoModel)[0].requires_grad_(False).to(place.torch), found.tokenizer()
    tokenizer.padding_side = "right"  # networks count positions from the first token

    @torch.inference_mode()
    def embed(texts: Sequence[Fields]) -> NDArray[np.float32]:
        by_length = sorted(range(len(texts)), key=lambda i: sum(map(len, texts[i])))
        vectors = np.empty((len(texts), encoder.config.hidden_size), dtype=np.float32)
        for start in range(0, len(by_length), _BATCH):
            rows = by_length[start : start + _BATCH]
            batch = tokenizer(
                *map(list, zip(*(texts[row] for row in rows), strict=True)),
                padding="longest",
                truncation=True,
                max_length=sentence_tokens(encoder.config),
                return_tensors="pt",
            ).to(place.torch)
            mask = batch["attention_mask"]
            with place.computing():
                states = encoder(input_ids=batch["input_ids"], attention_mask=mask).last_hidden_state.float()
            weights = mask.unsqueeze(-1).to(states.dtype)
            vectors[rows] = ((states * weights).sum(dim=1) / weights.sum(dim=1)).cpu().numpy()
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    return embed


def _logistic(features: Any, labels: Sequence[int]) -> Any:
    """Fit a logistic regression, with C chosen by cross-validation if every class has at least two rows."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    model = LogisticRegression(max_iter=1000)
    folds = min(5, *Counter(labels).values())
    if folds < 2:
        return model.fit(features, labels)
    split = StratifiedKFold(folds, shuffle=True, random_state=0)
    return GridSearchCV(model, {"C": _STRENGTHS}, cv=split, scoring="neg_log_loss").fit(features, labels)


def _spread(model: Any, features: Callable[[], Any], rows: int, classes: int) -> NDArray[np.float64]:
    """Return probabilities of all classes, with 0 for those that the model was not fitted on; `rows` may be 0."""
    result = np.zeros((rows, classes))
    if rows:
        result[:, model.classes_] = model.predict_proba(features())
    return result


def _classifier(source: str, labels: Sequence[str], device: Device) -> Labeller:
    from transformers import AutoModelForSequenceClassification

    found = open_text_model(source, what="labeller")
    model, missing = found.network(AutoModelForSequenceClassification)
    if missing:
        raise InputError(f"labeller {source} is no trained classifier: it lacks {missing[0]}; or use probe:{source}")
    with found.blamed():
        check_classes(model.config)
    tokenizer = found.tokenizer()
    tokenizer.padding_side = "right"
    model.to(device.torch).config.pad_token_id = tokenizer.pad_token_id
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if takes_types(model.config) else [])]
    theirs = [str(model.config.id2label[i]) for i in range(model.config.num_labels)]
    if sorted(theirs) == sorted(labels):
        order = [theirs.index(label) for label in labels]
    elif len(theirs) == len(labels) and theirs == [f"LABEL_{i}" for i in range(len(theirs))]:
        order = list(range(len(labels)))  # its labels have default names, so its classes are taken in our order
    else:
        raise InputError(f"labeller {source} knows the labels {', '.join(theirs)}; the data has {', '.join(labels)}")

    def probabilities(texts: Sequence[Fields]) -> NDArray[np.float64]:
        result = np.zeros((len(texts), len(labels)))
        for start in range(0, len(texts), _BATCH):
            batch = tokenizer(
                *map(list, zip(*texts[start : start + _BATCH], strict=True)),
                padding="longest",
                truncation=True,
                max_length=min(_LENGTH, longest_input(model.config)),
                return_tensors="pt",
            ).to(device.torch)
            with torch.inference_mode(), device.computing():
                logits = model(**{name: batch[name] for name in names if name in batch}).logits.cpu()
            result[start : start + _BATCH] = logits.double().softmax(dim=1)[:, order].numpy()
        return result

    return probabilities
