import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from running import HANG

from fsp.spaces.loading import load_space, shipped_spaces


@pytest.fixture
def fsp(in_process):
    return in_process


def test_size_of_bort_and_what_was_published(fsp):
    code, out, _ = fsp("size", "bert_large", "D=4", "A=8", "H=1024", "I=768", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["parameters"] == 75_107_328
    assert (found["encoder_parameters"], found["embedding_parameters"]) == (23_108_608, 51_998_720)
    assert found["effective_fraction"] == pytest.approx(23_108_608 / 302_309_376)
    assert found["head_dim"] == 128
    assert found["candidate"] is True
    assert isinstance(found["operations"], int)
    published, swapped, computed = (found["bort"][key] for key in ("published", "swapped", "computed"))
    for name in ("parameters_millions", "embedding_millions", "encoder_percent"):
        assert round(swapped[name], 1) == published[name]
        assert round(computed[name], 1) != published[name]


def test_size_in_words(fsp):
    _, out, _ = fsp("size", "bert_large", "D=4,A=8,H=1024,I=768")
    assert "7.6% of T's" in out
    assert "56.0M, embeddings 39.0M, encoder and heads 30.3%" in out
    assert "H and I swapped" in out
    _, out, _ = fsp("size", "bert_large", "D=2", "A=8", "H=1024", "I=768")
    assert "published" not in out
    _, out, _ = fsp("size", "mlp", "D=12", "H=768")
    assert "T of mlp" in out
    assert "tokens" not in out
    assert "head" not in out


README = Path(__file__).parents[2] / "README.md"


def test_readmes_own_space_is_checked_and_counted_without_constants(fsp, tmp_path):
    content = next(block for block in re.findall(r"```toml\n(.*?)```", README.read_text("utf-8"), re.DOTALL))
    assert "[constants]" not in content
    file = tmp_path / "my.toml"
    file.write_text(content, encoding="utf-8")
    code, out, err = fsp("space", str(file), "--check")
    assert (code, err) == (0, "")
    assert "check: passed" in out
    assert "those of minilm" in out
    code, out, _ = fsp("space", str(file), "--check", "--json")
    found = json.loads(out)
    assert (found["constants_of"], found["constants"]["vocabulary"]) == ("minilm", 30522)
    code, out, _ = fsp("size", str(file), "D=4", "A=4", "H=256", "I=256")
    assert code == 0
    assert "with the tables of minilm" in out
    with_constants = content + "\n[constants]\nvocabulary = 100\npositions = 64\ntoken_types = 1\n"
    file.write_text(with_constants, encoding="utf-8")
    code, out, _ = fsp("space", str(file), "--check")
    assert code == 0
    assert "minilm" not in out
    file.write_text(with_constants.replace("positions = 64\n", ""), encoding="utf-8")
    code, _, err = fsp("space", str(file), "--check")
    assert code == 2
    assert "needs positions under [constants]" in err


def test_a_toml_file_that_names_a_python_file_runs_nothing(fsp, tmp_path):
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    for family in ("mine", "mine.py", str(tmp_path / "mine.py")):
        file = tmp_path / "s.toml"
        file.write_text(f'family = "{family}"\n[parameters]\nD = [1, 2]\n[maximum]\nD = 3\n')
        code, _, err = fsp("space", str(file), "--check")
        assert code == 2
        assert "family=MODULE (docs/own-space.md)" in err
    assert not (tmp_path / "ran").exists()


def test_size_of_a_family_without_heads(fsp):
    _, out, _ = fsp("size", "mlp", "D=2", "H=16", "--json")
    assert json.loads(out)["head_dim"] is None


@pytest.mark.parametrize("name", shipped_spaces())
def test_space_describes(fsp, name):
    code, out, _ = fsp("space", name, "--json")
    found = json.loads(out)
    assert code == 0
    assert found == load_space(name).describe()
    assert set(found) >= {"name", "parameters", "rules", "maximum", "candidates"}
    _, out, _ = fsp("space", name)
    assert all(rule in out for rule in found["rules"])


def test_space_lists(fsp):
    _, out, _ = fsp("space")
    assert [line.split()[0] for line in out.splitlines()] == list(shipped_spaces())
    _, out, _ = fsp("space", "--json")
    assert [space["name"] for space in json.loads(out)["shipped"]] == list(shipped_spaces())


def test_space_check(fsp, tmp_path):
    code, out, _ = fsp("space", "mlp", "--check")
    assert code == 0
    assert "check: passed, 13 networks built" in out
    assert "neither parameters nor operations fall where one of D, H grows" in out
    path = tmp_path / "wrong.toml"
    path.write_text(
        "family = 'bert'\n[parameters]\nD = [1]\nA = [3]\nH = [8]\nI = [8]\n[maximum]\nD = 2\nA = 4\nH = 8\nI = 8\n"
        "[constants]\nvocabulary = 9\npositions = 9\ntoken_types = 1"
    )
    code, out, _ = fsp("space", str(path), "--check", "--json")
    assert code == 1
    assert "A=3 does not divide H=8" in json.loads(out)["check"]["problems"][0]


def test_counting_needs_no_torch():
    program = (
        "import sys; from fsp.cli.app import main\n"
        "for arguments in (['space'], ['space', 'vit'], ['size', 'modernbert', 'D=4,A=4,H=256,I=384']):\n"
        "    sys.argv = ['fsp', *arguments]\n"
        "    try: main()\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'transformers', 'optuna', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL, timeout=HANG)
