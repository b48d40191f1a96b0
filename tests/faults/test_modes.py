"""Who may read what a command leaves behind is what the umask says: as if each file had been written plainly."""

import os
import stat
from pathlib import Path

import pytest
from running import fsp

from fsp.base.files import replacing, whole_folder

UMASKS = (0o022, 0o077, 0o002)


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


def expected(folder: Path, umask: int) -> dict[str, int]:
    return {str(path.relative_to(folder)): (0o777 if path.is_dir() else 0o666) & ~umask for path in folder.rglob("*")}


KINDS = {  # and how many files and folders they leave at least
    "run": 15,
    "short distillation": 8,
    "certificate": 1,
    "card": 2,
    "calibration": 1,
    "extraction": 1,
    "distillation": 8,
    "caching": 8,
    "agora": 8,
    "export": 3,
}


def with_constants(tiny, out):
    path = out.parent.parent / "space.toml"
    path.write_text(tiny.space_file.read_text() + "[constants]\nvocabulary = 100\npositions = 128\ntoken_types = 2\n")
    return path


def commands(kind, kinds, tiny, small, out):
    few = ["--interval", 6, "--limit", "operations=60%", "--steps", 1]
    given = ["--teacher", tiny.teacher, "--corpus", small, "--threads", 1]
    return {
        "run": [["run", tiny.space_file, "--out", out, "--tokens", 8192, *few, *given], ["report", out]],
        "short distillation": [["distill", "D=1", "A=2", "H=16", "I=16", "--out", out, "--tokens", 8192, *given]],
        "certificate": [["extract", tiny.space_file, "--method", "certified", "--gap", 0.5, "--limit", "operations=60%",
                         "--steps", 1, "--certificate", out / "c.json", *given]],
        "card": [["error", "card", tiny.space_file, "--out", out, "--shapes", 10, "--truth-steps", 2, "--steps", 1,
                  "--limit", "operations=100%", *given]],
        "calibration": [["latency", "calibrate", with_constants(tiny, out), "--share", 0.6, "--held-out", 3, "--rounds", 6,
                         "--threads", 1, "--out", out / "calibration.json"]],
    }.get(kind) or [kinds[kind].words(out)]  # fmt: skip


@pytest.mark.parametrize("umask", UMASKS[:2], ids=oct)
@pytest.mark.parametrize(
    "kind", [pytest.param(one, marks=pytest.mark.slow) if one in ("card", "caching") else one for one in KINDS]
)
def test_files_have_the_mode_that_the_umask_says(kind, umask, kinds, tiny, small, tmp_path):
    folder = tmp_path / "left"
    folder.mkdir()
    for command in commands(kind, kinds, tiny, small, folder / "out"):
        done = fsp(*command, umask=umask)
        assert done.returncode == 0, done.stderr
    found = modes(folder)
    assert len(found) >= KINDS[kind], found
    assert found == expected(folder, umask)


@pytest.mark.parametrize("umask", UMASKS, ids=oct)
def test_a_writer_that_puts_a_private_file_of_its_own_in_place_changes_nothing(umask, tmp_path):
    """As safetensors does."""
    before = os.umask(umask)
    try:
        for folder in (tmp_path / "a", tmp_path / "b"):
            with whole_folder(folder) as temporary:
                (temporary / "c").mkdir(mode=0o700)
                private(temporary / "c" / "d")
        with replacing(tmp_path / "e") as temporary:
            private(temporary)
    finally:
        os.umask(before)
    assert modes(tmp_path) == expected(tmp_path, umask)
    assert len(modes(tmp_path)) == 7


def private(path: Path) -> None:
    other = path.with_name("other")
    os.close(os.open(other, os.O_CREAT, 0o600))
    other.replace(path)
