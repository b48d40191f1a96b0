"""Export of a saved model to ONNX; its outputs are checked against torch on real text before anything is kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fsp.base.errors import InputError
from fsp.base.files import check_writable, filling, write_json
from fsp.base.progress import Progress
from fsp.deploy.comparison import Tolerances, compare
from fsp.deploy.equalising import Batch
from fsp.deploy.onnx_graph import require_onnx, write_float32, write_int8
from fsp.deploy.serving import Saved, Serving, TextServing, load_saved, save_reader, tokenised
from fsp.distillation.text.corpus import Corpus, read_corpus, standard_library
from fsp.distillation.text.segmentation import sentences

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_SENTENCES = 64
_BATCH = 8


def export(
    model: str | Path,
    out: str | Path | None = None,
    *,
    int8: bool = False,
    limits: Tolerances | None = None,
    corpus: Sequence[str | Path] = (),
    column: str | None = None,
    display: Progress | None = None,
) -> dict[str, Any]:
    """Write a saved model as ONNX with its tokenizer, and return how far its outputs are from torch's.

    The file takes `input_ids`, `attention_mask` and, if the model has them, `token_type_ids`, int64,
    `batch x sequence` of any size up to the model's longest input, with padding on the right. It returns `logits`, or
    `last_hidden_state` and, for directories in sentence-transformers' layout, the `sentence_embedding` that
    `SentenceTransformer.encode` gives, with the directory's pooling and further modules; its default prompt, if any,
    must be put before the text. The file is compared with torch, and with `encode`, on 64 sentences in padded batches
    of different sizes, a text that is cut, and one input of the greatest length. The tokenizer beside it cuts and pads
    as sentence-transformers does. The file of a network of images takes `pixel_values`, float32; it is compared on
    random images, in batches of different sizes.

    Args:
        model: a Hugging Face directory: a network of a known family, alone or with a head for masked or next tokens,
            sequences, tokens or images.
        out: the folder for the files, by default `onnx` in the model's folder.
        int8: quantise to `model.int8.onnx`, for ONNX Runtime only; otherwise write `model.onnx`, of standard operators.
        limits: limits of int8; by default 0.2 for token states and logits, 0.95 for similarities, 0.9 for predictions.
        corpus: files or folders of the text to compare on; Python's documentation by default.
        column: the column of the text if the corpus has rows; None for `text`, else the only column of strings.
        display: shows progress.

    Returns:
        `file`, `bytes`, `outputs`, the result of `fsp.deploy.comparison.compare` and, for text, `longest` (the number
        of tokens that the tokenizer cuts to) and `prompt` (the default one).

    Raises:
        InputError: the model is not supported, there is too little text, packages are missing, limits are given without
            int8, or int8 for a network of images.
        RunFailed: an output differs, or the agreement falls, by more than the limits; nothing is kept.
    """
    require_onnx()
    if limits is not None and limits != Tolerances() and not int8:
        raise InputError("a tolerance or an agreement needs int8; float32 has to compute what the model computes")
    folder = Path(model)
    target = Path(out) if out is not None else folder / "onnx"
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file; name a folder for the exported model")
    if folder.is_dir():
        check_writable(target / "model.onnx")
    display = display or Progress()
    name = "model.int8.onnx" if int8 else "model.onnx"
    texts = read_corpus(corpus, column) if corpus else None
    with display.bar("exporting", 4) as advance:
        saved = load_saved(folder)
        reads_text = isinstance(saved.serving, TextServing)
        compared_on, equalised_on = _samples(standard_library() if texts is None else texts) if reads_text else ([], [])
        advance(1)
        with filling(target, last=".onnx") as temporary:
            write_onnx(saved.serving, temporary / "model.onnx")
            advance(1)
            if int8:
                examples = examples_of(saved, equalised_on) if reads_text else []
                quantise(saved.serving, temporary / "model.onnx", temporary / name, examples)
                (temporary / "model.onnx").unlink()
            advance(1)
            compared = compare(saved, session(temporary / name), compared_on, int8=int8, limits=limits)
            advance(1)
            facts = {
                "file": name,
                "bytes": (temporary / name).stat().st_size,
                "outputs": list(saved.serving.outputs),
                **({"longest": saved.longest, "prompt": saved.prompt} if reads_text else {}),
                "operators": "ONNX Runtime's and standard" if int8 else "standard",
                **compared,
            }
            save_reader(saved, temporary)
            write_json(temporary / f"{name.removesuffix('.onnx')}.json", facts)
    return {**facts, "file": str(target / name)}


def write_onnx(serving: Serving, path: Path) -> None:
    """Write a network to an ONNX file in float32."""
    attention = serving.network.config._attn_implementation
    serving.network.set_attn_implementation("eager")  # the form that can be fused afterwards
    try:
        write_float32(serving, serving.example(batch=2, length=16, padded=True), serving.outputs, serving.axes, path)
    finally:
        serving.network.set_attn_implementation(attention)


def quantise(serving: Serving, float32: Path, path: Path, batches: Sequence[Batch]) -> None:
    """Write the ONNX file of a network in int8, from its file in float32 and typical inputs.

    Raises:
        InputError: the network takes no text.
        RunFailed: ONNX Runtime cannot run the quantised network.
    """
    if not isinstance(serving, TextServing):
        raise InputError("int8 is for networks that take text; this one has float32 alone")
    write_int8(float32, path, batches, attends_to_all=serving.attends_to_all)


def session(path: Path, threads: int | None = None) -> "InferenceSession":
    """Return an ONNX Runtime session on the CPU whose threads do not spin between runs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def examples_of(saved: Saved, sentences: Sequence[str]) -> list[Batch]:
    """Return the inputs for sentences, in batches."""
    batches = (tokenised(saved, sentences[i : i + _BATCH], saved.longest) for i in range(0, len(sentences), _BATCH))
    return [{name: tensor.numpy() for name, tensor in batch.items()} for batch in batches]


def _samples(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return sentences to compare on, and others to measure ranges on; the same ones if there are few.

    They are spread over the held-out part of a corpus, or over all of it if that is too small.
    """
    found = Corpus.of(texts).test_sentences
    if len(found) < 2 * _SENTENCES:
        found = sentences(texts)
    if len(found) < 3:
        raise InputError("the text has fewer than three sentences to compare on; give more")
    picks = np.linspace(0, len(found) - 1, min(2 * _SENTENCES, len(found))).astype(int)
    chosen = [found[k] for k in picks]
    return (chosen[::2], chosen[1::2]) if len(chosen) == 2 * _SENTENCES else (chosen[:_SENTENCES], chosen)
