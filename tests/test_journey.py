import json
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from running import HANG, fsp
from sentence_models import sentence_model, with_unknown_module

from fsp.base.errors import InputError
from fsp.distillation.examples import Examples
from fsp.distillation.settings import Budget, SurrogateSettings
from fsp.distillation.similarity import similarity_agreement
from fsp.distillation.text.corpus import Corpus, read_corpus
from fsp.run import held_out, run
from fsp.search.options import LeastError
from fsp.spaces.loading import load_space

SEARCH = LeastError(interval=1, limits={"encoder_parameters": "60%"})
ASKED = {
    "search": SEARCH,
    "settings": SurrogateSettings(steps=1, threads=1),
    "budget": Budget(tokens=8192, epochs=1),
}
UNTRAINED = {"settings": SurrogateSettings(steps=0, threads=1), "budget": Budget(tokens=1024, epochs=1)}


def timeless(result):
    """A result without what a clock measured."""
    kept = {key: value for key, value in result.items() if key not in ("seconds", "environment")}
    kept["models"] = [{k: v for k, v in model.items() if k != "latency"} for model in result["models"]]
    return kept


def listing(folder):
    return {path.name for path in folder.iterdir()} - {".lock"}


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    return out, run(tiny.space, out, teacher=str(tiny.teacher), corpus=[tiny.corpus], **ASKED)


def test_everything_is_there_and_nothing_else(finished):
    out, result = finished
    names = {"run.json", "result.json", "evaluations.csv", "evaluations.journal", "pareto.png", "report.html", "model"}
    names |= {"alternatives.png", ".evaluations.journal.claims"}  # the last is empty: see fsp/studies/locks.py
    assert listing(out) == names
    assert json.loads((out / "result.json").read_text()) == result


def test_the_result_follows_from_the_evaluations(finished):
    out, result = finished
    table = pd.read_csv(out / "evaluations.csv")
    finalists = result["search"]["finalists"]
    near = table[table["error"] <= table["error"].min() / 0.97]
    assert len(finalists) == (min(3, len(near)) if len(near) > 1 else 0)
    assert table["finalist_error"].count() == len(finalists)
    best = table.loc[table["finalist_error" if finalists else "error"].idxmin()]
    assert {name: int(best[name]) for name in "DAHI"} == result["selected"]
    assert (table["encoder_parameters"] <= result["search"]["limits"]["encoder_parameters"]).all()
    models = {model["name"]: model for model in result["models"]}
    assert models["T"]["error"]["mean"] == 0
    assert (result["task"]["name"], models["T"]["figures"], models["choice"]["figures"]) == ("states", {}, {})
    assert {"T", "choice", "layer drop"} <= set(models)
    assert 0 < models["choice"]["error"]["mean"] < 1
    for kind in ("total", "encoder"):
        chosen = table.loc[table[f"w_{kind}"].idxmax()]
        assert result["w_choice"][kind]["error"] == pytest.approx(chosen["error"])
        assert result["w_choice"][kind]["error_ratio"] == pytest.approx(chosen["error"] / best["error"])


def test_the_same_seed_gives_the_same_result(finished, tiny, tmp_path):
    again = run(tiny.space, tmp_path / "out", teacher=str(tiny.teacher), corpus=[tiny.corpus], **ASKED)
    assert timeless(again) == timeless(finished[1])


def test_a_finished_run_is_returned_at_once(finished, tiny, monkeypatch):
    monkeypatch.setattr("fsp.run.answer", None)
    again = run(tiny.space, finished[0], teacher=str(tiny.teacher), corpus=[tiny.corpus], **ASKED)
    assert again == finished[1]


def test_another_run_in_the_same_folder_is_refused(finished, tiny):
    out, _ = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    other = {**ASKED, "search": replace(SEARCH, interval=2)}
    with pytest.raises(InputError, match=r"holds another run \(its interval differ"):
        run(tiny.space, out, teacher=str(tiny.teacher), corpus=[tiny.corpus], **other)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_folder_with_other_files_is_refused(tiny, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match=r"already holds other files \(thesis.tex\)"):
        run(tiny.space, tmp_path, teacher=str(tiny.teacher), corpus=[tiny.corpus], **ASKED)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_bad_input_writes_nothing(tiny, tmp_path):
    small = tmp_path / "small.txt"
    small.write_text("Too little text to split. " * 40)
    cases = [
        ({"corpus": [small]}, "too small"),
        ({"teacher": str(tmp_path)}, "no model directory"),
        ({"search": LeastError(limits={"operations": 5})}, "no candidate meets"),
        ({"space": load_space("minilm")}, "maximum point of space minilm"),
    ]
    for changes, says in cases:
        arguments = {"space": tiny.space, "teacher": str(tiny.teacher), "corpus": [tiny.corpus], **changes}
        with pytest.raises(InputError, match=says):
            run(arguments.pop("space"), tmp_path / "out", **arguments)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("bad", [{"steps": -1}, {"tokens": 0}, {"threads": 0}])
def test_bad_settings(bad):
    with pytest.raises(InputError):
        SurrogateSettings(**bad)


@pytest.mark.parametrize("bad", [{"seeds": 0}, {"search": LeastError(seed=-1)}, {"search": LeastError(finalists=0)}])
def test_bad_numbers_of_a_run(tiny, tmp_path, bad):
    with pytest.raises(InputError):
        run(tiny.space, tmp_path / "out", teacher=str(tiny.teacher), corpus=[tiny.corpus], **bad)
    assert not (tmp_path / "out").exists()


def test_killed_again_and_again_it_ends_with_the_same_result(finished, tiny, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "fsp", "run", str(tiny.space_file), "--out", str(out), *tiny.arguments()]
    command += ["--interval", "1", "--limit", "encoder_parameters=60%", "--steps", "1", "--tokens", "8192"]
    command += ["--epochs", "1", "--json"]
    kills, jitter = 0, random.Random(0)
    for seconds in (0.1, *range(2, 9)):  # the first always hits: loading alone takes longer
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=seconds * (1 + jitter.random() / 9))
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills > 0
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert timeless(json.loads(done.stdout)) == timeless(finished[1])
    assert listing(out) == listing(finished[0])


def test_two_processes_do_not_share_a_folder(tiny, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "fsp", "run", str(tiny.space_file), "--out", str(out), *tiny.arguments()]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        waited = time.monotonic()
        while not (out / "run.json").exists() and time.monotonic() - waited < HANG:
            time.sleep(0.05)
        first.send_signal(signal.SIGSTOP)  # it holds the folder however long the second takes
        second = subprocess.run(command, capture_output=True, text=True, check=False)
        assert second.returncode == 2
        assert "another process is working" in second.stderr
    finally:
        first.kill()
        first.wait()


def test_ctrl_c_exits_cleanly(tiny, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "fsp", "run", str(tiny.space_file), "--out", str(out), *tiny.arguments()]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell lets tests ignore it
    )
    waited = time.monotonic()
    while not (out / "run.json").exists() and time.monotonic() - waited < HANG:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=HANG)
    assert process.returncode == 130
    assert "goes on where it was" in stderr
    assert "Traceback" not in stderr


def test_a_folder_that_cannot_be_written_to(tiny, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        run(tiny.space, tmp_path / "file" / "out", teacher=str(tiny.teacher), corpus=[tiny.corpus], **ASKED)


def test_the_figures_are_those_of_sentence_transformers_on_t_and_on_the_saved_model(tiny, tmp_path):
    from sentence_transformers import SentenceTransformer

    changes = {"pooling": "cls", "after": [("Dense", 24, "Tanh", True)], "longest": 20}
    folder = sentence_model(tiny, tmp_path / "T", prompts={"query": "find: "}, default="query", **changes)
    asked = {"search": replace(SEARCH, interval=9), **UNTRAINED}
    result = run(tiny.space, tmp_path / "out", teacher=str(folder), corpus=[tiny.corpus], **asked)
    choice = next(model for model in result["models"] if model["name"] == "choice")
    texts = Corpus.of(read_corpus([tiny.corpus])).test_sentences[:512]
    wanted, found = (
        SentenceTransformer(str(path), device="cpu").encode(texts) for path in (folder, tmp_path / "out" / "model")
    )
    assert wanted.shape == found.shape == (len(texts), 24)
    assert result["task"]["name"] == "embedding"
    figures = choice["figures"]
    assert figures["spearman"]["values"] == [pytest.approx(similarity_agreement(wanted, found), abs=1e-4)]
    unit = [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (wanted, found)]
    assert figures["cosine"]["values"] == [pytest.approx((unit[0] * unit[1]).sum(axis=1).mean(), abs=1e-5)]
    assert result["models"][0]["name"] == "T" and result["models"][0]["error"]["mean"] == 0
    assert {kind: found["mean"] for kind, found in result["models"][0]["figures"].items()} == dict.fromkeys(figures, 1)
    assert result["config"]["layout"]["longest"] == 20


def test_a_layout_that_cannot_be_carried_over_is_refused_before_anything_is_written(tiny, tmp_path, monkeypatch):
    folder = with_unknown_module(sentence_model(tiny, tmp_path / "T"))
    monkeypatch.setattr("fsp.run.surrogate", None)
    with pytest.raises(InputError, match="CNN"):
        run(tiny.space, tmp_path / "out", teacher=str(folder), corpus=[tiny.corpus], **ASKED)
    assert not (tmp_path / "out").exists()
    given = ["--space", tiny.space_file, "--teacher", folder, "--corpus", tiny.corpus, "--tokens", 1024, "--threads", 1]
    done = fsp("distill", "D=1", "A=2", "H=16", "I=16", "--out", tmp_path / "out", *given)
    assert (done.returncode, "CNN" in done.stderr) == (2, True)
    assert not (tmp_path / "out").exists()


def test_a_classifiers_texts_are_counted_as_samples():
    ids = np.ones((3, 5), np.int32)
    texts = Examples({"input_ids": ids, "attention_mask": np.tril(ids)}, np.zeros((3, 2), np.float32))
    assert held_out(texts, "samples") == {"examples": 3, "samples": 3}
    assert held_out(texts, "tokens") == {"examples": 3, "tokens": 6}


def test_several_seeds_give_intervals(tiny, tmp_path):
    asked = {"search": SEARCH, **UNTRAINED, "seeds": 3}
    result = run(tiny.space, tmp_path / "out", teacher=str(tiny.teacher), corpus=[tiny.corpus], **asked)
    choice = next(model for model in result["models"] if model["name"] == "choice")
    assert len(choice["error"]["values"]) == 3
    assert choice["error"]["half_width_95"] > 0
    shutil.rmtree(tmp_path / "out")
