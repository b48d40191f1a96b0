"""Export of a saved model to ONNX, its outputs checked against torch on real text before anything is kept."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsp.data import Corpus, read_corpus, standard_library
from fsp.errors import InputError, RunFailed
from fsp.files import TEMPORARY, write_json
from fsp.measurement import similarity_agreement
from fsp.onnx_graph import require_onnx, write_float32, write_int8
from fsp.progress import Silent
from fsp.serving import LOGITS, SENTENCE, STATES, Saved, Serving, inputs_for, load_saved

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

FLOAT32_TOLERANCE = 1e-4  # of the largest output; what the order of summation changes is 1e-6
INT8_TOLERANCE = 0.2  # root mean square difference against that of the outputs
_SENTENCES, _BATCH = 64, 8
Outputs = list[NDArray[np.float32]]


def export(
    model: str | Path,
    out: str | Path | None = None,
    *,
    int8: bool = False,
    corpus: Sequence[str | Path] = (),
    display: Silent | None = None,
) -> dict[str, Any]:
    """Write a saved model as ONNX with its tokenizer beside it, and return how far its outputs are from torch's.

    The file takes `input_ids`, `attention_mask` and, where the model has them, `token_type_ids`, int64,
    `batch x sequence` of any size up to the model's longest input. It returns `logits`, or `last_hidden_state` and,
    for models that fsp distilled, `sentence_embedding`. It is compared with torch on 64 sentences in padded batches
    of different sizes and one input of the greatest length.

    Args:
        model: a Hugging Face directory: a BERT or RoBERTa encoder, alone or with a head for masked tokens, sequences
            or tokens.
        out: the folder for the files, by default `onnx` in the model's.
        int8: quantise to `model.int8.onnx`, for ONNX Runtime alone; without, `model.onnx` has standard operators.
        corpus: files or folders of the text to compare on; Python's documentation by default.
        display: where progress goes.

    Returns:
        `file`, `bytes`, `outputs`, and the comparison: `largest_difference`, `relative_difference` (root mean square
        of the differences over that of the outputs), the `tolerance` of one of them, and `agreement`: for logits the
        share of equal predictions, else Spearman's correlation of all pairs' sentence similarities.

    Raises:
        InputError: no model of a supported family, too little text, or packages missing.
        RunFailed: the outputs differ by more than the tolerance; nothing is kept.
    """
    require_onnx()
    folder = Path(model)
    target = Path(out) if out is not None else folder / "onnx"
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file; name a folder for the exported model")
    display = display or Silent()
    name = "model.int8.onnx" if int8 else "model.onnx"
    texts = read_corpus(corpus) if corpus else None
    with display.bar("exporting", 4) as advance:
        saved = load_saved(folder)
        sample = _sample(standard_library() if texts is None else texts)
        advance(1)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=TEMPORARY))
        try:
            write_onnx(saved.serving, temporary / "model.onnx")
            advance(1)
            if int8:
                write_int8(temporary / "model.onnx", temporary / name)
                (temporary / "model.onnx").unlink()
            advance(1)
            compared = compare(saved, session(temporary / name), sample, int8=int8)
            advance(1)
            facts = {
                "file": name,
                "bytes": (temporary / name).stat().st_size,
                "outputs": list(saved.serving.outputs),
                "operators": "ONNX Runtime's and standard" if int8 else "standard",
                **compared,
            }
            saved.tokenizer.save_pretrained(temporary)
            write_json(temporary / f"{name.removesuffix('.onnx')}.json", facts)
            target.mkdir(exist_ok=True)
            for path in sorted(temporary.iterdir(), key=lambda path: path.suffix == ".onnx"):
                path.replace(target / path.name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return {**facts, "file": str(target / name)}


def write_onnx(serving: Serving, path: Path) -> None:
    """Write a network to an ONNX file in float32."""
    attention = serving.network.config._attn_implementation
    serving.network.set_attn_implementation("eager")  # the form that can be fused afterwards
    try:
        example = inputs_for(serving, batch=2, length=16, padded=True)
        write_float32(serving, example, serving.outputs, serving.longest, path)
    finally:
        serving.network.set_attn_implementation(attention)


def session(path: Path, threads: int | None = None) -> "InferenceSession":
    """Return an ONNX Runtime session on the CPU that leaves the processor alone between its runs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def compare(saved: Saved, exported: "InferenceSession", sentences: Sequence[str], *, int8: bool) -> dict[str, Any]:
    """Return how far an exported model's outputs are from torch's.

    Raises:
        RunFailed: by more than the tolerance.
    """
    names = saved.serving.outputs

    def of_torch(batch: dict[str, Tensor]) -> Outputs:
        return [output.numpy() for output in saved.serving(**batch)]

    def of_exported(batch: dict[str, Tensor]) -> Outputs:
        return exported.run(list(names), {name: tensor.numpy() for name, tensor in batch.items()})

    largest, largest_output, squares, squares_output = 0.0, 0.0, 0.0, 0.0
    decided: tuple[list[Any], list[Any]] = ([], [])
    for batch in _batches(saved, sentences):
        kept = batch["attention_mask"].numpy().astype(bool)
        with torch.inference_mode():
            pair = _run(of_torch, batch), _run(of_exported, batch)
        for name, ours, theirs in zip(names, *pair, strict=True):
            if ours.ndim == 3:  # a value for each token: what stands at padding has no meaning
                ours, theirs = ours[kept], theirs[kept]
            difference = np.abs(ours.astype(np.float64) - theirs)
            largest = max(largest, float(difference.max()))
            largest_output = max(largest_output, float(np.abs(ours).max()))
            squares += float((difference**2).sum())
            squares_output += float((ours.astype(np.float64) ** 2).sum())
            if name == LOGITS:
                for decisions, values in zip(decided, (ours, theirs), strict=True):
                    decisions.append(values.argmax(axis=-1))
        if names[0] == STATES:
            for decisions, outputs in zip(decided, pair, strict=True):
                of_name = dict(zip(names, outputs, strict=True))
                states = of_name[STATES] * kept[..., None]
                decisions.append(of_name.get(SENTENCE, states.sum(axis=1) / kept.sum(axis=1, keepdims=True)))
    ours, theirs = (np.concatenate(decisions) for decisions in decided)
    relative = float(np.sqrt(squares / squares_output))
    within = relative <= INT8_TOLERANCE if int8 else largest <= FLOAT32_TOLERANCE * max(1.0, largest_output)
    measured, bound = (relative, INT8_TOLERANCE) if int8 else (largest / max(1.0, largest_output), FLOAT32_TOLERANCE)
    if not within:  # also where an output is no number
        raise RunFailed(f"the exported outputs differ from torch's by {measured:.2g}, more than {bound:g}; not kept")
    agreement = float((ours == theirs).mean()) if names == (LOGITS,) else similarity_agreement(ours, theirs)
    kind = "relative_difference" if int8 else "largest_difference over the largest output (1 at least)"
    return {
        "largest_difference": largest,
        "largest_output": largest_output,
        "relative_difference": relative,
        "tolerance": {kind: bound},
        "agreement": agreement,
        "agreement_of": "predictions" if names == (LOGITS,) else "similarities of sentences (Spearman)",
        "sentences": len(sentences),
    }


def _run(outputs_of: Callable[[dict[str, Tensor]], Outputs], batch: dict[str, Tensor]) -> Outputs:
    outputs = outputs_of(batch)
    if not all(np.isfinite(output).all() for output in outputs):
        raise RunFailed("an output is no finite number; nothing was kept")
    return outputs


def _batches(saved: Saved, sentences: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Yield the sentences alone, in eights and in what remains, and at last one input of the greatest length."""
    longest = min(saved.serving.longest, 512)
    groups = [sentences[:1], *(sentences[i : i + _BATCH] for i in range(1, len(sentences), _BATCH))]
    for group, padding in [*((group, "longest") for group in groups), ([" ".join(sentences)], "longest")]:
        encoded = saved.tokenizer(
            list(group), padding=padding, truncation=True, max_length=longest, return_tensors="pt"
        )
        batch = {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
        if saved.serving.takes_types:
            batch["token_type_ids"] = torch.zeros_like(batch["input_ids"])
        yield batch


def _sample(texts: Sequence[str]) -> list[str]:
    """Return sentences spread over the held-out part of a corpus, or over all of it where that is too small."""
    from fsp.data import sentences

    found = Corpus.of(texts).test_sentences
    if len(found) < _SENTENCES:
        found = sentences(texts)
    if len(found) < 3:
        raise InputError("the text has fewer than three sentences to compare on; give more")
    picks = np.linspace(0, len(found) - 1, min(_SENTENCES, len(found))).astype(int)
    return [found[k] for k in picks]
