"""The finished model as a Hugging Face directory, with a card that says what it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsp.base.files import filling, write_json
from fsp.distillation.models.loading import quiet
from fsp.distillation.pretraining.models import LanguageModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FACTS = "fsp.json"  # written last: a directory that has it is complete


def write_model(
    student: LanguageModel, tokenizer: "PreTrainedTokenizerBase", folder: Path, facts: Mapping[str, Any]
) -> None:
    """Write a model, its tokenizer, a card and the facts into a folder, each file in one step.

    Args:
        student: what to save.
        tokenizer: of its text.
        folder: may hold other files, which stay.
        facts: for `fsp.json` and the card: architecture, teacher, data, settings and results.
    """
    with filling(folder, last=FACTS) as temporary, quiet():
        student.network.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        (temporary / "README.md").write_text(_card(student, facts), encoding="utf-8")
        write_json(temporary / FACTS, dict(facts))


def _card(student: LanguageModel, facts: Mapping[str, Any]) -> str:
    kind = "text-generation" if student.causal else "fill-mask" if student.has_head else "feature-extraction"
    loader = {"text-generation": "AutoModelForCausalLM", "fill-mask": "AutoModelForMaskedLM"}.get(kind, "AutoModel")
    sections = "\n".join(
        f"\n## {title}\n\n| | |\n|---|---|\n"
        + "\n".join(f"| {name.replace('_', ' ')} | {_cell(value)} |" for name, value in facts[key].items())
        for key, title in (("results", "Results on held-out text"), ("data", "Data"), ("settings", "Settings"))
    )
    taught = f"distilled from {facts['teacher']}" if facts["teacher"] else "trained without a teacher"
    return f"""---
library_name: transformers
pipeline_tag: {kind}
tags: [fsp, knowledge-distillation]
---
# {facts["architecture"]}

A {student.config.model_type} model of {facts["parameters"]:,} parameters, {taught} with fsp. `{loader}` and
`AutoTokenizer` load it from this directory.
{sections}
"""


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else f"{value:,}" if type(value) is int else str(value)
