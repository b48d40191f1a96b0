import html
import json
import shlex
from dataclasses import asdict

import pytest

from fsp.base.errors import InputError
from fsp.distillation.settings import Budget, SurrogateSettings
from fsp.report.pages import write_report
from fsp.report.summary import command, headline
from fsp.search.certificates.certificate import seal
from fsp.search.certificates.certified import search
from fsp.search.certificates.settings import CertifiedSettings
from fsp.search.extraction import extract
from fsp.search.options import LeastError
from fsp.spaces.loading import load_space
from fsp.spaces.space import SearchSpace


def sealed(space):
    """A certificate of some candidates that says it is of a space."""
    settings = CertifiedSettings(sigma=0, seeds=1)
    record = {
        "space": space,
        "parameters": {"D": [1, 2, 3], "H": [8, 8, 8]},
        "equal": [],
        "objectives": {"size": [1.0, 2.0, 3.0]},
        "maximum": {},
        "choice": {"objective": "limits", "limits": {"size": 3}},
        "assumptions": settings.assumptions(),
        "alpha": 0.05,
        "target": 0.05,
    }
    return seal(search(record, [1, 2, 3], lambda row, seed: 1 / (row + 1), settings))


def test_the_page_says_what_was_chosen_and_escapes_what_it_shows(folder):
    write_report(folder)
    page = (folder / "report.html").read_text()
    assert "Chosen: D=2 A=2 H=16 I=32" in page
    assert "at the lower edge of the space in D" in page
    for raw in ("<script>alert", "<b>loss", "<i>toy"):
        assert raw not in page
    assert "&lt;script&gt;alert(1)" in page
    assert page.count('class="chosen"') == 2
    assert (folder / "pareto.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_says_when_finalists_were_trained_longer(folder):
    result = json.loads((folder / "result.json").read_text())
    assert headline(result)[0].startswith("Chosen: D=2 A=2 H=16 I=32, the least error of the 3 candidates evaluated")
    result["search"]["finalists"] = [{"architecture": result["selected"], "error": 0.5, "longer_error": 0.4}] * 2
    assert "the least error of 2 finalists trained longer, from the 3 candidates evaluated" in headline(result)[0]
    table = (folder / "evaluations.csv").read_text()
    (folder / "evaluations.csv").write_text(table.replace("failure\n", "failure,finalist_error\n").replace(",1.0,\n", ",1.0,,\n")
                                            .replace(",1.5,\n", ",1.5,,0.41234\n").replace("more\n", "more,\n"))  # fmt: skip
    write_report(folder)
    assert "<td>0.4123</td>" in (folder / "report.html").read_text()


def test_the_page_is_the_same_every_time(folder):
    write_report(folder)
    first = (folder / "report.html").read_bytes()
    write_report(folder)
    assert (folder / "report.html").read_bytes() == first


@pytest.mark.parametrize(
    ("config", "given", "expected"),
    [
        (
            {"space": {"name": "minilm"}, "seeds": 3, "limits": None},
            {},
            "fsp run minilm --out runs/minilm --method interval --seeds 3",
        ),
        (
            {"space": {"name": "minilm"}, "method": "maximal", "evaluations": 9, "limits": None},
            {},
            "fsp run minilm --out runs/minilm --method maximal --evaluations 9",
        ),
        (
            {"space": {"name": "mine"}, "limits": {"operations": "20%"}, "interval": 4},
            {"teacher": "my model", "corpus": ["a", "b"]},
            "fsp run mine.toml --out runs/mine --teacher 'my model' --corpus a --corpus b --limit operations=20% "
            "--method interval --interval 4",
        ),
    ],
)
def test_the_command_that_repeats_a_run(config, given, expected):
    assert command({"config": config, "given": given}) == expected


def test_a_file_named_like_a_space_of_fsp_stays_a_file_in_that_command():
    own = load_space("vit").describe()
    assert command({"config": {"space": own}}).startswith("fsp run vit ")
    smaller = own | {"parameters": own["parameters"] | {"D": [1, 2]}}
    assert command({"config": {"space": smaller}}).startswith("fsp run vit.toml ")


def test_that_command_has_every_option_of_fsp_run_that_the_result_depends_on():
    import typer

    from fsp.cli.app import app

    search = LeastError(limits={"operations": 5.0}, interval=1, method="interval", evaluations=9)
    config = {"space": {"name": "minilm"}, **asdict(search), **asdict(SurrogateSettings(threads=1))}
    config |= {**asdict(Budget(minutes=2.0)), "seeds": 1}
    given = {
        "teacher": "t",
        "corpus": ["c"],
        "column": "b",
        "labels": "l",
        "task": "masked",
        "device": "cpu",
        "dtype": "float32",
    }
    words = shlex.split(command({"config": config, "given": given}))
    run = typer.main.get_command(app).commands["run"]
    known = {name for parameter in run.params for name in parameter.opts if name.startswith("--")}
    said = {word for word in words if word.startswith("--")}
    assert said <= known
    nothing = {"--card", "--json", "--max-time", "--max-memory"}  # what changes nothing of the result
    assert known - said == nothing | {"--data"}  # another name of --corpus


def test_the_page_tells_what_tested_that_larger_is_better(folder):
    path = folder / "result.json"
    result = json.loads(path.read_text())
    assert "maximal" not in " ".join(headline(result))  # a run of an earlier version
    tested = {"pairs": 4, "against": 0, "least_tau": 0.0}
    result["search"] |= {"method": "maximal", "maximal": 2, "audit": 1, "monotonicity": tested, "interval": None}
    path.write_text(json.dumps(result))
    write_report(folder)
    page = html.unescape((folder / "report.html").read_text())
    assert "Evaluated: the 2 maximal shapes, which no other within the limits exceeds, 1 below them." in page
    assert "was tested on 4 comparable pairs: none is against it" in page
    result["search"] |= {"maximal": 9, "monotonicity": {"pairs": 4, "against": 1, "least_tau": 0.02}}
    said = " ".join(headline(result))
    assert "the largest 2 of the 9 maximal shapes" in said
    assert "1 against it, by up to 2.00%" in said


def test_the_page_of_a_classifier_counts_samples_and_speaks_of_no_text(folder):
    path = folder / "result.json"
    result = json.loads(path.read_text())
    figures = {kind: {"mean": 0.5, "half_width_95": None, "values": [0.5]} for kind in ("agreement", "accuracy")}
    result["task"] = {
        "name": "classes",
        "compares": "KL",
        "figures": {kind: kind for kind in figures},
        "unit": "samples",
        "loaded_by": "it is loaded as its teacher is",
    }
    result["models"] = [model | {"figures": figures, "readout_parameters": 0} for model in result["models"]]
    path.write_text(json.dumps(result))
    write_report(folder)
    page = html.unescape((folder / "report.html").read_text())
    assert "Measured on samples that no step has seen" in page
    assert "distilled on the same 4,096 samples" in page
    assert "Total counts embeddings. Operations and latency: one sample (of text 128 tokens)" in page
    assert "it agrees with T on 50.0% of samples; it is right on 50.0% (T: 50.0%)" in page


def test_where_w_would_have_chosen_the_same_no_ratio_is_told(folder):
    result = json.loads((folder / "result.json").read_text())
    result["w_choice"]["total"] |= {"architecture": result["selected"], "error_ratio": 1.0, "at_lower_edge_in": []}
    assert "Of the evaluated, W over all parameters would have chosen the same." in headline(result)


def test_a_certificate_beside_the_run_is_shown_and_checked(folder):
    own = json.loads((folder / "result.json").read_text())["config"]["space"]
    choices = {name: tuple(values) for name, values in own["parameters"].items()}
    space = SearchSpace("toy", choices, tuple(own["rules"]), own["maximum"], "mlp", {"inputs": 3, "outputs": 2})
    found = extract(space, error=lambda shape: 1 / shape["D"], method="certified", limits={"operations": "100%"})
    certificate = json.loads(json.dumps(found.certificate))
    (folder / "certificate.json").write_text(json.dumps(certificate))
    write_report(folder)
    page = html.unescape((folder / "report.html").read_text())
    assert certificate["result"]["statement"] in page
    assert "It is for a different choice from this run's: D=3 H=8" in page
    certificate["evaluations"][0]["errors"] = [0.9]
    (folder / "certificate.json").write_text(json.dumps(certificate))
    write_report(folder)
    assert "does not hold: its checksum does not match" in (folder / "report.html").read_text()


def test_a_certificate_of_another_space_is_refused(folder):
    other = {"parameters": {"D": [1, 2, 3], "H": [8]}, "rules": [], "maximum": {"D": 4, "H": 9}}
    (folder / "certificate.json").write_text(json.dumps(sealed(other)))
    with pytest.raises(InputError, match="another search space"):
        write_report(folder)
    assert not (folder / "report.html").exists()


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
