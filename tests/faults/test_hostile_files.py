"""Files that somebody made to harm, or that were damaged: read or refused in one line, no code run, nothing written."""

import json
import os
import pickle
import shutil
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from fsp.base.errors import InputError
from fsp.deploy.serving import load_saved
from fsp.distillation.pretraining.documents import find_sources
from fsp.distillation.pretraining.models import load_language_model
from fsp.distillation.teacher import load_teacher
from fsp.distillation.text.corpus import read_corpus
from fsp.objectives.counts import sizes
from fsp.report.pages import write_report
from fsp.search.certificates.certificate import verify
from fsp.search.certificates.reading import read_certificate
from fsp.search.extraction import extract
from fsp.spaces.loading import load_space
from fsp.trust.replay.table import read_table

from .test_hostile_studies import json_values

RECORDED = Path(__file__).parents[2] / "experiments" / "minilm"
many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def refusal(action):
    """What an action was refused with, one line; anything but InputError is a fault."""
    try:
        action()
    except InputError as refused:
        said = str(refused)
    else:
        said = ""
    assert len(said.splitlines()) <= 1, said
    return said


def with_junk(text, place, cut, junk):
    """A text as bytes, with junk in place of so many of them."""
    content = text.encode()
    at = int(place * len(content))
    return content[:at] + (junk.encode() if isinstance(junk, str) else junk) + content[at + cut :]


def set_somewhere(value, data):
    """Put something else in place of a part of a JSON-like value."""
    while isinstance(value, dict | list) and value:
        key = data.draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
        inner = value[key]
        if not (isinstance(inner, dict | list) and inner) or data.draw(st.booleans()):
            value[key] = data.draw(json_values)
            return
        value = inner


SPACE = 'family = "mlp"\nrules = ["D * H <= 64"]\n[parameters]\nD = [1, 2, 4]\nH = [8, 16]\n[maximum]\nD = 4\nH = 16\n'
SPACE += "[constants]\ninputs = 3\noutputs = 2\n"
TEACHER = '[teacher]\nname = "t"\npackage = "{}"\nfolder = "{}"\nsha256 = "0"\ninstall = "pip install t"\n'


@many
@given(place=st.floats(0, 1), cut=st.integers(0, 12), junk=st.text(max_size=12) | st.binary(max_size=12))
def test_space_files_with_junk(place, cut, junk, tmp_path):
    path = tmp_path / "s.toml"
    path.write_bytes(with_junk(SPACE, place, cut, junk))
    refusal(lambda: load_space(path))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('family = "mlp"', 'family = "mlp"\nname = "../../escape"', "cannot be called"),
        ('family = "mlp"', 'family = "mlp"\nname = "\\u001b[2J"', "cannot be called"),
        ('family = "mlp"', 'family = "os"', "no network family"),
        ("D * H <= 64", "__import__('os').system('touch pwned')", "is not true or false"),
        ("D * H <= 64", "(" * 240 + "D" + ")" * 240 + " > 0", "is not an expression"),
        ("D * H <= 64", "not " * 121 + "D > 0", "exclude every candidate"),
        ("D * H <= 64", "D" + " * H" * 100 + " > 0", "products above"),
        ("D * H <= 64", "H ** H ** H > 0", "is not allowed"),
        ("D = 4\n", "D = 1" + "0" * 30 + "\n", "too large"),
        ("inputs = 3", "inputs = 1" + "0" * 30, "too large"),
        ("D = [1, 2, 4]", "D = " + "[" * 5000 + "]" * 5000, "TOML|integer"),
        ("D = [1, 2, 4]", "D = [1" + "0" * 5000 + "]", "TOML|integer"),
    ],
)
def test_space_files_made_to_harm(old, new, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "s.toml"
    path.write_text(SPACE.replace(old, new, 1))
    said = refusal(lambda: sizes(space := load_space(path), space.candidates))
    assert any(part in said for part in says.split("|")), said
    assert list(tmp_path.iterdir()) == [path]


def test_a_space_of_very_many_parameters(tmp_path):
    path, names = tmp_path / "s.toml", [f"P{k}" for k in range(400)]
    for choices in ("[1]", str(list(range(1, 999)))):
        lists = "".join(f"{name} = {choices}\n" for name in names)
        path.write_text(
            'family = "mlp"\n[parameters]\n' + lists + "[maximum]\n" + "".join(f"{n} = 1000\n" for n in names)
        )
        assert "400 parameters; at most 32" in refusal(lambda: load_space(path))


@pytest.mark.parametrize(("package", "folder"), [("os.path", "x"), ("", "x"), ("..", "x"), ("json", "../../../etc")])
def test_a_teacher_outside_its_package_is_refused(package, folder, tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(SPACE + TEACHER.format(package, folder))
    assert "teacher's" in refusal(lambda: load_space(path))


TABLE = "d,h,p,e\n" + "".join(f"{d},{h},{d * h},{1 / (d * h)}\n" for d in (1, 2) for h in (4, 8))


@many
@given(place=st.floats(0, 1), cut=st.integers(0, 12), junk=st.text(max_size=12) | st.binary(max_size=12))
def test_tables_with_junk(place, cut, junk, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(with_junk(TABLE, place, cut, junk))
    refusal(lambda: read_table(path, parameters=["d", "h"], size="p", error="e"))


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 1000, b"d,h,p,e\n" + b"9" * 200_000, b'd,h,p,e\n"' + b"x\n" * 200_000, b"d,h,p,e\n1,2,inf,1e999\n"],
)
def test_tables_made_to_harm(content, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    assert refusal(lambda: read_table(path, parameters=["d", "h"], size="p", error="e"))


@pytest.fixture(scope="module")
def certificate():
    def toy(architecture):
        return 1 / (architecture["D"] * architecture["H"])

    found = extract(load_space("minilm"), error=toy, method="certified", limits={"operations": "20%"})
    return json.dumps(found.certificate)


@many
@given(data=st.data())
def test_certificates_with_another_value(data, certificate):
    forged = json.loads(certificate)
    set_somewhere(forged, data)
    verdicts = []
    refusal(lambda: verdicts.append(verify(forged)))
    if verdicts and verdicts[0].holds:
        assert forged == json.loads(certificate)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"1" * 10_000, b'{"kind":' + b"\xff", b"NaN", b"", b"\x80\x04N."])
def test_certificates_made_to_harm(content, tmp_path):
    path = tmp_path / "c.json"
    path.write_bytes(content)
    assert refusal(lambda: verify(read_certificate(path)))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"text \xff\xfe text", "not UTF-8"),
        ("a.txt", b"some\0text", "binary"),
        ("a.txt", b"", "no text|is empty"),
        ("a.jsonl", b'{"text": "' + b"\xff" + b'"}\n', "not UTF-8"),
        ("a.jsonl", b"[" * 1_000_000 + b"\n", "not valid JSON"),
        ("a.jsonl", b'{"text": ["x"]}\n', "under 'text' instead of text"),
        ("a.parquet", b"PAR1" + b"\0" * 100 + b"PAR1", "cannot read"),
    ],
)
def test_corpora_made_to_harm(name, content, says, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)

    def stream():
        for source in find_sources([path]):
            for _ in source.passages():
                pass

    for read in (stream, lambda: read_corpus([path])):
        said = refusal(read)
        assert any(part in said for part in says.split("|")), said


def test_a_line_of_100_mb_is_read_in_pieces(tmp_path):
    path = tmp_path / "long.txt"
    path.write_bytes(b"word " * 20_000_000)
    (source,) = find_sources([path])
    longest = max(len(passage.text) for passage in source.passages())
    assert longest <= 5000


def test_a_small_parquet_file_of_gigabytes_is_read_in_pieces(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "bomb.parquet"
    rows = pa.DictionaryArray.from_arrays(pa.array([0] * 200_000, pa.int32()), pa.array(["word " * 2000]))
    parquet.write_table(pa.table({"text": rows}), path)
    assert path.stat().st_size < 100_000  # 2 GB of text
    (source,) = find_sources([path])
    before = pa.default_memory_pool().max_memory()
    read = sum(len(passage.text) for passage in islice(source.passages(), 5000))
    assert read > 10**7
    assert pa.default_memory_pool().max_memory() - before < 5 * 10**7


def test_a_link_in_a_corpus_that_leads_round_in_circles(tmp_path):
    (tmp_path / "a.txt").write_text("some text")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert read_corpus([tmp_path]) == ["some text"]
    assert len(find_sources([tmp_path])) == 1


class Harmful:
    """What a pickle of it does when it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("pwned",)


LOADERS = [load_teacher, load_language_model, load_saved]


@pytest.fixture
def model(tiny, tmp_path, monkeypatch):
    """A copy of a sound model, in the working directory."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(tiny.teacher, tmp_path / "model")


def refused_by_all(model, says=""):
    for load in LOADERS:
        said = refusal(lambda load=load: load(model))
        assert said and says in said, (load.__name__, said)
    assert list(model.parent.iterdir()) == [model]


def test_pickles_are_never_loaded(model):
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Harmful()))
    refused_by_all(model)


def test_code_that_comes_with_a_model_is_never_run(model):
    config = json.loads((model / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (model / "config.json").write_text(json.dumps(config))
    (model / "own.py").write_text("import os\nos.mkdir('pwned')\n")
    refused_by_all(model)


@pytest.mark.parametrize("part", ["../secret.safetensors", "/etc/passwd", "a/../../secret.safetensors"])
def test_an_index_that_names_files_elsewhere(part, model):
    index = {"metadata": {}, "weight_map": {"embeddings.LayerNorm.weight": part}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    refused_by_all(model, "which is no file beside it")


@pytest.mark.parametrize("index", ["[]", "{}", '{"weight_map": {"a": 1}}', "{", "[" * 100_000])
def test_an_index_that_is_none(index, model):
    (model / "model.safetensors.index.json").write_text(index)
    refused_by_all(model)


@pytest.mark.parametrize(
    "header",
    [
        (2**62).to_bytes(8, "little"),
        (10**6).to_bytes(8, "little") + b"[" * 10**6,
        (52).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,9]}}',
        b"",
    ],
)
def test_weights_with_a_wrong_header(header, model):
    (model / "model.safetensors").write_bytes(header)
    refused_by_all(model)


def test_weights_of_other_shapes(model):
    weights = load_file(model / "model.safetensors")
    name = "encoder.layer.0.output.dense.weight"
    save_file({**weights, name: weights[name][:, :-1].contiguous()}, model / "model.safetensors", {"format": "pt"})
    refused_by_all(model)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 2**40},
        {"num_hidden_layers": -1},
        {"hidden_size": "32"},
        {"num_attention_heads": 0},
        {"vocab_size": None},
        {"hidden_act": "__import__"},
        {"architectures": ["../../x"]},
    ],
)
def test_configurations_made_to_harm(changes, model):
    config = json.loads((model / "config.json").read_text()) | changes
    (model / "config.json").write_text(json.dumps(config))
    for load in LOADERS:
        refusal(lambda load=load: load(model))
    assert list(model.parent.iterdir()) == [model]


@settings(many, max_examples=15, phases=[Phase.generate])  # shrinking takes a page a try
@given(data=st.data())
def test_results_with_another_value(data, tmp_path):
    result = json.loads((RECORDED / "result.json").read_text())
    set_somewhere(result, data)
    (tmp_path / "result.json").write_text(json.dumps(result))
    shutil.copy(RECORDED / "evaluations.csv", tmp_path)
    refusal(lambda: write_report(tmp_path))
