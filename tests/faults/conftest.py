import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .runner import Commands, Ended

TIMES = ("seconds", "environment", "tokens_per_second", "mfu", "watched", "latency")


def timeless(value):
    """A result without what a clock measured, and without the name of its folder."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in (*TIMES, "model", "file")}
    return [timeless(one) for one in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Kind:
    """A command that works in a folder.

    words: of it, given the folder. kept: the files whose content has to be the same afterwards. watched: what it
    touches besides the folder.
    """

    words: Callable[[Path], list[object]]
    kept: tuple[str, ...] = ()
    results: tuple[str, ...] = field(default=())

    def outcome(self, ended: Ended, folder: Path) -> dict[str, object]:
        """What a finished command leaves behind."""
        assert ended.code == 0, ended.stderr
        files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        return {
            "said": timeless(json.loads(ended.stdout)),
            "files": files,
            "kept": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in self.kept},
            "results": {name: timeless(json.loads((folder / name).read_text())) for name in self.results},
        }


@pytest.fixture(scope="session")
def commands(tmp_path_factory) -> Commands:
    return Commands(tmp_path_factory.mktemp("commands"))


@pytest.fixture(scope="session")
def masked(tiny, tmp_path_factory) -> Path:
    """A tiny teacher with a head for masked tokens."""
    import torch
    from transformers import AutoTokenizer, BertForMaskedLM

    from fsp.families import bert

    folder = tmp_path_factory.mktemp("masked")
    torch.manual_seed(0)
    tables = {"vocabulary": 30522, "positions": 128, "token_types": 2}
    BertForMaskedLM(bert.config_for({"D": 2, "A": 2, "H": 16, "I": 16}, tables)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny.teacher).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def rows(tmp_path_factory) -> dict[str, Path]:
    """Sentences with a praising or a damning word."""
    folder = tmp_path_factory.mktemp("rows")
    lines = [f"{word} number {i},{label}" for i in range(30) for word, label in (("fine", "good"), ("dull", "bad"))]
    files = {"train": lines[:24], "dev": lines[24:44], "test": lines[44:]}
    for name, part in files.items():
        (folder / f"{name}.csv").write_text("\n".join(["text,label", *part]) + "\n")
    return {name: folder / f"{name}.csv" for name in files}


@pytest.fixture(scope="session")
def small(tiny, tmp_path_factory) -> Path:
    """Half of the text, for what does not need all of it."""
    file = tmp_path_factory.mktemp("small") / "docs.txt"
    file.write_text((tiny.corpus / "docs.txt").read_text()[:300_000])
    return file


@pytest.fixture(scope="session")
def kinds(tiny, masked, rows, small, tmp_path_factory) -> dict[str, Kind]:
    """The commands that faults are injected into."""
    text = tmp_path_factory.mktemp("tokenised")
    common = ["--corpus", small, "--threads", 1, "--json"]
    shape = ["D=1", "A=2", "H=16", "I=16"]
    training = ["--steps", 6, "--batch", 4, "--length", 32, "--checkpoint-every", 2, "--cache-text", text]
    parts = [word for name, path in rows.items() for word in (f"--{name}", path)]
    return {
        "extraction": Kind(
            lambda out: ["extract", tiny.space_file, *tiny.arguments(), "--interval", 2, "--limit", "operations=60%",
                         "--steps", 1, "--finalists", 2, "--study", out / "evaluations.journal", "--json"],
        ),
        "distillation": Kind(
            lambda out: ["pretrain", *shape, "--out", out, "--teacher", masked, *common, *training],
            kept=("model.safetensors",),
            results=("fsp.json",),
        ),
        "caching": Kind(
            lambda out: ["pretrain", *shape, "--out", out / "model", "--cache-teacher", out / "teacher", "--top-k", 4,
                         "--teacher", masked, *common, *training],
            kept=("model/model.safetensors",),
        ),
        "agora": Kind(
            lambda out: ["finetune", tiny.teacher, "--out", out, "--labeller", "tfidf", *parts, "--steps", 2, "--fits",
                         3, "--threads", 1, "--json"],
            kept=("model/model.safetensors", "added.csv"),
            results=("result.json",),
        ),
        "export": Kind(
            lambda out: ["export", tiny.teacher, "--out", out, "--corpus", small, "--json"],
            kept=("model.onnx",),
            results=("model.json",),
        ),
    }  # fmt: skip
