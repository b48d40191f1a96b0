"""Signals, full and read-only disks, memory that runs out, torn studies, two processes started at once."""

import json
import os
import signal
import subprocess

import pytest

from fsp.base.errors import Diverged, InputError
from fsp.search.extraction import extract
from fsp.spaces.loading import load_space
from fsp.studies.study import Evaluation, Study, stored_studies

from .test_kills import undisturbed  # noqa: F401

SPACE = load_space("minilm")
KINDS = ("extraction", "distillation", "caching", "agora", "export")
most_are_slow = pytest.mark.parametrize(
    "name", ["extraction", *(pytest.param(name, marks=pytest.mark.slow) for name in KINDS[1:])]
)


def toy(architecture):
    return 1 / (architecture["D"] * architecture["H"])


def one_line(ended):
    """Check that a failure was told in one line, after those of the progress bars, and return it."""
    assert "Traceback" not in ended.stderr
    last = ended.stderr.rstrip().splitlines()[-1]
    assert last.startswith("fsp: "), ended.stderr
    return last


@pytest.fixture
def tmpfs(tmp_path):
    """Mounts a small file system, and fills, empties and protects it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def fill(folder, left):
    """Fill a file system up to so many bytes."""
    state = os.statvfs(folder)
    with (folder / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, state.f_bavail * state.f_frsize - left))


@most_are_slow
@pytest.mark.parametrize(
    ("number", "code", "says"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
def test_signals_end_a_command_cleanly(name, number, code, says, commands, kinds, undisturbed, tmp_path):  # noqa: F811
    folder = tmp_path / "out"
    expected, touches = undisturbed(name)
    ended = commands.run(kinds[name].words(folder), watched=tmp_path, kill_at=touches // 2, number=number)
    if number == signal.SIGTERM and name in ("distillation", "caching"):  # it saves a checkpoint, or was about to end
        assert ended.code == 0, ended.stderr
        assert set(json.loads(ended.stdout)) >= {"finished", "model"}
    else:
        assert ended.code == code, ended.stderr
        assert one_line(ended) == f"fsp: {says}; the same command goes on where it was"
    if name == "extraction":
        (stored,) = [one for one in stored_studies(folder / "evaluations.journal") if "longer" not in one.settings]
        before = stored.evaluations
        assert before
    found = kinds[name].outcome(commands.run(kinds[name].words(folder), watched=tmp_path), folder)
    assert found == expected
    if name == "extraction":
        (stored,) = [one for one in stored_studies(folder / "evaluations.journal") if "longer" not in one.settings]
        assert stored.evaluations[: len(before)] == before  # seconds included: none was made again


@most_are_slow
def test_a_full_disk_is_told_in_one_line_and_what_is_done_is_kept(name, commands, kinds, undisturbed, tmpfs):  # noqa: F811
    expected, _ = undisturbed(name)
    folder = tmpfs / "work" / "out"
    fill(tmpfs, 4_096)  # room for a few lines, not for a model
    ended = commands.run(kinds[name].words(folder), watched=tmpfs)
    assert ended.code in (1, 2), ended.stderr
    assert "No space left on device" in one_line(ended) or "os error 28" in one_line(ended)
    (tmpfs / "filler").unlink()
    found = kinds[name].outcome(commands.run(kinds[name].words(folder), watched=tmpfs), folder)
    assert found == expected


@most_are_slow
def test_a_read_only_folder_is_told_in_one_line(name, commands, kinds, tmpfs):
    remount(tmpfs, "ro")
    ended = commands.run(kinds[name].words(tmpfs / "out"), watched=tmpfs)
    remount(tmpfs, "rw")
    assert ended.code in (1, 2), ended.stderr
    line = one_line(ended)
    assert "Read-only file system" in line or "cannot write" in line
    assert list(tmpfs.iterdir()) == []


@most_are_slow
def test_two_started_at_once_come_to_one_result(name, commands, kinds, undisturbed, tmp_path):  # noqa: F811
    expected, _ = undisturbed(name)
    folder = tmp_path / "out"
    both = [commands.start(kinds[name].words(folder), watched=tmp_path) for _ in range(2)]
    ended = [one.end() for one in both]
    for one in ended:
        if one.code:
            assert one.code == 2, one.stderr
            assert "another process" in one_line(one) or "already exists" in one_line(one)
    found = [kinds[name].outcome(one, folder) for one in ended if one.code == 0]
    assert found
    assert all(one == expected for one in found)
    if name == "extraction":
        assert len(found) == 2
        for stored in stored_studies(folder / "evaluations.journal"):
            made = [(one.architecture, one.seed) for one in stored.evaluations]
            assert len(made) == len(set(made))


def _numpy():
    import numpy as np

    return np.ones(2**50)


def _torch():
    import torch

    return torch.empty(2**50)


def _diverge():
    raise Diverged("loss nan at step 3 of 16")


@pytest.mark.parametrize(
    ("burst", "says"), [(_numpy, "out of memory"), (_torch, "out of memory"), (_diverge, "loss nan")]
)
def test_a_candidate_that_needs_too_much_memory_fails_and_the_rest_goes_on(burst, says, tmp_path):
    calls = []

    def error(architecture):
        calls.append(architecture)
        if architecture["H"] == 128:
            burst()
        return toy(architecture)

    for _ in range(2):  # what has failed is as finished as the rest
        found = extract(SPACE, error=error, interval=10, study=tmp_path / "s.journal")
        failed = found.table["H"] == 128
        assert failed.any()
        assert not failed.all()
        assert found.table.loc[failed, "failure"].str.contains(says).all()
        assert (found.table.loc[~failed, "error"] > 0).all()
        assert len(calls) == len(found.table)


def test_other_failures_of_the_error_are_not_taken_for_memory(tmp_path):
    def error(architecture):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        extract(SPACE, error=error, study=tmp_path / "s.journal")
    assert extract(SPACE, error=toy, study=tmp_path / "s.journal").selected == extract(SPACE, error=toy).selected


@pytest.mark.parametrize("torn", [b"{", b'{"op_code":4,"study_id"', b"\0\0\0", b'{"op_code":4}'])
def test_a_line_torn_by_another_process_is_cut_off_before_the_next(tmp_path, torn):
    path = tmp_path / "evaluations.journal"
    shapes = SPACE.architectures(SPACE.candidates[:2])
    study = Study(path, SPACE, {})
    study.add(Evaluation(shapes[0], 0, 0.25, 1.0))
    with path.open("ab") as file:
        file.write(torn)
    study.add(Evaluation(shapes[1], 0, 0.5, 1.0))
    again = Study(path, SPACE, {})
    assert [again.get(shape, 0).error for shape in shapes] == [0.25, 0.5]
    for line in path.read_text().splitlines():
        json.loads(line)


@pytest.mark.parametrize("content", [b"precious", b'{"name": 1}', b"x" * 100_000, b"\0" * 10])
def test_a_foreign_file_without_a_line_is_not_emptied(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(InputError, match="no study"):
        Study(path, SPACE, {})
    assert path.read_bytes() == content


def test_a_study_torn_in_its_very_first_line_begins_anew(tmp_path):
    path = tmp_path / "evaluations.journal"
    path.write_bytes(b'{"op_code')
    shape = SPACE.architectures(SPACE.candidates[:1])[0]
    Study(path, SPACE, {}).add(Evaluation(shape, 0, 0.25, 1.0))
    assert Study(path, SPACE, {}).get(shape, 0).error == 0.25
