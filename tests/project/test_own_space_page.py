"""Every file and command of docs/own-space.md, in the order of the page."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from running import HANG

PAGE = Path(__file__).parents[2] / "docs" / "own-space.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def write_entry_points(folder):
    """What installing the page's package would leave behind."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / "text_mixer-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups))


def test_the_pages_files_and_commands_work(tmp_path):
    paths = os.pathsep.join([str(tmp_path), str(PAGE.parent.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    commands = 0
    for kind, content in BLOCKS:
        if kind != "console":
            (tmp_path / content.split("\n", 1)[0].removeprefix("# ")).write_text(content)
            continue
        if (tmp_path / "pyproject.toml").exists() and not list(tmp_path.glob("*.dist-info")):
            write_entry_points(tmp_path)
        printed = ""
        for line in content.splitlines():
            if line.startswith("$ "):
                program = line[2:].split()
                launcher = {"fsp": ["-c", "from fsp.cli.app import main; main()"], "python": []}[program[0]]
                result = subprocess.run(
                    [sys.executable, *launcher, *program[1:]],
                    cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=HANG,
                )  # fmt: skip
                assert result.returncode == 0, result.stderr
                printed = result.stdout
                commands += 1
            else:
                assert line in printed, printed
    assert commands == 6


def test_the_pages_python_space(tmp_path):
    from fsp.spaces.loading import load_space

    content = next(content for _, content in BLOCKS if content.startswith("# tapered.py"))
    (tmp_path / "tapered.py").write_text(content)
    space = load_space(tmp_path / "tapered.py")
    assert space.describe()["rules"] == ["wide_if_deep", "D * H <= 1024"]
    assert all(32 * d <= h and d * h <= 1024 for d, h in space.candidates.tolist())
