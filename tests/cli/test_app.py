import json
import subprocess
import sys

from running import fsp


def test_help_loads_nothing_heavy():
    code = "import sys; sys.argv = ['fsp', '--help']\ntry:\n    import fsp.cli.app; fsp.cli.app.main()\nexcept SystemExit as e: code = e.code\n"
    code += "heavy = {'torch', 'transformers', 'optuna', 'pandas', 'scipy', 'matplotlib', 'numpy'} & set(sys.modules)\nsys.exit(code or (str(heavy) if heavy else 0))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("run", "extract", "distill", "pretrain", "report"):
        assert command in done.stdout


def test_version():
    assert fsp("--version").stdout.startswith("fsp 0.")


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
        "written": [str(out / name) for name in ("alternatives.png", "pareto.png", "report.html")]
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
    assert (tmp_path / "model" / "readout.safetensors").exists()


def test_the_papers_literal_error_comes_with_its_verdict(tiny, tmp_path):
    done = fsp(
        *("extract", tiny.space_file, *tiny.arguments(), "--error", "mlm", "--steps", 1, "--interval", 3),
        *("--limit", "operations=100%", "--json"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert all(row["error"] > 5 for row in found["evaluations"])
    assert "their ranking is noise" in found["plateau"]
