"""`fsp export`: a saved model for other runtimes."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fsp.cli_options import CorpusOption, Json
from fsp.errors import InputError
from fsp.progress import Bars


def export(
    model: Annotated[Path, typer.Argument(help="Directory of a Hugging Face model.", show_default=False)],
    format_: Annotated[str, typer.Option("--format", help="onnx; there is no other yet.")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="Quantise weights and activations to 8 bits.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the files.", show_default="MODEL/onnx")] = None,
    corpus: CorpusOption = None,
    as_json: Json = False,
) -> None:
    """Write a saved model as ONNX, checked against torch on real text, its tokenizer beside it."""
    if format_ != "onnx":
        raise InputError(f"no format {format_!r}; there is onnx")
    from fsp.exporting import export as write

    facts = write(model, out, int8=int8, corpus=corpus or (), display=Bars())
    if as_json:
        print(json.dumps(facts))
        return
    print(f"{facts['file']}: {facts['bytes'] / 1e6:.1f} MB, outputs {', '.join(facts['outputs'])}")
    print(
        f"against torch on {facts['sentences']} sentences: largest difference {facts['largest_difference']:.2g}, "
        f"relative {facts['relative_difference']:.2g}"
    )
    print(f"agreement of {facts['agreement_of']}: {facts['agreement']:.4f}")
