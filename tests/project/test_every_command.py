"""Every `fsp` line of README and docs is run, on what `make run` leaves behind and on inputs under the names it uses.

Lines in console blocks, which show what is printed, are run by test_docs.py and test_own_space_page.py.
"""

import re
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from running import fsp

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LARGEST = {"D": 6, "A": 6, "H": 384, "I": 1024}  # T of my_space.toml here
UNTRAINED = "--steps 0 --interval 40"
LESS = {  # by how a line begins: what is added so that it takes seconds instead of minutes or days
    "fsp run my_space.toml": "--steps 1 --evaluations 2 --tokens 4096 --seeds 1",
    "fsp run small.toml": "--steps 1 --interval 6 --tokens 4096",
    "fsp extract experiments/paper/small.toml": UNTRAINED,
    "fsp extract minilm --objective w": UNTRAINED,
    "fsp extract minilm --method certified": "--steps 0 --gap 0.9",
    "fsp extract minilm --steps 0": "--interval 20 --anchors 4 --longer 1",
    "fsp extract minilm --study": UNTRAINED,
    "fsp extract minilm --limit": UNTRAINED,
    "fsp extract minilm --speed": UNTRAINED,
    "fsp error card minilm": "--limit operations=25% --shapes 10 --truth-steps 2 --truth-seeds 2 --steps 1",
    "fsp distill D=3": "--tokens 4096",
    "fsp pretrain D=4": "--steps 2 --batch 2 --length 32",
    "fsp pretrain run/": "--steps 2 --batch 2 --length 32",
    "fsp finetune": "--steps 2 --fits 1 --points 8",
    "fsp latency measure": "--rounds 6",
    "fsp latency calibrate": "--rounds 6 --held-out 3 --share 0.05",
    "fsp replay speed": "--train 40",
}
NOT_RUN = {  # a line's beginning: why
    "fsp pretrain bort": "T is RoBERTa-large, a download of 1.4 GB",
    "fsp error card my_space.toml": "the line of minilm runs, and takes three minutes",
    "fsp extract SPACE --workers": "SPACE stands for any space; --workers runs above",
    "fsp extract SPACE --study postgresql": "needs a server; run by tests/studies",
    "fsp worker SPACE": "needs a server; run by tests/studies",
    **dict.fromkeys(
        ("fsp run my_bert.toml", "fsp run my_llama.toml", "fsp run my_vit.toml", "fsp run my_mlp.toml"),
        "tests/test_every_family.py runs such a line for each family",
    ),
    "fsp run minilm --out runs/minilm": "is what `make run` does, before all others",
}


def lines():
    """Every different `fsp` line of blocks of commands, in the order in which a reader meets them."""
    found = []
    for page in PAGES:
        language = None  # of the block that a line is in
        for line in page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
            if line.startswith("```"):
                language = line.removeprefix("```") if language is None else None
            elif language in ("sh", "bash", "") and line.startswith("fsp "):
                found.append(" ".join(line.split(" #")[0].split()))
    return list(dict.fromkeys(found))


def beginning(line, table):
    return next((table[start] for start in table if line.startswith(start)), "")


def test_tables_name_lines_that_exist():
    """A line that nobody shows any more leaves the tables; one that is not to be run is in no other."""
    for start in [*LESS, *NOT_RUN]:
        assert any(line.startswith(start) for line in lines()), start
    assert len(lines()) > 30
    assert not [line for line in lines() if beginning(line, LESS) and beginning(line, NOT_RUN)]
    indented = [
        line for page in PAGES for line in page.read_text(encoding="utf-8").splitlines() if "    fsp " in line[:8]
    ]
    assert not indented, "a command stands outside of a block of the language sh"


def smaller(example):
    """The README's space without what exceeds LARGEST: the states of a T of BERT-base's size alone take five minutes."""
    space = tomllib.loads(example)
    choices = {name: [c for c in space["parameters"][name] if c <= most] for name, most in LARGEST.items()}
    (family, *_), (rules, *_) = re.findall("^family.*", example, re.M), re.findall("^rules.*", example, re.M)
    lines = [family, rules, "[parameters]", *(f"{name} = {kept}" for name, kept in choices.items())]
    return "\n".join([*lines, "[maximum]", *(f"{name} = {most}" for name, most in LARGEST.items())])


def rows(path, start, count):
    words = {"good": ["fine", "lovely", "bright"], "bad": ["poor", "dull", "broken"]}
    made = [
        (f"A {words[label][i % 3]} film, number {i}.", label) for i in range(start, start + count) for label in words
    ]
    pd.DataFrame(made, columns=["text", "label"]).to_csv(path, index=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, main_run, minilm_folder, tiny):
    """A reader's folder: runs/minilm, and an input under every name that README and docs make up."""
    import torch
    from transformers import AutoTokenizer, BertForMaskedLM, BertModel

    from fsp.families import bert

    here = tmp_path_factory.mktemp("reader")
    (here / "experiments").symlink_to(ROOT / "experiments")
    (here / "runs").mkdir()
    (here / "runs" / "minilm").symlink_to(main_run.folder)
    (here / "run").symlink_to(main_run.folder)
    for name in ("my_teacher", "ENCODER"):
        (here / name).symlink_to(minilm_folder)
    (here / "MODEL").symlink_to(main_run.folder / "model")
    for name in ("my_texts", "texts"):
        (here / name).symlink_to(tiny.corpus)
    torch.manual_seed(0)
    tables = {"vocabulary": 30522, "positions": 128, "token_types": 2}
    masked = BertForMaskedLM(bert.config_for({"D": 6, "A": 8, "H": 512, "I": 1024}, tables))
    own = BertModel(bert.config_for(LARGEST, tables))
    for name, network in (("DIR", masked), ("DIR_OR_HUB_NAME", masked), ("path/or/hub-name", own)):
        network.save_pretrained(here / name)
        AutoTokenizer.from_pretrained(minilm_folder).save_pretrained(here / name)
    texts = (tiny.corpus / "docs.txt").read_text(encoding="utf-8").split("\n\n")
    pd.DataFrame({"body": texts}).to_json(here / "corpus.jsonl", orient="records", lines=True)
    (example,) = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (here / "my_space.toml").write_text(smaller(example), encoding="utf-8")
    page = (ROOT / "docs" / "own-teacher.md").read_text(encoding="utf-8")
    (here / "small.toml").write_text(re.findall(r"```toml\n(.*?)```", page, re.DOTALL)[0], encoding="utf-8")
    random = np.random.default_rng(0)
    depth, width, inner = random.integers(1, 13, 600), random.integers(2, 9, 600) * 64, random.integers(1, 5, 600) * 256
    cost = depth * width * inner / 1e6
    pd.DataFrame(
        {
            "depth": depth, "width": width, "inner": inner, "params": cost * 4, "flops": cost * 9,
            "loss": 1 + cost ** -0.3 * random.lognormal(0, 0.01, 600),
            "encoder_ms": 1 + cost * 3, "decoder_ms": 2 + cost * 5,
        }
    ).drop_duplicates(["depth", "width"]).to_csv(here / "TABLE.csv", index=False)  # fmt: skip
    for name, start, count in (("train", 0, 20), ("dev", 20, 10), ("test", 30, 10)):
        rows(here / f"{name}.csv", start, count)
    return here


@pytest.mark.slow
def test_every_line_runs(folder):
    failed = []
    for line in lines():
        if beginning(line, NOT_RUN):
            continue
        words = [*line.split()[1:], *beginning(line, LESS).split()]
        if "--out" in words:  # several pages give the same name to their own
            out = folder / words[words.index("--out") + 1]
            shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)
        done = fsp(*words, cwd=folder, XDG_CACHE_HOME=str(folder / "cache"))
        if done.returncode != 0:
            failed.append(f"{line}\n    as: fsp {' '.join(words)}\n    exit {done.returncode}: {done.stderr[-400:]}")
    assert not failed, "\n" + "\n".join(failed)
