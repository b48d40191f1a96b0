"""The wheel and the source distribution hold what a user needs, and the wheel works where nothing of this checkout is."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SPACES = {path.stem for path in (ROOT / "search_spaces").glob("*.toml")}


def run(*command, cwd, **environment):
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Both distributions; the wheel is built from the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


def test_the_source_distribution_is_complete(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        names = {name.split("/", 1)[1] for name in file.getnames() if "/" in name}
    for name in ("LICENSE", "README.md", "CITATION.cff", "mkdocs.yml", "fsp/cli/app.py", "search_spaces/minilm.toml"):
        assert name in names


def test_the_wheel_works_in_an_empty_environment(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    assert {f"fsp/search_spaces/{name}.toml" for name in SPACES} <= names
    assert {"fsp/report/templates/page.html", "fsp/report/templates/explorer.js"} <= names
    assert not any(name.startswith(("tests/", "docs/", "experiments/")) for name in names)

    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "env", cwd=tmp_path)
    python = tmp_path / "env" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    run(*install, cwd=tmp_path)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    # the dependencies, but not what else is installed there by .pth files, such as this checkout
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    fsp = tmp_path / "env" / "bin" / "fsp"
    where = run(python, "-c", "import fsp; print(fsp.__file__)", cwd=tmp_path, PYTHONPATH="")
    assert Path(where.strip()).is_relative_to(site)
    listed = run(fsp, "space", cwd=tmp_path, PYTHONPATH="")
    assert {line.split()[0] for line in listed.splitlines()} >= SPACES
    counted = run(fsp, "size", "bert_large", "D=4 A=8 H=1024 I=768", cwd=tmp_path, PYTHONPATH="")
    assert "23,108,608" in counted

    run_folder = tmp_path / "run"
    run_folder.mkdir()
    for name in ("result.json", "evaluations.csv"):
        (run_folder / name).write_bytes((ROOT / "experiments" / "minilm" / name).read_bytes())
    run(fsp, "report", run_folder, cwd=tmp_path, PYTHONPATH="")
    assert "explorer-data" in (run_folder / "report.html").read_text(encoding="utf-8")
