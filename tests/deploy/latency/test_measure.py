import json
import os
import subprocess
import sys
from pathlib import Path

import running
from text_networks import saved

from fsp.distillation.models.own import save_own
from fsp.families import mlp
from fsp.spaces.loading import load_space

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
    done = fsp(space_file, SHAPES[1], "--device", "cuda", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 2 and "has no device cuda" in done.stderr
    done = fsp(space_file, SHAPES[1], "--runtime", "cuda")
    assert done.returncode == 2 and "a GPU is named by --device cuda" in done.stderr


def test_directories_and_shapes_of_other_families(tmp_path, in_process):
    folders = [saved("gpt2", "LMHeadModel", tmp_path / "gpt2"), saved("vit", "", tmp_path / "vit"), tmp_path / "mlp"]
    save_own(mlp.build({"D": 2, "H": 8}, {"inputs": 3, "outputs": 2}), mlp, folders[2])
    shapes = ["mlp", "D=1,H=16", "vit", "D=2,A=3,H=192,I=384", "distilbert", "D=1,A=3,H=192,I=384"]
    code, printed, said = in_process(
        "latency", "measure", *folders, *shapes, "--rounds", 6, "--threads", 1, "--length", 12, "--json"
    )
    assert code == 0, said
    facts = json.loads(printed)
    assert [entry["median_ms"] > 0 for entry in facts["latencies"]] == [True] * 6
    assert facts["runtimes"] == {"eager": "torch eager, float32, on cpu"}
    words = ["--runtime", "eager", "--runtime", "onnx", "--rounds", 6, "--threads", 1, "--memory", "--json"]
    code, printed, said = in_process("latency", "measure", folders[1], *words)
    assert code == 0, said
    assert [entry["network_memory_mb"] > 0 for entry in json.loads(printed)["latencies"]] == [True] * 2


def test_numbers_of_torchs_runtimes_are_told_and_not_onnx_runtimes(tmp_path, in_process):
    folder = saved("distilbert", "", tmp_path / "model")
    code, printed, said = in_process(
        "latency", "measure", folder, "--runtime", "eager", "--runtime", "onnx", "--dtype", "bfloat16", "--rounds", 6,
        "--threads", 1, "--length", 12, "--json",
    )  # fmt: skip
    assert code == 0, said
    facts = json.loads(printed)
    assert (facts["device"], facts["dtype"]) == ("cpu", "bfloat16")
    assert facts["runtimes"] == {"eager": "torch eager, bfloat16, on cpu", "onnx": "ONNX Runtime, float32"}
    assert "onnx ran on the CPU in numbers of their own, not in bfloat16 on cpu" in facts["warnings"]


def test_a_directory_of_a_family_that_a_space_brings_is_named_after_the_space(tmp_path, in_process):
    example = (Path(__file__).parents[3] / "examples" / "own_family.py").read_text(encoding="utf-8")
    file = tmp_path / "own.py"
    file.write_text(example.partition("\nfound = ")[0], encoding="utf-8")
    space = load_space(file)
    save_own(space.family.build(space.maximum, space.constants), space.family, tmp_path / "model")
    words = ["--rounds", 6, "--threads", 1, "--memory", "--json"]
    code, printed, said = in_process("latency", "measure", file, tmp_path / "model", "T", *words)
    assert code == 0, said
    assert [entry["name"] for entry in json.loads(printed)["latencies"]] == [str(tmp_path / "model"), f"{space.name} T"]
    code, _, said = in_process("latency", "measure", tmp_path / "model", *words)
    assert code == 2 and "belongs to no network family" in said


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
