import json

import pytest

from fsp.base.errors import InputError
from fsp.base.files import digest, read_json, replacing, write_json


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


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
