import json

import pytest

from fsp.base.errors import InputError
from fsp.base.files import digest, filling, read_json, replacing, whole_folder, write_json


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_appears_whole_or_stays_as_it_was(tmp_path, there):
    folder = tmp_path / "below" / "folder"
    before = {"old.txt"} if there else set()
    if there:
        folder.mkdir(parents=True)
        (folder / "old.txt").write_text("old")
    for write in (whole_folder, lambda folder: filling(folder, last=".b")):
        with pytest.raises(RuntimeError), write(folder) as temporary:
            (temporary / "new.b").write_text("half")
            raise RuntimeError
        assert {path.name for path in folder.glob("*")} == before and folder.exists() == there
    with filling(folder, last=".b") as temporary:
        (temporary / "new.b").write_text("new")
        (temporary / "zoo.txt").mkdir()
    assert {path.name for path in folder.iterdir()} == before | {"new.b", "zoo.txt"}
    with whole_folder(folder) as temporary:
        (temporary / "other.txt").write_text("new")
    assert [path.name for path in folder.iterdir()] == ["other.txt"]
    assert [path.name for path in folder.parent.iterdir()] == ["folder"]


def test_the_last_file_comes_last(tmp_path, monkeypatch):
    moved = []
    with filling(tmp_path / "folder", last=".onnx") as temporary:
        for name in ("a.onnx", "z.json", "b.txt"):
            (temporary / name).touch()
        monkeypatch.setattr("pathlib.Path.replace", lambda path, target: moved.append(target.name))
    assert sorted(moved[:2]) == ["b.txt", "z.json"] and moved[2] == "a.onnx"


def test_json_round_trip_and_no_nan(tmp_path):
    write_json(tmp_path / "a" / "v.json", {"x": [1, None, "é"]})
    assert read_json(tmp_path / "a" / "v.json") == {"x": [1, None, "é"]}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "nan.json", float("nan"))
    assert not (tmp_path / "nan.json").exists()


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000])
def test_bad_json_is_one_line(tmp_path, content):
    path = tmp_path / "v.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not valid JSON"):
        read_json(path)


def test_digest_ignores_key_order():
    assert digest({"a": 1, "b": [2]}) == digest(json.loads('{"b": [2], "a": 1}'))
    assert digest({"a": 1}) != digest({"a": 2})
