import json

import pytest

from fsp.base.errors import InputError
from fsp.families.architecture import Architecture
from fsp.spaces.loading import load_space
from fsp.studies.study import Evaluation, Study

SPACE = load_space("minilm")
SHAPES = SPACE.architectures(SPACE.candidates[:3])


def test_evaluations_outlive_the_object(tmp_path):
    path = tmp_path / "evaluations.journal"
    study = Study(path, SPACE, {"steps": 1})
    done = Evaluation(SHAPES[0], 0, 0.5, 1.5)
    failed = Evaluation(SHAPES[1], 0, None, 0.1, "Diverged: loss nan")
    study.add(done)
    study.add(failed)
    again = Study(path, SPACE, {"steps": 1})
    assert again.get(SHAPES[0], 0) == done
    assert again.get(SHAPES[1], 0) == failed
    assert again.get(SHAPES[0], 1) is None
    assert again.get(SHAPES[2], 0) is None


def test_other_settings_or_spaces_share_nothing(tmp_path):
    path = tmp_path / "evaluations.journal"
    Study(path, SPACE, {"steps": 1}).add(Evaluation(SHAPES[0], 0, 0.5, 1.0))
    assert Study(path, SPACE, {"steps": 2}).get(SHAPES[0], 0) is None
    assert Study(path, SPACE.with_constants({"vocabulary": 5}), {"steps": 1}).get(SHAPES[0], 0) is None
    assert Study(path, SPACE, {"steps": 1}).get(SHAPES[0], 0) is not None


@pytest.mark.parametrize("lost", [1, 20, 200])
def test_a_torn_last_line_loses_at_most_its_own_evaluation(tmp_path, lost):
    path = tmp_path / "evaluations.journal"
    study = Study(path, SPACE, {})
    study.add(Evaluation(SHAPES[0], 0, 0.25, 1.0))
    kept = path.read_bytes()
    study.add(Evaluation(SHAPES[1], 0, 0.5, 1.0))
    path.write_bytes(path.read_bytes()[:-lost])
    study = Study(path, SPACE, {})
    assert study.get(SHAPES[0], 0).error == 0.25
    assert study.get(SHAPES[1], 0) is None or len(path.read_bytes()) > len(kept)
    study.add(Evaluation(SHAPES[2], 0, 0.75, 1.0))
    assert Study(path, SPACE, {}).get(SHAPES[2], 0).error == 0.75
    for line in path.read_text().splitlines():
        json.loads(line)


def test_the_study_is_an_ordinary_optuna_study(tmp_path):
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = tmp_path / "evaluations.journal"
    Study(path, SPACE, {"steps": 1}).add(Evaluation(SHAPES[0], 7, 0.5, 1.0))
    storage = JournalStorage(JournalFileBackend(str(path)))
    (name,) = optuna.get_all_study_names(storage)
    study = optuna.load_study(study_name=name, storage=storage)
    assert study.best_value == 0.5
    assert study.best_params == {**SHAPES[0], "seed": 7}
    assert study.user_attrs["settings"] == {"steps": 1}


@pytest.mark.parametrize("content", ["not a journal\n", '{"op_code": "x"}\n', "[1, 2]\n"])
def test_foreign_files_are_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "file.txt"
    path.write_text(content)
    with pytest.raises(InputError, match="no study"):
        Study(path, SPACE, {})
    assert path.read_text() == content


def test_without_a_file_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = Study(None, SPACE, {})
    study.add(Evaluation(Architecture(SHAPES[0]), 0, 0.5, 1.0))
    assert study.get(SHAPES[0], 0).error == 0.5
    assert list(tmp_path.iterdir()) == []
