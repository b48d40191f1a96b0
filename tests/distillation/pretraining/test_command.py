"""Pretraining as a command, in processes of its own."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from running import HANG, fsp
from safetensors.torch import load_file

from distillation.pretraining.conftest import FEW, SHAPE, losses
from fsp.distillation.pretraining.run import pretrain
from fsp.distillation.pretraining.settings import Options, PretrainingSettings
from fsp.distillation.pretraining.watching import read_log


def command(out, teachers, corpus, text, *more, launcher=()):
    start = launcher or (sys.executable,)
    return [
        *start,
        "-m",
        "fsp",
        "pretrain",
        "D=2",
        "A=2",
        "H=16",
        "I=24",
        "--out",
        str(out),
        "--teacher",
        str(teachers / "bert"),
        "--corpus",
        str(corpus),
        "--cache-text",
        str(text),
        "--batch",
        "4",
        "--length",
        "24",
        "--threads",
        "1",
        *map(str, more),
    ]


def test_sigterm_then_the_same_command(teachers, corpus, text, tmp_path):
    more = ("--steps", 200, "--checkpoint-every", 1000, "--dropout", 0.1, "--json")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command(tmp_path / "out", teachers, corpus, text, *more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    while process.poll() is None and len(read_log(tmp_path / "out" / "log.jsonl")) < 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=HANG)
    assert process.returncode == 0, err
    stopped = json.loads(out)
    assert not stopped["finished"] and 3 <= stopped["steps"] < 200
    done = subprocess.run(
        command(tmp_path / "out", teachers, corpus, text, *more),
        capture_output=True,
        env=environment,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["finished"]
    whole = PretrainingSettings(**{**FEW, "steps": 200, "dropout": 0.1})
    pretrain(
        SHAPE,
        tmp_path / "whole",
        teacher=teachers / "bert",
        corpus=[corpus],
        settings=whole,
        options=Options(threads=1, cache_text=text),
    )
    assert losses(tmp_path / "out") == losses(tmp_path / "whole")
    for name, value in load_file(tmp_path / "whole" / "model.safetensors").items():
        assert torch.equal(value, load_file(tmp_path / "out" / "model.safetensors")[name]), name


def test_two_processes_are_one(teachers, corpus, text, run, tmp_path):
    """torchrun over gloo: same losses, gradients and weights as one process with the same global batch."""
    more = ("--steps", 4, "--cosine", 1, "--relation", 1, "--dropout", 0, "--accumulate", 2, "--json")
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = subprocess.run(
        command(tmp_path / "two", teachers, corpus, text, *more, launcher=launcher),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.strip().splitlines()[-1])["finished"]
    run("one", cosine=1.0, relation=1.0)
    assert np.allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=1e-4)
    ours, single = (load_file(tmp_path / name / "model.safetensors") for name in ("two", "one"))
    for name, value in single.items():
        assert torch.allclose(ours[name], value, atol=1e-5), name
    held = [
        [r["held_out"] for r in read_log(tmp_path / n / "log.jsonl") if "held_out" in r][-1] for n in ("two", "one")
    ]
    assert held[0] == pytest.approx(held[1], rel=1e-3)


def test_the_command_line(teachers, corpus, text, tmp_path):
    (tmp_path / "result.json").write_text(json.dumps({"selected": SHAPE}))
    rest = [
        "--out",
        str(tmp_path / "out"),
        "--teacher",
        str(teachers / "bert"),
        "--corpus",
        str(corpus),
        "--threads",
        "1",
    ]
    for words, message in (
        ([str(tmp_path / "nothing"), "--steps", "1"], "cannot read"),
        (["D=2,A=2,H=16,I=24", "--preset", "bart"], "no preset 'bart'; there is bort"),
        (["D=2,A=2,H=16,I=24", "--steps", "1", "--tokens", "9"], "not both"),
        (["--kl", "1"], "name an architecture"),
    ):
        done = fsp("pretrain", *words, *rest)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1
        old = fsp("distill", *words, *rest)
        assert (old.returncode, old.stdout, old.stderr.splitlines()[1:]) == (2, "", done.stderr.splitlines())
    quick = ["--steps", "2", "--batch", "4", "--length", "24", "--kl", "0", "--cache-text", str(text)]
    done = fsp("distill", tmp_path / "result.json", *quick, *rest)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("use fsp pretrain") == 1
    assert "D=2 A=2 H=16 I=24: accuracy" in done.stdout and str(tmp_path / "out") in done.stdout
    assert json.loads((tmp_path / "out" / "fsp.json").read_text())["settings"]["kl"] == 0
