"""Fitting a text classifier: any `AutoModelForSequenceClassification`, from the same checkpoint each time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fsp.base.device import Device, in_parts
from fsp.base.errors import Diverged, InputError
from fsp.distillation.fitting import fit
from fsp.distillation.models.identity import fingerprint
from fsp.distillation.models.loading import ModelFolder, longest_input, open_model, reads_text, takes_types
from fsp.distillation.models.own import is_own
from fsp.finetuning.examples import Example
from fsp.finetuning.settings import HEADS
from fsp.finetuning.theta import Hyperparameters

_BATCH = 64  # rows per forward pass where nothing is trained
_LIKE_BORT = ("roberta", "xlm-roberta", "camembert")  # model types whose own head is Bort's


class _Rows(list[Example]):
    """Rows of a training step, which can be computed in parts if the device's memory does not suffice for all."""

    def divided(self, parts: int) -> "list[tuple[_Rows, float]]":
        """Return the rows in at most so many parts, each with its share of the rows."""
        found = [part for part in np.array_split(np.arange(len(self)), parts) if len(part)]
        return [(_Rows(self[i] for i in part), len(part) / len(self)) for part in found]


class Classifier:
    """A checkpoint that classifiers are fitted from.

    Args:
        source: a Hugging Face directory or hub name, with or without a classification head.
        labels: names of the classes.
        head: `model`, transformers' head for this family, or `bort`: dropout, dense, tanh, dropout, dense on the first
            token, new in every fit. Both are saved in transformers' format.
        length: number of tokens after which a text or pair is cut off.
        device: where it is fitted and predicts; None for the CPU.

    Attributes:
        fingerprint: short digest of the checkpoint, see `fsp.distillation.models.identity`.
        embedding_table: its input embeddings, `V x H`.

    Raises:
        InputError: `fsp.distillation.models.loading` refuses the model, it reads no text, transformers has no sequence
            classification for it, or the Bort head does not fit it.
    """

    def __init__(
        self,
        source: str | Path,
        labels: Sequence[str],
        *,
        head: str = "model",
        length: int = 128,
        device: Device | None = None,
    ):
        if head not in HEADS:
            raise InputError(f"no head {head!r}; there are {', '.join(HEADS)}")
        self.source, self.labels, self.head, self.device = source, tuple(labels), head, device or Device()
        self._checkpoint = open_text_model(source)
        self.tokenizer = self._checkpoint.tokenizer()
        self.tokenizer.padding_side = "right"  # networks count positions from the first token
        model, missing = self._load(seed=0)
        self.length = min(length, longest_input(model.config))
        self.fingerprint = fingerprint(model, config=self._checkpoint.config, tokenizer=self.tokenizer, without=missing)
        self.embedding_table: NDArray[np.float32] = model.get_input_embeddings().weight.detach().numpy()
        if head == "bort":
            _bort_head(model)  # raises InputError for models that it does not fit
        self._encoded: dict[tuple[str, ...], list[int]] = {}
        self._types: dict[tuple[str, ...], list[int]] = {}

    def fit(self, theta: Hyperparameters, rows: Sequence[Example], *, steps: int, seed: int) -> Any:
        """Return a model trained on rows for a number of steps; equal arguments give equal models.

        The optimiser is AdamW; the learning rate rises over `theta.warmup` of the steps and then falls linearly to 0;
        gradients are clipped at norm 1; dropout is on. Rows are taken in random order, each once per pass.

        Args:
            theta: the hyperparameters; their `seed` is not used here.
            rows: rows to train on.
            steps: optimiser steps.
            seed: seed of the head's weights, the order of the rows and the dropout.

        Raises:
            Diverged: the loss is not finite.
        """
        order = _batches(len(rows), theta.batch, np.random.default_rng(seed))
        place = self.device.torch
        with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
            model, _ = self._load(seed)
            torch.manual_seed(seed)
            if self.head == "bort":
                _bort_head(model)
            model.to(place).train()
            fit(
                model,
                self._loss,
                (_Rows(rows[i] for i in chosen) for chosen in order),
                steps=steps,
                learning_rate=theta.learning_rate,
                warmup=theta.warmup,
                weight_decay=theta.weight_decay,
                device=self.device,
            )
        return model.eval()

    @torch.inference_mode()
    def predict(self, model: Any, rows: Sequence[Example]) -> NDArray[np.int64]:
        """Return the classes that a fitted model predicts for rows, `(n,)`.

        Raises:
            Diverged: its logits are not finite.
        """
        fields = [one.fields for one in rows]
        by_length = sorted(range(len(rows)), key=lambda i: len(self._ids(fields[i])))

        def logits(first: int, last: int) -> torch.Tensor:
            with self.device.computing():
                found = model(**self._batch([fields[i] for i in by_length[first:last]])).logits.float()
            if not found.isfinite().all():
                raise Diverged("the fitted model's logits are not finite")
            return found.cpu()

        result = np.empty(len(rows), dtype=np.int64)
        if rows:
            result[by_length] = torch.cat(list(in_parts(len(rows), _BATCH, logits))).argmax(dim=1).numpy()
        return result

    def truncated(self, rows: Sequence[Example]) -> int:
        """Return the number of rows that are longer than the model's input."""
        return sum(len(self._ids(one.fields)) >= self.length and self._is_longer(one.fields) for one in rows)

    def load_fitted(self, folder: Path) -> Any:
        """Load a model that `fit` returned and `save_pretrained` wrote."""
        from transformers import AutoModelForSequenceClassification

        return open_model(folder, what="fit").network(AutoModelForSequenceClassification)[0].to(self.device.torch)

    def _load(self, seed: int) -> tuple[Any, tuple[str, ...]]:
        """Return the checkpoint's model, with the weights of a new head drawn from the seed."""
        from transformers import AutoModelForSequenceClassification

        names = dict(enumerate(self.labels))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model, missing = self._checkpoint.network(
                AutoModelForSequenceClassification,
                new_head=True,  # replaces a head for other classes
                id2label=names,
                label2id={name: i for i, name in names.items()},
            )
        model.config.pad_token_id = self.tokenizer.pad_token_id
        return model, missing

    def _loss(self, model: Any, rows: Sequence[Example]) -> torch.Tensor:
        logits = model(**self._batch([one.fields for one in rows])).logits.float()
        return nn.functional.cross_entropy(logits, self._targets(rows).to(logits.device))

    def _targets(self, rows: Sequence[Example]) -> torch.Tensor:
        targets = torch.zeros(len(rows), len(self.labels))
        for row, one in enumerate(rows):
            if one.target is None:
                targets[row, one.label] = 1.0
            else:
                targets[row] = torch.tensor(one.target)
        return targets

    def _batch(self, texts: Sequence[tuple[str, ...]]) -> dict[str, torch.Tensor]:
        columns: dict[str, list[list[int]]] = {"input_ids": [self._ids(fields) for fields in texts]}
        if "token_type_ids" in self.tokenizer.model_input_names and takes_types(self._checkpoint.config):
            columns["token_type_ids"] = [self._types[fields] for fields in texts]
        padded = self.tokenizer.pad(columns, padding="longest", return_tensors="pt")
        return {name: value.to(self.device.torch) for name, value in padded.items()}

    def _ids(self, fields: tuple[str, ...]) -> list[int]:
        if fields not in self._encoded:
            encoded = self.tokenizer(*fields, padding=False, truncation=True, max_length=self.length)
            self._encoded[fields] = encoded["input_ids"]
            self._types[fields] = encoded.get("token_type_ids", [])
        return self._encoded[fields]

    def _is_longer(self, fields: tuple[str, ...]) -> bool:
        whole = self.tokenizer(*fields, padding=False, truncation=False, verbose=False)
        return len(whole["input_ids"]) > self.length


def open_text_model(source: str | Path, what: str = "model") -> ModelFolder:
    """Return `open_model` of a model that reads text. Raises InputError for others."""
    if Path(source).is_dir() and is_own(Path(source)):
        raise InputError(f"{what} {source}: transformers does not know its networks, and they read no text")
    found = open_model(source, what=what)
    with found.blamed():
        if not reads_text(found.config):
            raise InputError(f"a {found.config.model_type} reads no text")
    return found


def _batches(rows: int, size: int, random: np.random.Generator) -> Any:
    """Yield the indices of `size` rows, or of all rows if there are fewer, each row once per pass."""
    waiting: list[int] = []
    while True:
        while len(waiting) < min(size, rows):
            waiting += random.permutation(rows).tolist()
        yield waiting[: min(size, rows)]
        del waiting[: min(size, rows)]


def _bort_head(model: Any) -> None:
    """Give a model Bort's head: RoBERTa's head is equal to it; BERT's pooler lacks the dropout before its dense layer.

    Source: the classifier of alexa/bort.
    """
    head = getattr(model, "classifier", None)
    if model.config.model_type in _LIKE_BORT:
        return
    pooler: Any = getattr(model.base_model, "pooler", None)
    if not (isinstance(head, nn.Linear) and hasattr(pooler, "dense") and hasattr(model, "dropout")):
        raise InputError(
            f"the Bort head fits BERT- and RoBERTa-like models, not {model.config.model_type}; leave it out"
        )
    pooler.dense.weight.data.normal_(0.0, model.config.initializer_range)
    pooler.dense.bias.data.zero_()
    pooler.dense.register_forward_pre_hook(
        lambda module, inputs: nn.functional.dropout(inputs[0], model.dropout.p, module.training)
    )
