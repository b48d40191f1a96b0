"""Every command, given a model that is not what it says: exit 2, one line that names the thing, nothing written."""

import json
import shutil
import warnings

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, PreTrainedTokenizerFast, RobertaConfig, RobertaModel


def configured(folder, **changed):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def weighed(folder, change):
    """Change the weights by name, in place."""
    path = folder / "model.safetensors"
    weights = load_file(path)
    save_file(change(weights), path, metadata={"format": "pt"})


def without_layer(weights):
    return {name: value for name, value in weights.items() if "layer.1." not in name}


def with_number(number):
    def change(weights):
        weights["encoder.layer.1.output.dense.bias"][3] = number
        return weights

    return change


def short_positions(weights):
    name = "embeddings.position_embeddings.weight"
    return {**weights, name: weights[name][:64].contiguous()}


def into_old_layout(folder):
    inner = folder / "0_Transformer"
    inner.mkdir()
    for path in list(folder.iterdir()):
        if path.is_file():
            path.rename(inner / path.name)


def without_padding(folder):
    rules = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    rules.no_padding()
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("cls", "sep", "mask", "unk")}
    for path in folder.glob("*token*"):
        path.unlink()
    PreTrainedTokenizerFast(tokenizer_object=rules, **names).save_pretrained(folder)
    configured(folder, pad_token_id=None)


def as_roberta(folder, padding):
    sizes = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 64}
    config = RobertaConfig(vocab_size=30522, pad_token_id=0, max_position_embeddings=129, type_vocab_size=1, **sizes)
    RobertaModel(config).save_pretrained(folder)
    configured(folder, pad_token_id=padding)


def with_tokens_of_another(folder):
    rules = json.loads((folder / "tokenizer.json").read_text())
    rules["model"]["vocab"] = {token: k for token, k in rules["model"]["vocab"].items() if k < 20_000}
    (folder / "tokenizer.json").write_text(json.dumps(rules))


FAULTS = {
    "mistyped": (shutil.rmtree, "there is no such folder"),
    "no configuration": (lambda t: (t / "config.json").unlink(), "no model directory"),
    "no weights": (lambda t: (t / "model.safetensors").unlink(), "has no weights"),
    "old layout": (into_old_layout, "name {}/0_Transformer"),
    "weights for more layers": (lambda t: configured(t, num_hidden_layers=2), "encoder.layer.2."),
    "weights for fewer layers": (lambda t: weighed(t, without_layer), "lacks weights for"),
    "other sizes": (lambda t: weighed(t, short_positions), "position_embeddings.weight is 64 x 32 and should be 128"),
    "NaN": (lambda t: weighed(t, with_number(float("nan"))), "has NaN in"),
    "infinity": (lambda t: weighed(t, with_number(float("inf"))), "infinite numbers in"),
    "relative positions": (lambda t: configured(t, position_embedding_type="relative_key"), "position_embedding_type="),
    "own code": (lambda t: configured(t, auto_map={"AutoModel": "own.Model"}), "auto_map: own.Model"),
    "adapter": (lambda t: (t / "adapter_config.json").write_text("{}"), "adapter_config.json"),
    "quantised": (lambda t: configured(t, quantization_config={"bits": 4}), "quantization_config"),
    "pruned heads": (lambda t: configured(t, pruned_heads={"0": [1]}), "pruned_heads"),
    "cross-attention": (lambda t: configured(t, is_decoder=True, add_cross_attention=True), "add_cross_attention"),
    "tokenizer of another": (with_tokens_of_another, "tokens and its model 30522"),
    "padding of another": (lambda t: as_roberta(t, 1), "pads with token 0 and its model with 1"),
    "no padding": (without_padding, "no padding token"),
    "RoBERTa without padding": (lambda t: as_roberta(t, None), "has no pad_token_id"),
}
COMMANDS = ("run", "extract", "distill", "pretraining", "finetune", "export", "latency")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    for name in ("train", "dev"):
        lines = [f"{name} {k} is {'good' if k % 2 else 'bad'},{k % 2}" for k in range(40)]
        (folder / f"{name}.csv").write_text("\n".join(["text,label", *lines]))
    return folder


@pytest.fixture(scope="module")
def short_text(tmp_path_factory, tiny):
    """As little text as is read before T is."""
    path = tmp_path_factory.mktemp("text") / "docs.txt"
    path.write_text((tiny.corpus / "docs.txt").read_text(encoding="utf-8")[:20_000], encoding="utf-8")
    return path


def words(command, tiny, teacher, out, rows, text):
    given = ["--teacher", teacher, "--corpus", text, "--threads", 1]
    return {
        "run": ["run", tiny.space_file, "--out", out, *given],
        "extract": ["extract", tiny.space_file, *given],
        "distill": ["distill", "D=1", "A=2", "H=16", "I=16", "--space", tiny.space_file, "--out", out, *given],
        "pretraining": ["pretrain", "D=1", "A=2", "H=16", "I=16", "--out", out, *given, "--kl", 0, "--cosine", 1],
        "finetune": [
            "finetune",
            teacher,
            "--train",
            rows / "train.csv",
            "--dev",
            rows / "dev.csv",
            "--out",
            out,
            "--method",
            "grid",
        ],
        "export": ["export", teacher, "--out", out, "--corpus", text],
        "latency": ["latency", "measure", teacher, "--rounds", 6, "--threads", 1],
    }[command]


@pytest.fixture
def command_line(monkeypatch, in_process):
    """Run a command in this process, as every one would have to load its libraries; return its exit code and output."""

    def call(words):
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # put back afterwards
        return in_process(*words)

    return call


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_model_is_refused_in_one_line_before_anything_is_done(
    fault, command, tiny, rows, short_text, tmp_path, command_line
):
    teacher, out = tmp_path / "t", tmp_path / "out"
    shutil.copytree(tiny.teacher, teacher)
    harm, says = FAULTS[fault]
    harm(teacher)
    before = sorted(tmp_path.rglob("*"))
    code, printed, told = command_line(words(command, tiny, teacher, out, rows, short_text))
    lines = [line for line in told.splitlines() if line.startswith("fsp: ")]
    assert (code, printed, len(lines)) == (2, "", 1), told
    assert str(teacher) in lines[0] and says.format(teacher) in lines[0], lines[0]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("what", ["distill", "extract", "export"])
def test_a_place_that_cannot_be_written_to_is_told_before_the_model_is_loaded(
    what, tiny, rows, short_text, tmp_path, command_line, monkeypatch
):
    monkeypatch.setattr(
        "fsp.distillation.teacher.load_teacher", lambda *words, **more: pytest.fail("loads the teacher")
    )
    monkeypatch.setattr("fsp.deploy.exporting.load_saved", lambda *words: pytest.fail("loads the model"))
    (tmp_path / "file").touch()
    given = words(what, tiny, tiny.teacher, tmp_path / "file" / "out", rows, short_text)
    if what == "extract":
        given += ["--method", "certified", "--certificate", tmp_path / "file" / "c.json"]
    code, printed, told = command_line(given)
    assert (code, printed) == (2, "") and "cannot write" in told and str(tmp_path / "file") in told


def test_a_warning_about_a_model_is_one_line(tiny, tmp_path, rows, short_text, command_line):
    teacher = shutil.copytree(tiny.teacher, tmp_path / "t")
    configured(teacher, alibi=True)
    code, _, told = command_line(words("latency", tiny, teacher, tmp_path / "out", rows, short_text))
    lines = [line for line in told.splitlines() if "alibi" in line]
    assert code == 0 and len(lines) == 1 and lines[0].startswith(f"fsp: warning: model {teacher}: ")
