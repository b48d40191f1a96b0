"""Persistent fits: an Optuna study stores them, and several processes share them."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from fsp.base.errors import Diverged, is_out_of_memory
from fsp.base.files import digest, whole_folder
from fsp.base.progress import Advance
from fsp.distillation.models.loading import quiet
from fsp.finetuning.algorithm import Fit, Request
from fsp.finetuning.classifier import Classifier
from fsp.finetuning.examples import Data, Example
from fsp.finetuning.theta import LARGEST
from fsp.studies.store import open_store

_DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(0, sys.float_info.max),
    "weight_decay": FloatDistribution(0, sys.float_info.max),
    "warmup": FloatDistribution(0, 1),
    "batch": IntDistribution(1, LARGEST),
    "seed": IntDistribution(0, LARGEST),
    "attempt": IntDistribution(0, LARGEST),
    "steps": IntDistribution(1, LARGEST),
    "added": IntDistribution(0, LARGEST),
}
_PATIENCE = 0.5  # seconds between checks of the study while other processes make all remaining fits


class Fits:
    """The finished fits of one model on one data set under one set of settings.

    Args:
        journal: the file, created if it does not exist.
        settings: everything that a fit depends on besides its request.

    Raises:
        InputError: the file is not a journal.
    """

    def __init__(self, journal: Path, settings: dict[str, Any]):
        name = f"finetuning-{digest(settings)}"
        self._store = open_store(journal)
        with self._store.writing():
            self._study = optuna.create_study(
                storage=self._store.storage, study_name=name, direction="maximize", load_if_exists=True
            )
            if not self._study.user_attrs:
                self._study.set_user_attr("settings", settings)
        self._known: dict[str, Fit] = {}

    def get(self, key: str) -> Fit | None:
        """Return a finished fit of any process; None if there is none."""
        if key not in self._known:
            for trial in self._study.get_trials(deepcopy=False)[len(self._known) :]:
                fit = _fit(trial)
                self._known.setdefault(fit.key, fit)
        return self._known.get(key)

    def best(self) -> float:
        """Return the largest accuracy of all fits; -1 if there is none."""
        return max((fit.rank for fit in self._known.values()), default=-1.0)

    def add(self, request: Request[Example], steps: int, fit: Fit) -> None:
        """Store a finished fit."""
        with self._store.writing():
            self._study.add_trial(
                create_trial(
                    state=TrialState.FAIL if fit.accuracy is None else TrialState.COMPLETE,
                    value=fit.accuracy,
                    params={
                        **asdict(request.theta),
                        "attempt": request.attempt,
                        "steps": steps,
                        "added": len(request.added),
                    },
                    distributions=_DISTRIBUTIONS,
                    user_attrs={
                        "key": fit.key,
                        "seconds": fit.seconds,
                        "failure": fit.failure,
                        "mistakes": list(fit.mistakes),
                    },
                )
            )


def _fit(trial: optuna.trial.FrozenTrial) -> Fit:
    known = trial.user_attrs
    accuracy = trial.value if trial.state == TrialState.COMPLETE else None
    return Fit(accuracy, tuple(known["mistakes"]), known["seconds"], known["key"], known["failure"])


@dataclass
class StoredTrainer:
    """Makes the fits that are not in the store yet, and takes the others from the store.

    Attributes:
        classifier: the checkpoint to fit.
        data: the data, with train to fit on and dev to measure on.
        steps: steps of a full fit.
        seed: seed of the fits.
        fits: the store.
        folder: folder for the weights of every fit that was the best when it was made.
        advance: called with 1 after each fit.
    """

    classifier: Classifier
    data: Data
    steps: int
    seed: int
    fits: Fits
    folder: Path
    advance: Advance = lambda amount: None

    def __call__(self, requests: Sequence[Request[Example]]) -> Iterator[Fit]:
        """Yield the fits in the order of the requests; while another process makes one, make a later one."""
        keys = [self.key(request) for request in requests]
        for place, key in enumerate(keys):
            while (fit := self.fits.get(key)) is None:
                if not any(self._make(requests[i], keys[i]) for i in range(place, len(keys))):
                    time.sleep(_PATIENCE)
            self.advance(1)
            yield fit

    def key(self, request: Request[Example]) -> str:
        """Return the name of a fit: a digest of its request."""
        added = [(one.fields, one.label, one.target) for one in request.added]
        return digest([asdict(request.theta), request.attempt, self._steps(request), added])

    def weights(self, request: Request[Example]) -> Any:
        """Return the model of a finished fit: from its stored weights, or else fitted again."""
        folder = self.folder / self.key(request)
        if folder.is_dir():
            return self.classifier.load_fitted(folder)
        return self._fitted(request)

    def _make(self, request: Request[Example], key: str) -> bool:
        """Make and store a missing fit, unless another process is making it; return whether it was made."""
        lock = FileLock(self.folder / f"{key}.lock", timeout=0)
        try:
            with lock:
                if self.fits.get(key) is not None:
                    return False
                fit = self._try(request, key)
                self.fits.add(request, self._steps(request), fit)
                return True
        except Timeout:
            return False

    def _try(self, request: Request[Example], key: str) -> Fit:
        start = time.perf_counter()
        try:
            model = self._fitted(request)
            guesses = self.classifier.predict(model, self.data.dev)
        except (Diverged, MemoryError, RuntimeError) as problem:
            if not isinstance(problem, Diverged) and not is_out_of_memory(problem):
                raise
            failure = f"diverged: {problem}" if isinstance(problem, Diverged) else "out of memory"
            return Fit(None, (), time.perf_counter() - start, key, failure)
        mistakes = tuple(i for i, one in enumerate(self.data.dev) if guesses[i] != one.label)
        accuracy = 1 - len(mistakes) / len(self.data.dev)
        if accuracy > self.fits.best():
            with whole_folder(self.folder / key) as temporary, quiet():
                model.save_pretrained(temporary)
        return Fit(accuracy, mistakes, time.perf_counter() - start, key)

    def _fitted(self, request: Request[Example]) -> Any:
        seed = int(digest([self.seed, request.theta.seed, request.attempt]), 16) % LARGEST
        rows = [*self.data.train, *request.added]
        return self.classifier.fit(request.theta, rows, steps=self._steps(request), seed=seed)

    def _steps(self, request: Request[Example]) -> int:
        return max(1, round(request.share * self.steps))
