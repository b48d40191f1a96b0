"""Writing the finished model as a Hugging Face directory with a model card."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsp.base.files import filling
from fsp.distillation.models.card import FACTS, describe_model, table
from fsp.distillation.models.loading import quiet
from fsp.distillation.pretraining.models import LanguageModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def write_model(
    student: LanguageModel, tokenizer: "PreTrainedTokenizerBase", folder: Path, facts: Mapping[str, Any]
) -> None:
    """Write a model, its tokenizer, a card and the facts into a folder, each file atomically.

    Args:
        student: the model to save.
        tokenizer: its tokenizer.
        folder: the directory, complete once it has `fsp.json`; other files in it are kept.
        facts: contents of `fsp.json` and the card: architecture, teacher, data, settings and results.
    """
    kind = "text-generation" if student.causal else "fill-mask" if student.has_head else "feature-extraction"
    loader = {"text-generation": "AutoModelForCausalLM", "fill-mask": "AutoModelForMaskedLM"}.get(kind, "AutoModel")
    taught = f"distilled from {facts['teacher']}" if facts["teacher"] else "trained without a teacher"
    sections = (
        f"## {title}\n\n{table({name: _cell(value) for name, value in facts[key].items()})}"
        for key, title in (("results", "Results on held-out text"), ("data", "Data"), ("settings", "Settings"))
    )
    with filling(folder, last=FACTS) as temporary, quiet():
        student.network.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        describe_model(
            temporary,
            facts,
            {"library_name": "transformers", "pipeline_tag": kind, "tags": "[fsp, knowledge-distillation]"},
            facts["architecture"],
            f"A {student.config.model_type} model of {facts['parameters']:,} parameters, {taught} with fsp. "
            f"`{loader}` and\n`AutoTokenizer` load it from this directory.",
            *sections,
        )


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else f"{value:,}" if type(value) is int else str(value)
