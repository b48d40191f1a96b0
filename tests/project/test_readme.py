import re
import subprocess
import sys
from pathlib import Path

import pytest

from fsp.spaces.loading import load_space

README = Path(__file__).parents[2] / "README.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_space_file_in_the_readme_loads(tmp_path):
    (example,) = blocks("toml")
    (tmp_path / "example.toml").write_text(example)
    assert len(load_space(tmp_path / "example.toml").candidates) > 10


def test_the_python_example_runs():
    example = next(block for block in blocks("python") if "fsp.extract" in block)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"D=\d+ A=\d+ H=\d+ I=\d+ 30 \d+\n", done.stdout)


def test_the_figure_of_the_readme_is_drawn():
    example = next(block for block in blocks("python") if "figures" in block)
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=README.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text(encoding="utf-8")))
def test_links_lead_somewhere(link):
    assert (README.parent / link).exists()
