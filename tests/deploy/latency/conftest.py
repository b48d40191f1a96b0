import pytest


@pytest.fixture(scope="session")
def space_file(tiny, tmp_path_factory):
    """The tiny teacher's space with the teacher's constants: its networks can be built without it."""
    path = tmp_path_factory.mktemp("latency") / "small.toml"
    constants = "[constants]\nvocabulary = 30522\npositions = 128\ntoken_types = 2\n"
    path.write_text(tiny.space_file.read_text(encoding="utf-8") + constants, encoding="utf-8")
    return path
