import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest
import torch
from running import HANG

import fsp
from fsp.base.errors import InputError, RunFailed
from fsp.distillation.text.near_copies import near_copies
from fsp.finetuning.classifier import Classifier
from fsp.finetuning.finetune import finetune
from fsp.finetuning.settings import FinetuningSettings
from fsp.finetuning.theta import grid

SETS = grid(learning_rate=[1e-3, 1e-4], batch=[8, 16])
FAST = {"theta": SETS, "steps": 4, "threads": 1}


def facts(out):
    """What a result says apart from time."""
    result = json.loads((out / "result.json").read_text())
    return {key: value for key, value in result.items() if key not in ("seconds", "environment")}


def added(out):
    return (out / "added.csv").read_text()


def saved_accuracy(out, task):
    """Of the saved model on the test set, as a user would measure it."""
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(out / "model"), device="cpu")
    said = [one["label"] for one in classify([text for text, _ in task.rows["test"]])]
    return sum(one == label for one, (_, label) in zip(said, task.rows["test"], strict=True)) / 40


@pytest.fixture(scope="module")
def whole(tiny, task, tmp_path_factory):
    """One uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    result = fsp.agora(str(tiny.teacher), **task.files, out=out, labeller="tfidf", settings=FinetuningSettings(**FAST))
    return out, result


def test_agora_reports_what_it_did(whole):
    out, result = whole
    assert result == json.loads((out / "result.json").read_text())
    rounds = result["search"]["rounds"]
    assert rounds[0]["fits"] == 4 and result["search"]["fits"] == sum(one["fits"] for one in rounds)
    assert result["search"]["all_steps"] == 4 * result["search"]["fits"]
    assert [result["rows"][name] for name in ("train", "dev", "final", "cut_off")] == [96, 48, 40, 0]
    assert result["labeller"]["level"] == "enough" and not result["outside_theory"]
    counts = result["added"]
    dropped = [counts[f"dropped_{why}"] for why in ("near_final", "known", "doubtful")]
    assert counts["generated"] == sum(dropped) + counts["kept"]
    assert len(pd.read_csv(out / "added.csv")) == counts["kept"] == sum(one["added"] for one in rounds) > 0
    assert len(pd.read_csv(out / "fits.csv")) == result["search"]["fits"]
    low, high = result["final"]["interval_95"]
    assert result["final"]["set"] == "test" and 0 <= low <= result["final"]["accuracy"] <= high <= 1
    assert not (out / "weights").exists()


def test_no_generated_point_nearly_repeats_the_test_set(whole, task):
    points = [[text] for text in pd.read_csv(whole[0] / "added.csv")["text"]]
    assert not near_copies(points, [[text] for text, _ in task.rows["test"]]).any()


def test_the_saved_model_is_what_was_measured(whole, task):
    out, result = whole
    assert saved_accuracy(out, task) == result["final"]["accuracy"]
    card = (out / "model" / "README.md").read_text()
    assert f"**Accuracy {result['final']['accuracy']:.1%}**" in card and "near-copies" in card
    assert json.loads((out / "model" / "fsp.json").read_text()) == result


def test_called_again_it_returns_the_result_and_another_run_is_refused(whole, tiny, task, monkeypatch):
    out, result = whole
    monkeypatch.setattr(Classifier, "fit", None)  # nothing is fitted again
    files = {**task.files, "out": out, "labeller": "tfidf"}
    assert fsp.agora(str(tiny.teacher), **files, settings=FinetuningSettings(**FAST)) == result
    with pytest.raises(InputError, match=r"holds another run \(its points differ"):
        fsp.agora(str(tiny.teacher), **files, settings=FinetuningSettings(**FAST, points=3))
    with pytest.raises(InputError, match=r"holds another run \(its method differ"):
        finetune(str(tiny.teacher), **files, settings=FinetuningSettings(**FAST, method="grid"))
    with pytest.raises(InputError, match="takes settings of method agora, not grid"):
        fsp.agora(str(tiny.teacher), **files, settings=FinetuningSettings(**FAST, method="grid"))


def test_interrupted_again_and_again_it_comes_to_the_same(whole, tiny, task, tmp_path, monkeypatch):
    real, made = Classifier.fit, []

    def interrupted(self, *arguments, **named):
        if len(made) % 3 == 2:
            made.append("interrupted")
            raise KeyboardInterrupt
        made.append("fit")
        return real(self, *arguments, **named)

    monkeypatch.setattr(Classifier, "fit", interrupted)
    for _ in range(20):
        try:
            finetune(
                str(tiny.teacher),
                **task.files,
                out=tmp_path / "run",
                labeller="tfidf",
                settings=FinetuningSettings(**FAST),
            )
            break
        except KeyboardInterrupt:
            continue
    assert made.count("interrupted") >= 2
    assert made.count("fit") == whole[1]["search"]["fits"]  # none was made twice, and the winner's weights were kept
    assert facts(tmp_path / "run") == facts(whole[0]) and added(tmp_path / "run") == added(whole[0])


def test_where_another_process_comes_to_the_end_meanwhile_its_result_is_taken(whole, tiny, task, tmp_path, monkeypatch):
    out, real = tmp_path / "run", Classifier.fit

    def fit(self, *arguments, **named):
        model = real(self, *arguments, **named)
        states = model.state_dict

        def ended_meanwhile():  # asked for while the weights are saved, into a folder that the other process removes
            shutil.copy(whole[0] / "result.json", out)
            shutil.rmtree(out / "weights")
            return states()

        model.state_dict = ended_meanwhile
        return model

    monkeypatch.setattr(Classifier, "fit", fit)
    files = {**task.files, "out": out, "labeller": "tfidf"}
    assert fsp.agora(str(tiny.teacher), **files, settings=FinetuningSettings(**FAST)) == whole[1]
    assert not (out / "weights").exists()


def test_killed_and_taken_up_by_two_processes_it_comes_to_the_same(whole, tiny, task, tmp_path):
    out, sets = tmp_path / "run", tmp_path / "theta.json"
    sets.write_text(json.dumps([{"learning_rate": one.learning_rate, "batch": one.batch} for one in SETS]))
    call = [sys.executable, "-m", "fsp", "finetune", str(tiny.teacher), "--out", str(out), "--labeller", "tfidf"]
    call += ["--steps", "4", "--threads", "1", "--theta", str(sets), "--json"]
    call += [part for name, path in task.files.items() for part in (f"--{name}", str(path))]
    victim = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + HANG
    while not list(out.glob("weights/*/model.safetensors")) and victim.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    workers = [subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [worker.communicate() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert json.loads(said[0][0]) == json.loads(said[1][0])
    assert facts(out) == facts(whole[0]) and added(out) == added(whole[0])
    records = [json.loads(line) for line in (out / "fits.journal").read_text().splitlines()]
    keys = [r["user_attrs"]["key"] for r in records if "key" in r.get("user_attrs", {})]
    assert len(keys) == len(set(keys)) == whole[1]["search"]["fits"]  # each fit was kept once


@pytest.mark.parametrize("method", ["grid", "random", "hyperband"])
def test_rivals_spend_as_many_steps_and_need_no_labeller(tiny, task, tmp_path, method):
    settings = FinetuningSettings(**{**FAST, "steps": 9}, method=method, fits=5)
    result = finetune(str(tiny.teacher), **task.files, out=tmp_path / "run", settings=settings)
    steps = result["search"]["all_steps"]
    assert steps == 45 if method != "hyperband" else 45 <= steps < 45 + 9
    assert "labeller" not in result and "first_round" not in result["final"]
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


def test_a_refit_trains_on_dev_too_and_is_what_is_saved(tiny, task, tmp_path):
    settings = FinetuningSettings(**{**FAST, "steps": 30}, method="grid")
    plain = finetune(str(tiny.teacher), **task.files, out=tmp_path / "plain", settings=settings)
    out = tmp_path / "refit"
    result = finetune(str(tiny.teacher), **task.files, out=out, settings=replace(settings, refit=True))
    assert plain["refit"] == {"attempts": 0, "used": False} and "before_refit" not in plain["final"]
    assert result["refit"]["used"] and result["chosen"] == plain["chosen"]
    assert result["final"]["before_refit"] == plain["final"]["accuracy"]
    assert saved_accuracy(out, task) == result["final"]["accuracy"]
    assert "made again on train and dev together" in (out / "model" / "README.md").read_text()


def test_without_a_test_set_a_third_of_dev_is_held_out(tiny, task, tmp_path):
    files = {name: path for name, path in task.files.items() if name != "test"}
    settings = FinetuningSettings(**FAST, fits=2)
    result = fsp.agora(str(tiny.teacher), **files, out=tmp_path / "run", labeller="tfidf", settings=settings)
    assert (result["rows"]["dev"], result["rows"]["final"]) == (32, 16)
    assert result["final"]["set"] == "held-out third of dev"
    assert result["search"]["stopped"] == "budget" and result["search"]["fits"] == 2


def test_points_may_be_made_of_random_rows_with_probabilities_for_labels(tiny, task, tmp_path):
    out, settings = tmp_path / "run", FinetuningSettings(**FAST, fits=6, expand="random", soft=True)
    result = fsp.agora(str(tiny.teacher), **task.files, out=out, labeller="tfidf", settings=settings)
    assert (result["added"]["of"], result["added"]["soft"]) == ("random", True)
    points, labels = pd.read_csv(out / "added.csv"), [label for _, label in task.rows["dev"]]
    as_source = sum(labels[row] == label for row, label in zip(points["dev_row"], points["label"], strict=True))
    assert result["added"]["as_source"] == as_source > 0 and result["added"]["kept"] == len(points)
    card = (out / "model" / "README.md").read_text()
    assert "points generated from random rows of dev, with probabilities given by a labeller" in card


def test_more_than_two_labels_work_and_are_marked(tiny, task, tmp_path):
    for name, path in task.files.items():
        table = pd.read_csv(path)
        table.loc[table["text"].str.contains("told my"), "label"] = "told"
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    files = {name: tmp_path / f"{name}.csv" for name in task.files}
    settings = FinetuningSettings(**FAST, fits=5, force=True)
    result = fsp.agora(str(tiny.teacher), **files, out=tmp_path / "run", labeller="tfidf", settings=settings)
    assert result["labels"] == ["bad", "good", "told"] and result["outside_theory"]
    assert "outside the theory" in (tmp_path / "run" / "model" / "README.md").read_text()


def test_a_fit_that_runs_out_of_memory_is_recorded_and_the_others_go_on(tiny, task, tmp_path, monkeypatch):
    real = Classifier.fit

    def hungry(self, theta, rows, **named):
        if theta == SETS[1]:
            torch.empty(2**50)
        return real(self, theta, rows, **named)

    monkeypatch.setattr(Classifier, "fit", hungry)
    settings = FinetuningSettings(**FAST, method="grid")
    result = finetune(str(tiny.teacher), **task.files, out=tmp_path / "run", settings=settings)
    assert result["search"]["failed"] == [f"{SETS[1]}: out of memory"]
    assert result["search"]["fits"] == 4
    failures = pd.read_csv(tmp_path / "run" / "fits.csv")["failure"]
    assert failures.notna().tolist() == [False, True, False, False]


def test_divergence_everywhere_is_a_failure_of_the_run(tiny, task, tmp_path):
    settings = FinetuningSettings(theta=grid(learning_rate=[1e30]), steps=4, threads=1, method="grid")
    with pytest.raises(RunFailed, match="all 1 fits failed; the first: diverged: loss"):
        finetune(str(tiny.teacher), **task.files, out=tmp_path / "run", settings=settings)


def test_a_labeller_that_guesses_is_refused_unless_forced(tiny, task, tmp_path):
    classifier = Classifier(tiny.teacher, ("bad", "good"))
    model, _ = classifier._load(0)
    model.classifier.bias.data = torch.tensor([9.0, -9.0])  # always `bad`
    model.save_pretrained(tmp_path / "guesser")
    classifier.tokenizer.save_pretrained(tmp_path / "guesser")
    files = {**task.files, "labeller": str(tmp_path / "guesser")}
    with pytest.raises(InputError, match=r"right on 50.0% of 48 rows of dev: no better than guessing \(50.0%\)"):
        fsp.agora(str(tiny.teacher), **files, out=tmp_path / "run", settings=FinetuningSettings(**FAST, fits=1))
    assert not (tmp_path / "run").exists()  # so that another labeller may be tried there
    forced = FinetuningSettings(**FAST, fits=1, force=True)
    assert (
        fsp.agora(str(tiny.teacher), **files, out=tmp_path / "forced", settings=forced)["labeller"]["level"] == "chance"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "tpe"}, "no method 'tpe'; there are agora, grid, random, hyperband"),
        ({"generator": "mask"}, "no generator 'mask'; there are edits, mask:DIR and mix:DIR"),
        ({"pruning": "x"}, "no pruning rule 'x'"),
        ({"expand": "dev"}, "cannot expand 'dev'; there are mistakes, random"),
        ({"head": "x"}, "no head 'x'"),
        ({"theta": ()}, "no hyperparameter sets"),
        ({"theta": (SETS[0], SETS[0])}, "sets 1 and 2 are equal"),
        ({"replays": -1}, "replays must be at least 0"),
        ({"points": 0}, "points must be at least 1"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"fits": 0}, "fits must be positive"),
        ({"seconds": -1.0}, "seconds must be positive"),
        ({"seconds": float("nan")}, "seconds must be positive"),
        ({"confidence": 1.0}, "confidence must be from 0 to below 1"),
        ({"threads": 0}, "threads must be 1 to 1024"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        FinetuningSettings(**change)


def test_agora_without_a_labeller_and_a_foreign_folder_are_refused(tiny, task, tmp_path):
    with pytest.raises(InputError, match="agora needs a labeller"):
        finetune(str(tiny.teacher), **task.files, out=tmp_path / "run")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"already holds other files \(notes.txt\)"):
        finetune(str(tiny.teacher), **task.files, out=tmp_path, settings=FinetuningSettings(**FAST, method="grid"))
    with pytest.raises(InputError, match="is a file; name a folder"):
        finetune(
            str(tiny.teacher),
            **task.files,
            out=tmp_path / "notes.txt",
            settings=FinetuningSettings(**FAST, method="grid"),
        )
