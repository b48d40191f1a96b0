import pytest
from running import fsp

from fsp.cli.finetune import _lines


def test_the_command_prints_the_figures_and_where_the_model_is(tiny, tmp_path):
    rows = [f"{word} number {i},{label}" for i in range(20) for word, label in (("fine", "good"), ("dull", "bad"))]
    for name, part in (("train", rows[:20]), ("dev", rows[20:])):
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *part]) + "\n")
    done = fsp(
        "finetune", str(tiny.teacher), "--train", str(tmp_path / "train.csv"), "--dev", str(tmp_path / "dev.csv"), "--out",
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
    assert any(line.startswith("warning: fewer than half of the points") for line in _lines(result)) == warned
