import json
import subprocess

import pandas as pd
import pytest

from fsp.errors import InputError
from fsp.report import write_report
from fsp.report.figures import pareto
from fsp.report.summary import headline

TABLE = """D,A,H,I,parameters,embedding_parameters,encoder_parameters,operations,error,w_total,w_encoder,seed,seconds,failure
1,2,16,16,500,100,400,1000,0.9,0.8,0.7,0,1.0,
2,2,16,32,700,100,600,2000,0.5,1.1,1.0,0,1.5,
2,2,16,16,650,100,550,1800,,,,0,0.5,<b>loss nan</b> & more
"""


def model(name, shape, share):
    spread = {"mean": 0.5 * share, "half_width_95": None, "values": [0.5 * share]}
    return {
        "name": name,
        "architecture": shape,
        "parameters": int(1500 * share),
        "embedding_parameters": 100,
        "encoder_parameters": int(1400 * share),
        "operations": int(6000 * share),
        "readout_parameters": 10,
        "latency": {
            "median_ms": 10 * share,
            "lower_quartile_ms": 9 * share,
            "upper_quartile_ms": 11 * share,
            "repeats": 5,
        },
        "error": spread,
        "spearman": spread,
    }


@pytest.fixture
def folder(tmp_path):
    choice = {"D": 2, "A": 2, "H": 16, "I": 32}
    w = {
        "architecture": {"D": 1, "A": 2, "H": 16, "I": 16},
        "w": 0.8,
        "error": 0.9,
        "error_ratio": 1.8,
        "at_lower_edge_in": ["D"],
    }
    result = {
        "schema": 1,
        "fsp": "0",
        "config": {
            "space": {"name": "<i>toy</i>"},
            "teacher": {"name": "<script>alert(1)</script>"},
            "tokens": 4096,
            "seeds": 1,
        },
        "search": {
            "interval": 2,
            "candidates": 9,
            "feasible": 6,
            "evaluated": 3,
            "failed": 1,
            "limits": {"operations": 3000.0},
        },
        "selected": choice,
        "search_error": 0.5,
        "w_choice": {"total": w, "encoder": w},
        "models": [model("T", {"D": 3, "A": 4, "H": 32, "I": 64}, 1.0), model("choice", choice, 0.4)],
        "held_out": {"test_blocks": 10, "sentences": 50},
        "environment": {"processor": "p", "threads": 1, "runtime": "r", "python": "3"},
        "seconds": 1.0,
    }
    (tmp_path / "result.json").write_text(json.dumps(result))
    (tmp_path / "evaluations.csv").write_text(TABLE)
    return tmp_path


def test_the_page_says_what_was_chosen_and_escapes_what_it_shows(folder):
    write_report(folder)
    page = (folder / "report.html").read_text()
    assert "Chosen: D=2 A=2 H=16 I=32" in page
    assert "at the lower edge of the space in D" in page
    for raw in ("<script", "<b>loss", "<i>toy"):
        assert raw not in page
    assert "&lt;script&gt;alert(1)" in page
    assert page.count('class="chosen"') == 2
    assert 'src="http' not in page
    assert (folder / "pareto.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_says_when_finalists_were_trained_longer(folder):
    result = json.loads((folder / "result.json").read_text())
    assert headline(result)[0].startswith("Chosen: D=2 A=2 H=16 I=32, the least error of the 3 candidates evaluated")
    result["search"]["finalists"] = [{"architecture": result["selected"], "error": 0.5, "longer_error": 0.4}] * 2
    assert "the least error of 2 finalists trained longer, from the 3 candidates evaluated" in headline(result)[0]
    (folder / "evaluations.csv").write_text(TABLE.replace("failure\n", "failure,finalist_error\n").replace(",1.0,\n", ",1.0,,\n")
                                            .replace(",1.5,\n", ",1.5,,0.41234\n").replace("more\n", "more,\n"))  # fmt: skip
    write_report(folder)
    assert "<td>0.4123</td>" in (folder / "report.html").read_text()


def test_the_page_is_the_same_every_time(folder):
    write_report(folder)
    first = (folder / "report.html").read_bytes()
    write_report(folder)
    assert (folder / "report.html").read_bytes() == first


def test_chromium_shows_it_without_complaint(folder, chromium, tmp_path):
    write_report(folder)
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--no-first-run",
    ]
    command += ["--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--enable-logging=stderr", "--dump-dom", f"file://{folder / 'report.html'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "What the search saw" in done.stdout
    assert "CONSOLE" not in done.stderr


def test_figures_are_axes_with_the_choice_on_them(folder):
    result = json.loads((folder / "result.json").read_text())
    axes = pareto(result, pd.read_csv(folder / "evaluations.csv"), "operations")
    assert axes.get_xlabel() == "operations (share of T)"
    stars = [c for c in axes.collections if c.get_label() == "choice"]
    assert stars[0].get_offsets().tolist() == [[2000 / 6000, 0.5]]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("result.json", None, "no finished run"),
        ("result.json", "{", "not valid JSON"),
        ("result.json", '{"schema": 2}', "schema 1"),
        ("result.json", "[]", "schema 1"),
        ("evaluations.csv", None, "cannot be read as a table"),
        ("evaluations.csv", "", "cannot be read as a table"),
    ],
)
def test_bad_folders(folder, name, content, says):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(InputError, match=says):
        write_report(folder)
    assert not (folder / "report.html").exists()
