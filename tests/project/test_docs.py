"""The pages of the documentation do what they say: their files are written and their commands run, in order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from running import HANG, fsp

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RUN = [  # own-space has a test of its own
    "tutorial",
    pytest.param("own-teacher", marks=pytest.mark.slow),
    "own-latency",
    "figures",
    "papers",
]


def blocks(page):
    return re.findall(
        r"^```(\w+)\n(.*?)^```$", (DOCS / f"{page}.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


@pytest.fixture
def folder(tmp_path, minilm_folder, tiny):
    """A reader's folder: a teacher, some text, and the repository's experiments."""
    (tmp_path / "my_teacher").symlink_to(minilm_folder)
    (tmp_path / "my_texts").symlink_to(tiny.corpus)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    return tmp_path


def run(line, folder):
    program, *arguments = line.split()
    assert program in ("fsp", "python")
    if program == "fsp":
        done = fsp(*arguments, cwd=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout
    paths = os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": paths, "MPLBACKEND": "Agg"}, capture_output=True, text=True,
        timeout=HANG, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("page", RUN)
def test_files_and_commands_of_a_page(page, folder):
    commands = 0
    for kind, content in blocks(page):
        if kind in ("python", "toml"):
            name = content.split("\n", 1)[0].removeprefix("# ")
            assert re.fullmatch(r"\w+\.(py|toml)", name), f"{page}: a file without a name, {name!r}"
            (folder / name).write_text(content)
        elif kind == "console":
            printed = ""
            for line in content.splitlines():
                if line.startswith("$ "):
                    printed = run(line[2:], folder)
                    commands += 1
                else:
                    assert line in printed, f"{page}: {line!r} is not in\n{printed}"
        else:
            assert kind == "sh", f"{page}: {kind} is neither run nor a sketch"
    assert commands


def commands_in(text):
    for block in re.findall(r"^```(?:sh|bash|console)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.search(r"(?:^|\$ |-m )(fsp [^#]*)", line)
            if found:
                yield found[1].split()[1:]


def test_every_option_shown_exists():
    import typer

    from fsp.cli.app import app

    root = typer.main.get_command(app)
    seen = 0
    for path in [*DOCS.glob("*.md"), ROOT / "README.md"]:
        for words in commands_in(path.read_text(encoding="utf-8")):
            command = root
            while words and words[0] in getattr(command, "commands", {}):
                command, words = command.commands[words[0]], words[1:]
            assert not hasattr(command, "commands"), f"{path.name}: no command {' '.join(words)}"
            known = {name for parameter in command.params for name in parameter.opts}
            for word in words:
                assert not word.startswith("--") or word in known, f"{path.name}: {word}"
                seen += 1
    assert seen > 50


def test_the_reference_names_every_command():
    sys.path.insert(0, str(DOCS / "_site"))
    try:
        import hooks
    finally:
        sys.path.pop(0)
    text = hooks.commands()
    for name in ("fsp run", "fsp extract", "fsp latency calibrate", "fsp error card", "fsp replay search"):
        assert f"## {name}\n" in text
    assert "| `--limit` |" in text
    assert "`0.05`" in text
    outside = "[the run](../experiments/minilm/README.md) and [error](error.md)"

    class Page:
        class file:
            src_path = "limits.md"

    assert hooks.on_page_markdown(outside, page=Page) == (
        "the run (`experiments/minilm/README.md` in the repository) and [error](error.md)"
    )


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / link).exists(), link


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for path in DOCS.rglob("*.md"):
        assert str(path.relative_to(DOCS)) in navigation
