"""Every script of examples/ runs and prints what it should, and is named in examples/README.md."""

import re
import runpy
import tempfile
from pathlib import Path

import pytest

from fsp.search.methods import METHODS

EXAMPLES = Path(__file__).parents[2] / "examples"
PRINTED = {  # by script: a line of its output
    "own_space": r"11 candidates, the largest with 466,698 parameters",
    "own_family": r"found: D=2 H=64 I=64",
    "own_error": r"chosen: D=\d H=\d+, of 9 trained",
    "own_method": r"nearest: W is \d+\.\d% below the largest after 20 of 121 evaluations",
    "pareto_figure": r"3 fronts: .*pareto\.png",
    "replay_method": r"fitted +\d\.\d% +\d\.\d%",
}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_it_runs(path, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = dict(METHODS)
    try:
        found = runpy.run_path(str(path), run_name="__main__")
    finally:
        METHODS.clear()
        METHODS.update(before)
    printed = capsys.readouterr()
    assert printed.err == ""
    assert re.search(f"^{PRINTED[path.stem]}$", printed.out, re.MULTILINE), printed.out
    for contract in (thing() for name, thing in found.items() if name.startswith("Test")):
        for test in (name for name in dir(contract) if name.startswith("test_")):
            getattr(contract, test)()


def test_each_has_its_line():
    listed = re.findall(r"^- \[(\w+)\.py\]", (EXAMPLES / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(PRINTED) == sorted(path.stem for path in EXAMPLES.glob("*.py"))
