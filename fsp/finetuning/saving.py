"""Saving the fine-tuned model as a Hugging Face directory, with a card that gives its accuracies."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsp.base.files import whole_folder
from fsp.base.rounding import at_least, at_most
from fsp.distillation.models.card import describe_model
from fsp.distillation.models.loading import quiet

_HEADER = {
    "library_name": "transformers",
    "pipeline_tag": "text-classification",
    "tags": "[text-classification, fsp]",
}
_SOURCES = {"mistakes": "mistakes on", "random": "random rows of"}


def save_classifier(model: Any, tokenizer: Any, folder: Path, facts: Mapping[str, Any]) -> None:
    """Write a classifier atomically as a Hugging Face directory with a model card; an existing folder is replaced.

    Args:
        model: an `AutoModelForSequenceClassification`.
        tokenizer: its tokenizer.
        folder: the directory.
        facts: the result of the fine-tuning (see docs/agora.md), also written to `fsp.json`.
    """
    with whole_folder(folder) as temporary, quiet():
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        describe_model(
            temporary,
            facts,
            _HEADER,
            f"{facts['model']}, fine-tuned by fsp ({facts['method']})",
            *_told(facts),
        )


def _told(facts: Mapping[str, Any]) -> list[str]:
    """Return the paragraphs of the model card: the model, its data, and its accuracies."""
    rows, final, search = facts["rows"], facts["final"], facts["search"]
    low, high = final["interval_95"]
    lines = [
        f"Labels: {', '.join(facts['labels'])}. Trained on {rows['train']:,} rows, compared on {rows['dev']:,} rows "
        "of dev.",
        f"**Accuracy {final['accuracy']:.1%}** (95% interval {at_least(low, 1)} to {at_most(high, 1)}) on "
        f"{rows['final']:,} rows of the {final['set']}, which no step and no choice has seen; always guessing the most "
        f"frequent label is right on {final['majority']:.1%} of them. On dev, which the choice was made by, it is "
        f"{facts['dev_accuracy']:.1%}: too high to be believed.",
        f"{search['fits']} fits of {search['steps']} steps; chosen: {facts['chosen']['theta']}.",
    ]
    if facts["refit"]["used"]:
        lines += [
            "The chosen fit was made again on train and dev together; before that it was right on "
            f"{final['before_refit']:.1%} of the {final['set']}.",
        ]
    if facts["method"] == "agora":
        added, labeller = facts["added"], facts["labeller"]
        lines += [
            f"It also saw {added['seen_by_winner']} points generated from {_SOURCES[added['of']]} dev, with "
            f"{'probabilities' if added['soft'] else 'labels'} given by a labeller ({labeller['source']}) "
            f"that is right on {labeller['accuracy']:.1%} of dev and {final['labeller']:.1%} of the {final['set']}. "
            f"{added['near_dev']} of all {added['kept']} points are near-copies of dev rows: so they are made; "
            f"{added['as_source']} have the label of the row that they were made of; "
            f"{added['dropped_near_final']} near-copies of the {final['set']} were dropped. The first round's best, "
            f"that is grid search, is right on {final['first_round']:.1%} of the {final['set']}.",
        ]
        if facts["outside_theory"]:
            lines += ["Agora's guarantees are for two labels; this task has more and is outside the theory."]
    return lines
