"""Small teachers in sentence-transformers' layout, written by the library, in every variation that it has."""

import json
from pathlib import Path
from typing import Any

import torch

PARTS = {
    name: f"sentence_transformers.sentence_transformer.modules.{name}"
    for name in ("Pooling", "CNN", "LSTM", "WordWeights", "WordEmbeddings", "BoW", "LayerNorm")
} | {name: f"sentence_transformers.base.modules.{name}" for name in ("Transformer", "Dense", "Normalize", "Router")}
TEXTS = [
    "Return the current file position.",
    "A list of ALL matches, in the order in which they were found.",
    "Parse.",
    "Cats sleep for most of the day. Dogs do not. " * 12,
]


def sentence_model(
    tiny: Any,
    folder: Path,
    *,
    pooling: str | tuple[str, ...] = "mean",
    after: list[tuple[Any, ...]] | None = None,
    longest: int = 64,
    prompts: dict[str, str] | None = None,
    default: str | None = None,
    include_prompt: bool = True,
    lower_case: bool = False,
    similarity: str | None = None,
    truncate: int | None = None,
    roberta: bool = False,
    seed: int = 0,
) -> Path:
    """Write the tiny T with pooling and further modules, untrained, and return its folder.

    `after` is `("Dense", width, activation, bias)`, `("Normalize",)` and `("LayerNorm",)`; normalisation by default.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules as parts

    network = _roberta(tiny, folder.with_name(folder.name + "-encoder")) if roberta else tiny.teacher
    transformer = parts.Transformer(str(network), max_seq_length=longest, do_lower_case=lower_case)
    torch.manual_seed(seed)
    pool = parts.Pooling(32, pooling, include_prompt=include_prompt)
    built, width = [transformer, pool], pool.get_embedding_dimension()
    for name, *rest in [("Normalize",)] if after is None else after:
        if name == "Dense":
            wide, activation, bias = rest
            built.append(parts.Dense(width, wide, bias=bias, activation_function=getattr(torch.nn, activation)()))
            width = wide
        else:
            built.append(parts.LayerNorm(width) if name == "LayerNorm" else parts.Normalize())
    model = SentenceTransformer(
        modules=built,
        device="cpu",
        prompts=prompts,
        default_prompt_name=default,
        similarity_fn_name=similarity,
        truncate_dim=truncate,
    )
    model.save(str(folder), create_model_card=False)
    return folder


def with_unknown_module(folder: Path) -> Path:
    """Add a module that fsp does not carry over to a layout on disk; return its folder."""
    modules = json.loads((folder / "modules.json").read_text())
    modules.insert(1, {"idx": 1, "name": "cnn", "path": "1_CNN", "type": "sentence_transformers.models.CNN"})
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


def _roberta(tiny: Any, folder: Path) -> Path:
    from transformers import AutoTokenizer, RobertaConfig, RobertaModel

    torch.manual_seed(1)
    shape = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 64}
    positions = {"max_position_embeddings": 129, "pad_token_id": 0}  # the first is padding's
    RobertaModel(
        RobertaConfig(vocab_size=30522, type_vocab_size=1, initializer_range=0.1, **shape, **positions)
    ).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny.teacher).save_pretrained(folder)
    return folder
