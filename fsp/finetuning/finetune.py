"""Fine-tuning a text classifier on few rows by Agora or a rival, from files to a saved model and its figures."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from fsp.base.errors import InputError
from fsp.base.files import read_json
from fsp.base.progress import Progress
from fsp.base.run_folder import join, locked
from fsp.base.timing import environment
from fsp.base.version import __version__
from fsp.finetuning.classifier import Classifier
from fsp.finetuning.examples import Data, load_data
from fsp.finetuning.expansion import Expansion
from fsp.finetuning.fits import Fits, StoredTrainer
from fsp.finetuning.labellers import judge, load_labeller
from fsp.finetuning.refitting import refit
from fsp.finetuning.results import added_points, facts_of, final_figures, request_of, write
from fsp.finetuning.searching import accepted, load_generator, search
from fsp.finetuning.settings import FinetuningSettings

SCHEMA = 1


def agora(
    model: str | Path,
    *,
    train: str | Path,
    dev: str | Path,
    out: str | Path,
    labeller: str,
    test: str | Path | None = None,
    text: Sequence[str] = (),
    label: str = "label",
    settings: FinetuningSettings | None = None,
    display: Progress | None = None,
) -> dict[str, Any]:
    """Fine-tune a text classifier on few rows by Agora, save the best model, and return the results.

    Args:
        model: a Hugging Face directory or hub name that `AutoModelForSequenceClassification` can load.
        train: CSV, JSONL or parquet file of the rows to train on.
        dev: file of the rows on which the best fit is chosen and whose mistakes are expanded.
        out: folder of all output; a call with the same arguments continues an interrupted one, and several processes
            with the same arguments share the fits.
        labeller: S: `tfidf`, `probe:DIR`, or a trained classifier's directory.
        test: file of the rows for the final figures; by default a third of dev is held out for them.
        text: one or two columns of text, see `fsp.finetuning.examples.load_data`.
        label: the column of the label.
        settings: everything else.
        display: shows progress.

    Returns:
        The contents of result.json, see docs/agora.md.

    Raises:
        InputError: model, data or labeller cannot be used, the labeller is no better than guessing, or `out` holds
            other files.
        RunFailed: every fit failed.

    Source: arXiv 2010.07990; docs/agora.md lists what the paper leaves open.
    """
    settings = settings or FinetuningSettings()
    if settings.method != "agora":
        raise InputError(f"agora() takes settings of method agora, not {settings.method}; see finetune()")
    return finetune(
        model,
        train=train,
        dev=dev,
        out=out,
        labeller=labeller,
        test=test,
        text=text,
        label=label,
        settings=settings,
        display=display,
    )


def finetune(
    model: str | Path,
    *,
    train: str | Path,
    dev: str | Path,
    out: str | Path,
    labeller: str | None = None,
    test: str | Path | None = None,
    text: Sequence[str] = (),
    label: str = "label",
    settings: FinetuningSettings | None = None,
    display: Progress | None = None,
) -> dict[str, Any]:
    """Fine-tune a text classifier by the method that the settings name; see `agora`.

    Agora needs a labeller; the other methods do not use it.
    """
    settings, display, out = settings or FinetuningSettings(), display or Progress(), Path(out)
    if settings.method == "agora" and labeller is None:
        raise InputError("agora needs a labeller: tfidf, probe:DIR or the directory of a trained classifier")
    device = settings.place
    torch.set_num_threads(settings.processor_threads)
    data = load_data(train, dev, test, text=text, label=label, seed=settings.seed)
    with display.bar("loading the model", 1) as advance:
        classifier = Classifier(model, data.labels, head=settings.head, length=settings.length, device=device)
        advance(1)
    accepted_labeller = None
    if settings.method == "agora" and not (out / "result.json").exists():  # a refused one leaves the folder untouched
        label_points = load_labeller(str(labeller), data.train, data.labels, device)
        accepted_labeller = label_points, accepted(judge(label_points, data.dev), settings, display)
    fixed = _fixed(classifier, data, settings)
    join(out, {**fixed, **_searched(settings, labeller)})
    if (out / "result.json").exists():
        return _finished(out)
    started = time.perf_counter()
    trainer = StoredTrainer(
        classifier, data, settings.steps, settings.seed, Fits(out / "fits.journal", fixed), out / "weights"
    )
    trainer.folder.mkdir(exist_ok=True)
    expansion, verdict = None, None
    if accepted_labeller is not None:
        label_points, verdict = accepted_labeller
        generator = load_generator(settings.generator, classifier, data.train, settings.points)
        expansion = Expansion(
            data,
            generator,
            label_points,
            seed=settings.seed,
            confidence=settings.confidence,
            soft=settings.soft,
            of=settings.expand,
        )
    try:
        outcome = search(trainer, expansion, settings, display)
        best = request_of(outcome.best, outcome)
        last, attempts = best, 0
        if settings.refit:
            with display.bar("refit on train and dev", 1) as trainer.advance:
                last, attempts = refit(trainer, outcome)
    except Exception:  # of any kind: the process that finishes first removes weights that others still read
        if not (out / "result.json").exists():
            raise
        return _finished(out)
    with locked(out):
        if not (out / "result.json").exists():
            result = {
                "schema": SCHEMA,
                "fsp": __version__,
                "method": settings.method,
                "model": Path(model).name if Path(model).is_dir() else str(model),
                **facts_of(trainer, outcome, settings),
            }
            if expansion is not None and verdict is not None:
                result["labeller"] = {"source": labeller, **asdict(verdict)}
                made = added_points(expansion, outcome)
                result["added"] = {"of": settings.expand, "soft": settings.soft, **made}
            result["refit"] = {"attempts": attempts, "used": last != best}
            result["final"] = final_figures(trainer, outcome, expansion, last)
            result |= {"environment": environment(), "seconds": round(time.perf_counter() - started, 1)}
            write(out, result, trainer, outcome, last)
    return _finished(out)


def _finished(out: Path) -> dict[str, Any]:
    """Return the result, which any process may have written, and remove the weights."""
    shutil.rmtree(out / "weights", ignore_errors=True)
    written: dict[str, Any] = read_json(out / "result.json")
    return written


def _fixed(classifier: Classifier, data: Data, settings: FinetuningSettings) -> dict[str, Any]:
    """Return the settings that every fit depends on besides its request."""
    return {
        "checkpoint": classifier.fingerprint,
        "data": data.digest,
        "head": settings.head,
        "length": settings.length,
        "seed": settings.seed,
        "threads": settings.processor_threads,
        **classifier.device.describe(),
    }


def _searched(settings: FinetuningSettings, labeller: str | None) -> dict[str, Any]:
    """Return the settings that the search depends on besides the fits."""
    asked = asdict(settings)
    asked["theta"] = [asdict(theta) for theta in settings.theta]
    return {**asked, "threads": settings.processor_threads, "device": settings.place.kind, "labeller": labeller}
