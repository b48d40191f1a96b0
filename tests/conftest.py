import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fsp.distillation.text.corpus import standard_library
from fsp.spaces.loading import load_space
from fsp.spaces.space import SearchSpace

TINY_SPACE = """
family = "bert"
rules = ["H == 8 * A"]
[parameters]
D = [1, 2, 3]
A = [2, 4]
H = [16, 32]
I = [16, 32, 64]
[maximum]
D = 3
A = 4
H = 32
I = 64
"""


@dataclass(frozen=True)
class Tiny:
    """A small untrained T with a real tokenizer, real text, and a space below it: a whole run in seconds."""

    teacher: Path
    corpus: Path
    space_file: Path

    @property
    def space(self) -> SearchSpace:
        return load_space(self.space_file)

    def arguments(self) -> list[str]:
        return ["--teacher", str(self.teacher), "--corpus", str(self.corpus), "--threads", "1"]


@dataclass(frozen=True)
class MainRun:
    """What `make run` leaves. printed: its stdout. kilobytes: the most memory that a child has taken."""

    folder: Path
    printed: str
    kilobytes: int


@pytest.fixture(scope="session")
def main_run(tmp_path_factory) -> MainRun:
    """The main job on the real teacher and text, as a user runs it; minutes long."""
    import resource
    import subprocess
    import sys

    out = tmp_path_factory.mktemp("main") / "minilm"
    words = [sys.executable, "-m", "fsp", "run", "minilm", "--out", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return MainRun(out, done.stdout, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    from fsp.distillation.teacher import packaged_teacher

    return packaged_teacher(load_space("minilm").teacher)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, minilm_folder) -> Tiny:
    import torch
    from transformers import AutoTokenizer, BertModel

    from fsp.families import bert

    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    tables = {"vocabulary": 30522, "positions": 128, "token_types": 2}
    config = bert.config_for({"D": 3, "A": 4, "H": 32, "I": 64}, tables)
    config.initializer_range = 0.1  # at BERT's .02 the layers of so small a network do next to nothing
    network = BertModel(config)
    network.save_pretrained(folder / "teacher")
    AutoTokenizer.from_pretrained(minilm_folder).save_pretrained(folder / "teacher")
    (folder / "text").mkdir()
    (folder / "text" / "docs.txt").write_text("\n\n".join(standard_library())[:700_000], encoding="utf-8")
    (folder / "space.toml").write_text(TINY_SPACE)
    return Tiny(folder / "teacher", folder / "text", folder / "space.toml")


@pytest.fixture
def in_process(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process; return its exit code, stdout and stderr."""
    from fsp.cli.app import main

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["fsp", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return end.value.code, printed.out, printed.err

    return call


@pytest.fixture
def chromium() -> str:
    import os

    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed")
        pytest.skip("needs chromium (Debian package chromium)")
    return found
