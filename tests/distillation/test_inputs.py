"""`fsp.prepare`: the surrogate error as a Python object is that of the commands."""

import json

import pytest
import running

from fsp import extract, prepare
from fsp.base.errors import InputError
from fsp.spaces.loading import load_space


def test_errors_are_those_of_the_command(tiny):
    space, error = prepare(tiny.space_file, teacher=str(tiny.teacher), corpus=[tiny.corpus], steps=1, threads=1)
    found = extract(space, error=error, interval=3, limits={"operations": "90%"})
    done = running.fsp("extract", tiny.space_file, *tiny.arguments(), "--steps", 1, "--interval", 3, "--limit",
                       "operations=90%", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["selected"] == dict(found.selected)
    assert sorted(row["error"] for row in told["evaluations"]) == pytest.approx(sorted(found.table["error"]), rel=1e-8)


def test_states_are_kept_where_it_is_asked_for(tiny, tmp_path):
    given = {"teacher": str(tiny.teacher), "corpus": [tiny.corpus], "steps": 0, "threads": 1, "cache": tmp_path}
    shape = tiny.space.architectures(tiny.space.candidates[:1])[0]
    first = prepare(tiny.space, **given)[1](shape)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")}
    assert files
    assert prepare(tiny.space, **given)[1](shape) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")} == files


def test_what_cannot_be_prepared(tiny):
    with pytest.raises(InputError, match="names no trained teacher"):
        prepare("bert_large")
    with pytest.raises(InputError, match="maximum point of space minilm"):
        prepare(load_space("minilm"), teacher=str(tiny.teacher), corpus=[tiny.corpus])
    with pytest.raises(InputError, match="steps must be at least 0"):
        prepare(tiny.space, steps=-1)
