"""SIGKILL at random moments: the same command then finishes with the same result, and nothing is corrupt."""

import json
import random

import pytest

KINDS = ("extraction", "distillation", "caching", "agora", "export")


@pytest.fixture(scope="module")
def undisturbed(commands, kinds, tmp_path_factory):
    """What each command leaves behind when nothing happens to it, and how often it touches its folder."""
    known = {}

    def of(name):
        if name not in known:
            folder = tmp_path_factory.mktemp(name) / "out"
            ended = commands.run(kinds[name].words(folder), watched=folder.parent)
            known[name] = kinds[name].outcome(ended, folder), ended.touched
        return known[name]

    return of


def killed_again_and_again(name, times, seed, commands, kinds, undisturbed, folder):
    """Kill a command at random touches of its folder, then let it finish; return how often it was killed."""
    kind, chance = kinds[name], random.Random(f"{name} {seed}")
    expected, touches = undisturbed(name)
    assert touches > 5
    kills = 0
    while kills < times:
        ended = commands.run(kind.words(folder), watched=folder.parent, kill_at=chance.randint(1, touches))
        if ended.code == 0:  # so little was left to do that the moment never came
            break
        assert ended.code == -9, ended.stderr
        kills += 1
    found = kind.outcome(commands.run(kind.words(folder), watched=folder.parent), folder)
    unfinished = {file for file in found["files"] if ".fsp-unfinished-" in file}
    assert found["said"] == expected["said"]
    assert found["kept"] == expected["kept"]
    assert found["results"] == expected["results"]
    assert found["files"] - unfinished == expected["files"]
    for journal in folder.rglob("*.journal"):
        for line in journal.read_text().splitlines():
            json.loads(line)
    return kills


@pytest.mark.parametrize("name", ["extraction", "agora"])
def test_killed_once_or_twice(name, commands, kinds, undisturbed, tmp_path):
    assert killed_again_and_again(name, 2, 0, commands, kinds, undisturbed, tmp_path / "out") > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_killed_ten_times(name, commands, kinds, undisturbed, tmp_path):
    kills, seed = 0, 1
    while kills < 10:
        folder = tmp_path / f"out{seed}"
        kills += killed_again_and_again(name, min(5, 10 - kills), seed, commands, kinds, undisturbed, folder)
        seed += 1
    assert kills == 10
