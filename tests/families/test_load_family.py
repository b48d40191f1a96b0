import subprocess
import sys

import pytest

from fsp.base.errors import InputError
from fsp.families import family
from fsp.families.family import load_family
from fsp.objectives.counts import sizes
from fsp.spaces.space import SearchSpace, family_of

MEMBERS = "PARAMETERS = ('D',)\nCONSTANTS = ()\nMODEL_TYPES = ('theirs',)\nanatomy = None\n" + "".join(
    f"def {name}(*_, **__): return {{'parameters': _[0]['D'] * 2}}\n"
    for name in ("parameters", "operations", "inputs", "build", "architecture_of", "constants_of", "resized")
)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Make a module importable and name it in the entry-point group, as an installed package would."""
    monkeypatch.syspath_prepend(tmp_path)
    family._named.cache_clear()

    def do(name, content, module="third_party_family"):
        (tmp_path / f"{module}.py").write_text(content)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[fsp.families]\n{name} = {module}\n")

    yield do
    family._named.cache_clear()


def test_a_third_partys_family_needs_no_edit_inside_fsp(install):
    install("theirs", MEMBERS, "theirs_a")
    space = SearchSpace("s", {"D": (1, 2)}, (), {"D": 3}, "theirs")
    assert sizes(space, space.candidates)["parameters"].tolist() == [2, 4]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            MEMBERS.replace("def resized", "def other"),
            "lacks 'resized'; it needs PARAMETERS, CONSTANTS, MODEL_TYPES, anatomy",
        ),
        ("1 / 0", "cannot be loaded: ZeroDivisionError"),
        ("import no_such_module_at_all", "cannot be loaded: ModuleNotFoundError"),
    ],
)
def test_families_that_do_not_work_say_why(install, content, says, request):
    install("broken", content, f"broken_{abs(hash(content))}")
    with pytest.raises(InputError, match=says):
        load_family("broken")


def test_model_types_of_an_installed_family_belong_to_it(install):
    install("theirs", MEMBERS, "theirs_c")
    assert family.family_of_type("theirs") is load_family("theirs")


def test_no_family_loads_torch():
    check = (
        "import sys\nfrom fsp.families.family import family_of_type, known_families, load_family\n"
        "[load_family(name).anatomy for name in known_families()]; family_of_type('qwen3')\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


def test_unknown_families_list_the_known(install):
    install("theirs", MEMBERS, "theirs_b")
    with pytest.raises(InputError, match="there are bert, distilbert, gpt2, llama, mlp, modernbert, vit, theirs"):
        load_family("no_such_family")
    with pytest.raises(InputError, match="no network family '_transformer'"):
        load_family("_transformer")


@pytest.mark.parametrize(
    ("parameters", "constants", "says"),
    [
        ({"D": (1,), "X": (1,)}, {"inputs": 1, "outputs": 1}, "parameters D, H, not D, X"),
        ({"D": (1,), "H": (1,)}, {"inputs": 1}, "needs outputs under"),
        ({"D": (1,), "H": (1,)}, {}, "needs inputs, outputs under"),
    ],
)
def test_a_space_must_fit_its_family(parameters, constants, says):
    space = SearchSpace("s", parameters, (), dict.fromkeys(parameters, 2), "mlp", constants)
    with pytest.raises(InputError, match=says):
        family_of(space)


def test_a_module_is_a_family_without_being_installed(tmp_path):
    """As a space in Python names it; all that depends on the family works, its description stays JSON."""
    import importlib.util
    import json

    import fsp

    (tmp_path / "mine.py").write_text(MEMBERS)
    spec = importlib.util.spec_from_file_location("mine", tmp_path / "mine.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    space = SearchSpace("s", {"D": (1, 2)}, (), {"D": 3}, module)
    assert family_of(space) is module
    assert json.loads(json.dumps(space.describe()))["family"] == "mine"
    assert sizes(space, space.candidates)["parameters"].tolist() == [2, 4]
    del module.resized
    with pytest.raises(InputError, match="network family mine lacks 'resized'"):
        load_family(module)
    with pytest.raises(InputError, match="network family int lacks"):
        fsp.spaces.space.family_of(SearchSpace("s", {"D": (1, 2)}, (), {"D": 3}, 7))
