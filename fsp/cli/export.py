"""`fsp export`: a saved model for other runtimes."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fsp.base.errors import InputError
from fsp.base.progress import Bars
from fsp.cli.options import Column, CorpusOption, Json


def export(
    model: Annotated[Path, typer.Argument(help="Directory of a Hugging Face model.", show_default=False)],
    format_: Annotated[str, typer.Option("--format", help="onnx; there is no other yet.")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="Quantise weights and activations to 8 bits.")] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Most relative difference of int8 token states or logits to float32's.", show_default="0.2"),
    ] = None,
    agreement: Annotated[
        float | None,
        typer.Option(
            help="Least agreement of int8 with float32: cosine and order of similarities (Spearman) of sentences, or "
            "share of predictions.",
            show_default="0.95; predictions 0.9",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the files.", show_default="MODEL/onnx")] = None,
    corpus: CorpusOption = None,
    column: Column = None,
    as_json: Json = False,
) -> None:
    """Write a saved model as ONNX, check it on real text, and put its tokenizer beside it; or on random images.

    A model in the layout of sentence-transformers gets the output sentence_embedding, equal to its `encode`.
    """
    if format_ != "onnx":
        raise InputError(f"no format {format_!r}; there is onnx")
    from fsp.deploy.comparison import Check, Tolerances
    from fsp.deploy.exporting import export as write

    limits = Tolerances(tolerance, agreement)
    facts = write(model, out, int8=int8, limits=limits, corpus=corpus or (), column=column, display=Bars())
    if as_json:
        print(json.dumps(facts))
        return
    reads_text = "sentences" in facts
    print(f"{facts['file']}: {facts['bytes'] / 1e6:.1f} MB, outputs {', '.join(facts['outputs'])}")
    print(f"on {facts['sentences']} sentences of real text:" if reads_text else f"on {facts['images']} random images:")
    for check in facts["checks"]:
        print(f"  {Check(**check)}")
    if not reads_text:
        return
    prompt = f" Texts need the prompt {facts['prompt']!r} before them." if facts["prompt"] else ""
    print(f"The tokenizer beside it cuts texts to {facts['longest']} tokens.{prompt}")
