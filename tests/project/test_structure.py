"""One direction: every import, lazy ones included, leads to the same package or to one below it, and none in a circle."""

import ast
from pathlib import Path

import pytest

import fsp

ROOT = Path(fsp.__file__).parent
LAYERS = (  # from the bottom: each may import those before it
    "base",
    "families",
    "spaces",
    "studies",
    "objectives",
    "distillation",
    "search",
    "trust",
    "deploy",
    "finetuning",
    "report",
    "contenders",
    "run",
    "testing",
    "cli",
)


def name_of(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in ROOT.rglob("*.py")}
FACES = {"fsp", "fsp.__main__"}  # name everything, and nothing inside imports them


def imported(name):
    """Return the modules of fsp that a module imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} imports relatively"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inside & set(FILES)) | ({node.module} if inside - set(FILES) else set())
    return {module for module in found if module.split(".")[0] == "fsp"} - {name}


ARROWS = {name: imported(name) for name in FILES}


def package(name):
    return name.split(".")[1] if "." in name else name


def test_the_packages_and_modules_at_the_top_are_known():
    tops = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert tops == {*LAYERS, "__init__", "__main__"}


@pytest.mark.parametrize("name", sorted(set(FILES) - FACES))
def test_no_import_runs_back_up(name):
    height = LAYERS.index(package(name))
    up = {module for module in ARROWS[name] if module in FACES or LAYERS.index(package(module)) > height}
    assert not up


def test_no_import_runs_in_a_circle():
    """Depth first; a package's `__init__` that lists the names of its modules counts as any module."""
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            path.append(name)
            for module in sorted(ARROWS[name] & set(FILES)):
                visit(module)
            path.pop()
            done.add(name)

    for name in sorted(set(FILES) - FACES):
        visit(name)
