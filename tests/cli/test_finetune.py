import pytest
from running import fsp

from fsp.cli.finetune import _lines

ROWS = "text,label\na fine film,good\na dull film,bad\n"


def call(*arguments):
    return fsp("finetune", *arguments)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "train.csv").write_text(ROWS)
    (tmp_path / "dev.csv").write_text(ROWS.replace("film", "play"))
    return tmp_path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "fsp: agora needs a labeller: tfidf, probe:DIR or the directory of a trained classifier"),
        ({"--method": "best"}, "fsp: no method 'best'; there are agora, grid, random, hyperband"),
        ({"--theta": "large"}, "fsp: no hyperparameter sets large; name small or bort, or a JSON file"),
        ({"--labeller": "tfidf", "--dev": "train.csv"}, "fsp: 2 of 2 rows of dev are also in train; remove them"),
        ({"--labeller": "tfidf", "--train": "nowhere.csv"}, "fsp: there is no file"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(files, change, message):
    options = {"--train": "train.csv", "--dev": "dev.csv", **change}
    paths = {key: str(files / value) if value.endswith(".csv") else value for key, value in options.items()}
    done = call("no/such/model", *(part for pair in paths.items() for part in pair), "--out", str(files / "run"))
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith(message)
    assert not (files / "run").exists()


def test_the_command_prints_the_figures_and_where_the_model_is(tiny, tmp_path):
    rows = [f"{word} number {i},{label}" for i in range(20) for word, label in (("fine", "good"), ("dull", "bad"))]
    for name, part in (("train", rows[:20]), ("dev", rows[20:])):
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *part]) + "\n")
    done = call(
        str(tiny.teacher), "--train", str(tmp_path / "train.csv"), "--dev", str(tmp_path / "dev.csv"), "--out",
        str(tmp_path / "run"), "--labeller", "tfidf", "--steps", "2", "--fits", "3", "--threads", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("accuracy ") and "rows of the held-out third of dev" in lines[0]
    assert lines[-1] == f"model: {tmp_path / 'run' / 'model'}"
    assert "the labeller is right on" in done.stderr


@pytest.mark.parametrize(("as_source", "warned"), [(4, True), (5, False)])
def test_points_mostly_labelled_unlike_their_rows_are_warned_of(as_source, warned):
    final = {"accuracy": 0.6, "interval_95": [0.5, 0.7], "set": "test", "majority": 0.5, "first_round": 0.6}
    made = dict.fromkeys(("near_dev", "dropped_near_final", "dropped_known", "dropped_doubtful"), 0)
    result = {
        "final": {**final, "labeller": 0.7},
        "search": {"fits": 6, "failed": []},
        "rows": {"final": 40},
        "added": {**made, "generated": 10, "kept": 10, "as_source": as_source},
        "chosen": {"theta": "x"},
        "outside_theory": False,
    }
    assert any(line.startswith("warning: fewer than every second point") for line in _lines(result)) == warned
