"""Study files that no fsp has written: refused in one line, or read; never a stack trace, never changed, no code run."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fsp.base.errors import InputError
from fsp.spaces.loading import load_space
from fsp.studies.study import Evaluation, Study, stored_studies

SPACE = load_space("minilm")
SHAPES = SPACE.architectures(SPACE.candidates[:3])


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """The lines of a sound study with a finished, a failed and a waiting evaluation."""
    path = tmp_path_factory.mktemp("sound") / "evaluations.journal"
    study = Study(path, SPACE, {"error": "toy"})
    study.add(Evaluation(SHAPES[0], 0, 0.5, 1.0))
    study.add(Evaluation(SHAPES[1], 0, None, 1.0, "diverged"))
    study.ask([(SHAPES[2], 0)])
    return path.read_text().splitlines()


def refusal(action):
    """What an action was refused with; InputError is fine, anything else is not."""
    try:
        action()
    except InputError as refused:
        return str(refused)
    return ""


def read_or_refused(path):
    """Read a study in every way there is."""
    before = path.read_bytes()
    said = refusal(lambda: stored_studies(path))
    assert not said or str(path) in said
    assert path.read_bytes() == before
    said += refusal(lambda: Study(path, SPACE, {"error": "toy"}).ask([(SHAPES[2], 0)]))
    assert "\n" not in said


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
many = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@many
@given(data=st.data())
def test_a_record_with_another_value(data, lines, tmp_path):
    chosen = [json.loads(line) for line in lines]
    record = chosen[data.draw(st.integers(0, len(chosen) - 1))]
    record[data.draw(st.sampled_from(sorted(record)))] = data.draw(json_values)
    path = tmp_path / "s.journal"
    path.write_text("".join(json.dumps(one) + "\n" for one in chosen))
    read_or_refused(path)


@many
@given(data=st.data())
def test_a_record_without_a_key_or_lines_out_of_order(data, lines, tmp_path):
    chosen = [json.loads(line) for line in lines]
    record = chosen[data.draw(st.integers(0, len(chosen) - 1))]
    del record[data.draw(st.sampled_from(sorted(record)))]
    path = tmp_path / "s.journal"
    path.write_text("".join(json.dumps(one) + "\n" for one in data.draw(st.permutations(chosen))))
    read_or_refused(path)


@many
@given(place=st.floats(0, 1), junk=st.binary(min_size=1, max_size=40))
def test_junk_in_the_middle(place, junk, lines, tmp_path):
    content = ("\n".join(lines) + "\n").encode()
    at = int(place * len(content))
    path = tmp_path / "s.journal"
    path.write_bytes(content[:at] + junk + content[at:])
    read_or_refused(path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x95" + b"cos\nsystem\n(S'touch pwned'\ntR.\n",  # a pickle
        b"[" * 100_000 + b"\n",
        b'{"op_code":' + b"[" * 100_000 + b"\n",
        b'{"op_code":0}\n',
        b'{"op_code":99}\n',
        b'{"op_code":4,"study_id":7}\n',
        b'{"op_code":0,"worker_id":"x","study_name":"../../escape","directions":[1]}\n',
        b'{"op_code":0,"worker_id":"x","study_name":"s","directions":[1]}\n{"op_code":2,"worker_id":"x","study_id":0,'
        b'"user_attr":{"space":1,"settings":2}}\n',
        b"\xff\xfe{}\n",
    ],
)
def test_files_made_to_harm(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "s.journal"
    path.write_bytes(content)
    read_or_refused(path)
    assert {one.name for one in tmp_path.iterdir()} <= {"s.journal", ".s.journal.claims"}
