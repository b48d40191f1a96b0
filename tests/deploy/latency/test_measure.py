import json
import os
import subprocess
import sys

import running

SHAPES = ["D=3,A=4,H=32,I=64", "D=1,A=2,H=16,I=16"]


def fsp(*arguments, **environment):
    return running.fsp("latency", "measure", *arguments, **environment)


def test_every_network_in_every_runtime(space_file, tiny):
    done = fsp(space_file, SHAPES[1], tiny.teacher, "--runtime", "eager", "--runtime", "int8", "--rounds", 8,
               "--threads", 1, "--length", 32, "--batch", 2, "--memory", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    entries = facts["latencies"]
    assert [(entry["name"].split("/")[-1], entry["runtime"]) for entry in entries] == [
        (name, runtime) for name in ("small D=1 A=2 H=16 I=16", tiny.teacher.name) for runtime in ("eager", "int8")
    ]
    for entry in entries:
        assert 0 < entry["low_ms"] <= entry["median_ms"] <= entry["high_ms"]
        assert 0 < entry["ratio_low"] <= entry["ratio"] <= entry["ratio_high"]
        assert 0 < entry["network_memory_mb"] < entry["peak_memory_mb"]
    assert entries[0]["ratio"] == 1
    assert entries[0]["weights"] == "random" and "weights" not in entries[-1]
    assert (facts["batch"], facts["length"], facts["threads"], facts["rounds"]) == (2, 32, 1, 8)
    assert {"processor", "threads", "dtype", "torch", "onnxruntime", "load_before"} <= set(facts["environment"])
    assert "int8" in facts["runtimes"]["int8"]
    for warning in facts["warnings"]:
        assert f"warning: {warning}" in done.stderr


def test_text(space_file):
    done = fsp(space_file, *SHAPES, "--rounds", 6, "--threads", 1, "--length", 16)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 4 and lines[1].split()[5] == "eager" and "batch 1, 16 tokens, 1 threads" in lines[3]


def test_no_cuda_device(space_file):
    done = fsp(space_file, SHAPES[1], "--runtime", "cuda", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 2 and "there is no CUDA device" in done.stderr


def test_missing_packages_name_the_extra(space_file, tmp_path):
    for name in ("onnx", "onnxruntime", "onnxscript"):
        (tmp_path / f"{name}.py").write_text("raise ImportError\n", encoding="utf-8")
    hide = tmp_path / "sitecustomize.py"
    hide.write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n in ('onnx', 'onnxruntime', 'onnxscript') else find(n, *a)\n",
        encoding="utf-8",
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "fsp", "latency", "measure", space_file, SHAPES[1], "--runtime", "int8"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 2
    assert "onnx and onnxruntime and onnxscript not installed" in done.stderr and '"fsp[onnx]"' in done.stderr
