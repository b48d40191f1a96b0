"""What `fsp extract` keeps, and what it says of its choice, as its user sees it."""

import json
from functools import cache

import pandas as pd
import pytest
from running import fsp as shell
from sentence_models import sentence_model, with_unknown_module

import fsp
from fsp.base.progress import Progress
from fsp.distillation.error import Distillation
from fsp.distillation.inputs import load_inputs, surrogate
from fsp.distillation.settings import SurrogateSettings
from fsp.distillation.source import Source
from fsp.objectives.table import objectives_at_maximum


@pytest.fixture(scope="module")
def loaded(tiny):
    """T and the text, loaded once."""
    return load_inputs(tiny.space, Source(str(tiny.teacher), [str(tiny.corpus)]), Progress())


@pytest.fixture(scope="module")
def errors(loaded, tmp_path_factory):
    """The error after so many steps, made once of each."""
    folder = tmp_path_factory.mktemp("states")
    return cache(
        lambda steps: surrogate(loaded, SurrogateSettings(steps=steps, tokens=4096, threads=1), folder, Progress())
    )


@pytest.fixture
def quick(monkeypatch, loaded, errors):
    """Make a search of the tiny T's space start at once."""
    monkeypatch.setattr("fsp.distillation.inputs.load_inputs", lambda *given, **named: loaded)
    monkeypatch.setattr(
        "fsp.distillation.inputs.surrogate", lambda inputs, settings, folder, display: errors(settings.steps)
    )


@pytest.fixture
def run(monkeypatch, in_process, tmp_path):
    """Run the command line in this process, in an empty folder; return its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return in_process


def listing(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def everything(tiny, *, steps, interval):
    """The search by intervals among all shapes below T."""
    words = ["extract", tiny.space_file, *tiny.arguments(), "--steps", steps, "--interval", interval]
    return [*words, "--limit", "operations=100%"]


def test_interrupted_the_same_command_goes_on_where_it_was(run, loaded, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("fsp.distillation.inputs.load_inputs", lambda *given, **named: loaded)
    command = ["extract", tiny.space_file, *tiny.arguments(), "--steps", 0, "--limit", "operations=60%", "--json"]
    evaluate, evaluated, computed = Distillation.__call__, [], []

    def interrupted(self, architecture, seed=0):
        if len(evaluated) == 2:
            raise KeyboardInterrupt
        evaluated.append(architecture)
        return evaluate(self, architecture, seed)

    monkeypatch.setattr(Distillation, "__call__", interrupted)
    code, out, err = run(*command)
    assert (code, out) == (130, "")
    assert err.rstrip().endswith("interrupted; the same command goes on where it was")
    (folder,) = (tmp_path / "runs").iterdir()
    assert f"evaluations are kept in runs/{folder.name}; interrupted, the same command goes on there" in err
    assert listing(folder) == ["cache", "evaluations.journal", "run.json"]
    states = sorted((folder / "cache").glob("*.npy"))
    assert len(states) == 3  # of training, validation and test text

    def going_on(self, architecture, seed=0):
        computed.append(architecture)
        return evaluate(self, architecture, seed)

    monkeypatch.setattr(Distillation, "__call__", going_on)
    monkeypatch.setattr("fsp.distillation.examples.Outputs._write", None)  # T's states are there already
    code, out, err = run(*command)
    assert code == 0, err
    facts = json.loads(out)
    assert len(computed) == facts["evaluated"] - 2 > 0
    assert not set(computed) & set(evaluated)
    assert listing(tmp_path / "runs") == [folder.name]
    assert listing(folder) == ["evaluations.journal", "run.json"]
    code, out, err = run("choose", folder, "--limit", "operations=60%", "--json")
    assert code == 0, err
    assert json.loads(out)["selected"] == facts["selected"]


def test_another_question_has_another_folder(run, quick, tiny, tmp_path):
    command = ["extract", tiny.space_file, *tiny.arguments(), "--steps", 0, "--interval", 6]
    for limit in ("operations=60%", "operations=90%", "operations=60%"):
        code, _, err = run(*command, "--limit", limit)
        assert code == 0, err
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_what_is_refused_leaves_nothing(run, tiny, tmp_path):
    small = tmp_path / "small.txt"
    small.write_text("Too little text to split. " * 40)
    code, _, err = run("extract", tiny.space_file, "--teacher", tiny.teacher, "--corpus", small, "--threads", 1)
    assert code == 2, err
    assert "too small" in err
    assert listing(tmp_path) == ["small.txt"]


def test_a_study_of_ones_own_keeps_nothing_else(run, quick, tiny, tmp_path):
    command = everything(tiny, steps=0, interval=6)
    assert run(*command, "--study", tmp_path / "s.journal")[0] == 0
    assert listing(tmp_path) == ["s.journal"]


def test_the_papers_extraction_says_how_sure_it_is(run, quick, tiny, tmp_path):
    command = ["extract", tiny.space_file, *tiny.arguments(), "--steps", 0, "--objective", "w", "--interval", 4]
    code, out, err = run(*command, "--study", tmp_path / "s.journal", "--json")
    assert code == 0, err
    facts = json.loads(out)
    table = pd.DataFrame(facts["evaluations"])
    space = tiny.space.with_constants({"vocabulary": 30522, "positions": 128, "token_types": 2})
    shapes = table[list(space.names)].to_dict("records")
    assert (facts["evaluated"], facts["candidates"], facts["interval"]) == (len(table), 17, 4)
    assert facts["w_choice"] == {name: shapes[table[f"w_{name}"].argmax()] for name in ("total", "encoder")}
    assert facts["selected"] == facts["w_choice"]["total"]
    ends = {name: (min(choices), max(choices)) for name, choices in space.parameters.items()}
    edges = {n: ("least", "largest")[ends[n].index(v)] for n, v in facts["selected"].items() if v in ends[n]}
    assert facts["edges"] == edges
    assert facts["maximum"] == {"architecture": dict(space.maximum), **objectives_at_maximum(space)}

    code, out, err = run(*command, "--study", tmp_path / "s.journal")
    assert code == 0, err
    assert f"evaluated: {len(table)} of 17 candidates, one of every 4 by size" in out
    for name, end in edges.items():
        assert f"{name}={facts['selected'][name]} is the {end}" in out
    assert f"{fsp.Architecture(facts['w_choice']['encoder'])} with p = encoder parameters" in out
    assert f"T: {space.maximum}, parameters={facts['maximum']['parameters']}, " in out


def test_the_maximal_shapes_are_told(run, quick, tiny, tmp_path):
    command = ["extract", tiny.space_file, *tiny.arguments(), "--steps", 0, "--limit", "operations=60%"]
    code, out, err = run(*command)
    assert code == 0, err
    assert "evaluated: 6 of 14 within the limits: all 3 maximal shapes and 3 below them" in out
    assert "comparable pairs" in out
    code, out, _ = run(*command, "--plan", "--json")
    planned = json.loads(out)
    assert (planned["method"], planned["maximal"], planned["audit"], planned["feasible"]) == ("maximal", 3, 3, 14)
    code, out, _ = run(*command, "--plan", "--evaluations", 2)
    assert "the largest 2 of the 3 maximal shapes" in out


def test_seeds_are_evaluated_and_tell_how_sure_the_choice_is(run, quick, tiny, tmp_path):
    command = everything(tiny, steps=1, interval=5)
    code, out, err = run(*command, "--seeds", 3, "--study", tmp_path / "s.journal", "--json")
    assert code == 0, err
    rows = json.loads(out)["evaluations"]
    code, out, err = run("choose", tmp_path / "s.journal", "--limit", "operations=100%", "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert 0 <= answer["win_share"] <= 1
    for seed in range(3):  # each row is the geometric mean of what the seeds give alone
        code, out, err = run(*command, "--seed", seed, "--study", tmp_path / "s.journal", "--json")
        assert code == 0, err
        for row, one in zip(rows, json.loads(out)["evaluations"], strict=True):
            row.setdefault("logs", []).append(one["error"])
    for row in rows:
        assert row["error"] == pytest.approx((row["logs"][0] * row["logs"][1] * row["logs"][2]) ** (1 / 3))


def test_seeds_in_the_plan_and_where_they_mean_nothing(run):
    code, out, _ = run("extract", "minilm", "--interval", 20, "--seeds", 3, "--plan", "--json")
    assert code == 0
    assert json.loads(out)["evaluations"] == 3 * 7
    code, out, _ = run("extract", "minilm", "--method", "certified", "--seeds", 2, "--plan", "--json")
    assert json.loads(out)["evaluations"] == 2 * (139 + 3)
    space = fsp.load_space("minilm")
    with pytest.raises(fsp.InputError, match="takes no seed"):
        fsp.extract(space, error=lambda a: 1 / a["D"], seeds=2)
    with pytest.raises(fsp.InputError, match="CertifiedSettings"):
        fsp.extract(space, error=lambda a, seed: 1 / a["D"], seeds=2, method="certified")


def test_latency_is_offered_where_it_can_be_limited(run):
    for command, offered in (("run", False), ("extract", True), ("choose", True)):
        code, out, _ = run(command, "--help")
        assert code == 0
        assert ("latency (ms)" in " ".join(out.split())) == offered


FEW = ["--steps", 0, "--interval", 9, "--limit", "encoder_parameters=60%", "--threads", 1]


def test_a_teacher_that_fsp_run_would_refuse_is_searched_with_a_warning(run, quick, loaded, tiny, monkeypatch):
    def fail(folder):
        raise TypeError("not serialisable")

    monkeypatch.setattr(loaded.teacher.tokenizer, "save_pretrained", fail)
    code, out, err = run("extract", tiny.space_file, *tiny.arguments(), *FEW)
    assert code == 0, err
    assert "chosen: " in out
    (said,) = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert "fsp run refuses" in said and "cannot be saved again: not serialisable" in said


def test_a_layout_that_no_student_can_have_is_refused_unless_token_states_are_asked_for(tiny, tmp_path):
    folder = with_unknown_module(sentence_model(tiny, tmp_path / "T"))
    given = ["extract", tiny.space_file, "--teacher", folder, "--corpus", tiny.corpus, *FEW]
    done = shell(*given, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = [line for line in done.stderr.splitlines() if line.startswith(("fsp: ", "warning: "))]
    assert line.startswith("fsp: ") and "CNN" in line and "--task states" in line
    assert listing(tmp_path) == ["T"]
    done = shell(*given, "--task", "states", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
