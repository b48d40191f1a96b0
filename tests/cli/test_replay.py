import json
import subprocess
import sys

import pytest
import running

from fsp.search.methods import METHODS

ARGUMENTS = ["--parameters", "d,h", "--size", "p", "--speed", "i", "--error", "e"]


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "table.csv"
    rows = [(d, h, d * h, d * h + d, round(2 / (d * h) ** 0.3, 6)) for d in range(1, 6) for h in (1.5, 2.5, 4, 8)]
    path.write_text("d,h,p,i,e\n" + "".join(",".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
    return path


def fsp(*arguments):
    return running.fsp("replay", "search", *arguments)


@pytest.mark.parametrize("method", list(METHODS))
def test_json_of_every_method(csv, method):
    done = fsp(csv, *ARGUMENTS, "--method", method, "--evaluations", 6, "--seeds", 2, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["method"] == method
    done_evaluations = {"exhaustive": 20, "interval": 5, "maximal": 1}.get(method, 6)
    assert facts["evaluations"] == facts["unique_evaluations"]
    if method == "certified":
        assert facts["evaluations"] == len(facts["certificate"]["evaluations"]) <= done_evaluations
    else:
        assert facts["evaluations"] == done_evaluations
    assert 0 <= facts["regret_mean"] <= facts["regret_max"] <= 1
    assert set(facts["best"]["parameters"]) == {"d", "h"}


def test_text_and_caps(csv):
    done = fsp(csv, *ARGUMENTS, "--neutral", "h", "--objective", "error", "--max-size", 10, "--max-speed", 14,
               "--method", "fitted", "--evaluations", 8)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("fitted: mean regret 0.00%")
    assert "optimum: d=4 h=2.5 (p 10, i 14" in done.stdout


def test_missing_values_and_duplicates_are_reported(csv):
    with csv.open("a", encoding="utf-8") as file:
        file.write("6,6,,36,.5\n1,1.5,1.5,2.5,1.7\n")
    done = fsp(csv, *ARGUMENTS, "--method", "params", "--evaluations", 3, "--json")
    assert "1 of 22 rows left out" in done.stderr
    assert "1 rows repeat another's parameters" in done.stderr
    facts = json.loads(done.stdout)
    assert (facts["rows_missing"], facts["rows_merged"], facts["architectures"]) == (1, 1, 20)


def test_no_torch_is_loaded(csv):
    code = "import sys; from fsp.cli.app import main\ntry: main()\nexcept SystemExit: print('torch' in sys.modules)"
    command = [sys.executable, "-c", code, "replay", "search", str(csv), *ARGUMENTS, "--evaluations", "5"]
    for method in ("fitted", "tpe"):
        done = subprocess.run([*command, "--method", method], capture_output=True, text=True, check=True)
        assert done.stdout.endswith("False\n")


def test_parameters_given_twice_are_both_taken(csv):
    rest = [*ARGUMENTS[2:], "--method", "params", "--evaluations", 3, "--json"]
    done = fsp(csv, "--parameters", "d", "--parameters", "h", *rest)
    assert set(json.loads(done.stdout)["best"]["parameters"]) == {"d", "h"}
    assert (
        done.stdout.partition('"seconds"')[0] == fsp(csv, "--parameters", "d,h", *rest).stdout.partition('"seconds"')[0]
    )


@pytest.mark.parametrize(("name", "score"), [("accuracy", True), ("val-acc", True), ("e", True), ("loss", False)])
def test_an_accuracy_that_is_given_as_an_error_is_warned_of(name, score, tmp_path):
    """By its name whatever its values; else by its rising with the size."""
    path = tmp_path / "t.csv"
    rows = [(d, d, d, 1 - 1 / (d + 1) if name == "e" else 1 / (d + 1)) for d in range(1, 9)]
    path.write_text(f"d,p,i,{name}\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    given = [path, "--parameters", "d", "--size", "p", "--speed", "i", "--error", name]
    done = fsp(*given, "--method", "params", "--evaluations", 3)
    assert done.returncode == 0 and ("warning: column" in done.stderr) == score
