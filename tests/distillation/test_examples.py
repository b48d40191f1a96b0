import multiprocessing
import shutil
from contextlib import contextmanager
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from materials import material_of

from fsp.base.device import Device
from fsp.base.errors import InputError
from fsp.base.progress import Progress
from fsp.distillation.examples import MASK, Examples, Outputs
from fsp.distillation.networks import last_states
from fsp.distillation.tasks.text import padded
from fsp.distillation.teacher import load_teacher
from fsp.distillation.text.corpus import Corpus, pack, read_corpus


@pytest.fixture(scope="module")
def loaded(tiny):
    return load_teacher(tiny.teacher), Corpus.of(read_corpus([tiny.corpus]))


def inputs_only(blocks):
    return Examples({"input_ids": blocks}, np.empty((len(blocks), 0), np.float16))


def states_of(teacher, blocks, folder, display=None):
    store = Outputs(teacher.fingerprint, folder, Device(), display or Progress())
    return store.of(inputs_only(blocks), partial(last_states, teacher.network)).target


def test_states_are_the_teachers_and_computed_once(loaded, tmp_path, monkeypatch):
    teacher, corpus = loaded
    blocks = pack(teacher.tokenizer, corpus.test, 32)[:40]
    states = states_of(teacher, blocks, tmp_path)
    with torch.no_grad():
        expected = teacher.network(input_ids=torch.from_numpy(blocks).long()).last_hidden_state.numpy()
    assert np.allclose(states, expected, atol=5e-3)
    monkeypatch.setattr(teacher.network, "forward", None)
    assert np.array_equal(states_of(teacher, blocks, tmp_path), states)
    with pytest.raises(TypeError):
        states_of(teacher, blocks[:20], tmp_path)


def store_in(folder, display=None):
    return Outputs("T", folder, Device(), display or Progress())


@pytest.mark.parametrize("largest", [70_000.0, float("nan")])
def test_outputs_that_float16_does_not_hold_are_refused(tmp_path, largest):
    outputs = torch.full((4, 32, 8), 65_504.0)
    examples = inputs_only(np.zeros((4, 32), np.int32))
    assert (store_in(tmp_path / "kept").of(examples, lambda inputs: outputs).target == 65_504).all()
    outputs[-1, -1, -1] = largest
    with pytest.raises(InputError, match="exceed 65,504 or are not numbers"):
        store_in(tmp_path / "refused").of(examples, lambda inputs: outputs)
    assert not list((tmp_path / "refused").glob("*.npy*"))


@pytest.mark.parametrize("largest", [float("inf"), float("nan")])
def test_outputs_that_are_no_numbers_are_refused_in_float32_too(tmp_path, largest):
    outputs = torch.full((4, 3), 70_000.0)
    examples = inputs_only(np.zeros((4, 32), np.int32))
    assert (store_in(tmp_path / "kept").of(examples, lambda inputs: outputs, half=False).target == 70_000).all()
    outputs[-1, -1] = largest
    with pytest.raises(InputError, match="are not numbers") as told:
        store_in(tmp_path / "refused").of(examples, lambda inputs: outputs, half=False)
    assert "float16" not in str(told.value)
    assert not list((tmp_path / "refused").glob("*.npy*"))


class Interrupted(Progress):
    """A display that is interrupted when the first part is done."""

    @contextmanager
    def bar(self, label, total):
        def stop(amount):
            raise KeyboardInterrupt

        yield stop


def test_an_interrupted_cache_leaves_nothing(loaded, tmp_path):
    teacher, corpus = loaded
    blocks = pack(teacher.tokenizer, corpus.test, 32)[:64]
    with pytest.raises(KeyboardInterrupt):
        states_of(teacher, blocks, tmp_path, Interrupted())
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_outputs_depend_on_t_and_on_every_input(tmp_path):
    """A file of another T, or of inputs that differ in their mask alone, is not taken."""
    ids, whole = np.ones((2, 4), np.int32), np.ones((2, 4), np.int32)
    cut = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], np.int32)
    given = [{"input_ids": ids}, {"input_ids": ids, MASK: whole}, {"input_ids": ids, MASK: cut}]
    given += [{"input_ids": ids.reshape(4, 2)}, {"pixel_values": ids}]
    paths = {Outputs(key, tmp_path, Device(), Progress()).path(one) for key in ("T", "another T") for one in given}
    assert len(paths) == 2 * len(given)


def short_of_memory(most, kind=MemoryError):
    """Return an output, the sum of the ids of each sample, that has memory for so many samples alone."""
    calls = []

    def compute(inputs):
        ids = inputs["input_ids"]
        calls.append(len(ids))
        if len(ids) > most:
            raise kind("cannot allocate memory")
        return ids.sum(dim=1, keepdim=True).float()

    return compute, calls


@pytest.mark.parametrize("kind", [MemoryError, RuntimeError, torch.OutOfMemoryError])
def test_where_memory_does_not_suffice_outputs_are_computed_in_parts(tmp_path, kind):
    ids = np.random.default_rng(0).integers(0, 9, (150, 6)).astype(np.int32)
    compute, calls = short_of_memory(5, kind)
    found = store_in(tmp_path).of(inputs_only(ids), compute)
    assert np.array_equal(found.target[:, 0], ids.sum(axis=1))
    assert sum(size for size in calls if size <= 5) == 150
    with pytest.raises(kind):
        store_in(tmp_path / "none").of(inputs_only(ids), short_of_memory(0, kind)[0])
    assert not list((tmp_path / "none").glob("*.npy*"))


def prepare(loaded, tmp_path, corpus=None, **sizes):
    return material_of(loaded[0], corpus or loaded[1], tmp_path, **sizes)[1]


def test_parts_share_no_block(loaded, tmp_path):
    material = prepare(loaded, tmp_path)
    parts = [set(map(bytes, part.inputs["input_ids"])) for part in (material.train, material.validation, material.test)]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    assert material.train.tokens == material.train.inputs["input_ids"].size <= 20_000
    assert material.train.target.shape == (*material.train.inputs["input_ids"].shape, 32)


@pytest.mark.parametrize("length", [4, 129])
def test_block_lengths_that_do_not_suit(loaded, tmp_path, length):
    with pytest.raises(InputError, match="does not suit"):
        prepare(loaded, tmp_path, length=length)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_too_little_text(loaded, tmp_path, part):
    texts = {name: getattr(loaded[1], name) for name in ("train", "validation", "test")}
    with pytest.raises(InputError, match="too small"):
        prepare(loaded, tmp_path, Corpus(**{**texts, part: texts[part][:1]}))


class Counting(Progress):
    """A display that puts what is done into a queue."""

    def __init__(self, asked):
        self._asked = asked

    @contextmanager
    def bar(self, label, total):
        yield self._asked.put


def states_in_another_process(teacher, folder, asked):
    torch.set_num_threads(1)
    states_of(load_teacher(teacher), np.arange(640, dtype=np.int32).reshape(10, 64), folder, Counting(asked))


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
    assert asked.get() == 10  # all blocks, computed by one of the two
    assert asked.empty()


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
    assert prepare(both, tmp_path / "cache", length=longest).train.inputs["input_ids"].shape[1] == longest
    for length in (longest + 1, 40):
        with pytest.raises(InputError, match=f"choose 8 to {longest}"):
            prepare(both, tmp_path / "cache", length=length)


def test_a_disk_without_room_for_the_outputs_is_told_before_they_are_computed(loaded, tmp_path, monkeypatch):
    prepare(loaded, tmp_path / "before")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    monkeypatch.setattr(loaded[0].network, "forward", None)
    with pytest.raises(InputError, match=r"T's outputs take 0.00 GB, and .* has 0.00 GB free; make room"):
        prepare(loaded, tmp_path / "new")
    assert len(prepare(loaded, tmp_path / "before").train)  # what is there takes no more room


def numbered(n, length=8):
    """Blocks of which each says in every token which it is."""
    ids = np.repeat(np.arange(n, dtype=np.int32)[:, None], length, axis=1)
    return Examples({"input_ids": ids}, np.arange(n, dtype=np.float32)[:, None], labels=np.arange(n))


def test_shuffled_batches_are_a_function_of_the_seed():
    data = numbered(64)
    first = [batch.inputs["input_ids"] for batch in (next(it) for it in [data.shuffled(16, 3)] for _ in range(4))]
    again = data.shuffled(16, 3)
    assert all(torch.equal(tokens, next(again).inputs["input_ids"]) for tokens in first)
    other = data.shuffled(16, 4)
    assert not all(torch.equal(tokens, next(other).inputs["input_ids"]) for tokens in first)


def test_one_pass_sees_every_block_once():
    data = numbered(64)
    batches = data.shuffled(16, 0)
    seen = torch.cat([next(batches).inputs["input_ids"] for _ in range(4)])
    assert sorted(map(tuple, seen.tolist())) == sorted(map(tuple, data.inputs["input_ids"].tolist()))


def of_lengths(lengths, most):
    """Texts of given lengths; text k consists of the number k + 1."""
    inputs = padded([[k + 1] * length for k, length in enumerate(lengths)], 0)
    return Examples(inputs, np.arange(len(lengths), dtype=np.float32)[:, None], most=most)


LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=60)


@given(LENGTHS, st.integers(1, 200))
@settings(max_examples=200, deadline=None)
def test_groups_hold_each_text_once_and_no_more_positions_than_wanted(lengths, most):
    examples = of_lengths(lengths, most)
    rows = np.concatenate(examples.groups)
    assert sorted(rows.tolist()) == list(range(len(lengths)))
    for group in examples.groups:
        batch = examples.take(group)
        shape = batch.inputs["input_ids"].shape
        assert shape == batch.inputs[MASK].shape == (len(group), max(lengths[k] for k in group))
        assert shape[0] * shape[1] <= most or len(group) == 1
        for k, ids, mask in zip(group, batch.inputs["input_ids"], batch.inputs[MASK], strict=True):
            assert ids[mask == 1].tolist() == [k + 1] * lengths[k]
            assert (ids[mask == 0] == 0).all()
        assert batch.target[:, 0].tolist() == group.tolist()
    assert examples.tokens == sum(lengths)


@given(LENGTHS, st.integers(1, 200), st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_a_pass_over_texts_of_different_lengths_sees_each_once(lengths, most, seed):
    examples = of_lengths(lengths, most)
    batches = examples.shuffled(16, seed)
    for _ in range(2):
        seen = [k for _ in examples.groups for k in next(batches).target[:, 0].tolist()]
        assert sorted(seen) == list(range(len(lengths)))


@given(LENGTHS, st.integers(1, 20))
@settings(max_examples=50, deadline=None)
def test_groups_are_no_smaller_than_they_must_be(lengths, factor):
    """Of two groups that follow each other, the first has no room for the shortest text of the second."""
    most = 40 * factor
    groups = [sorted(lengths[k] for k in group) for group in of_lengths(lengths, most).groups]
    for one, other in pairwise(groups):
        assert (len(one) + 1) * other[0] > most


def test_rows_are_whole_in_every_array():
    data = numbered(10)
    part = data[3:7]
    assert part.inputs["input_ids"][:, 0].tolist() == part.labels.tolist() == part.target[:, 0].tolist() == [3, 4, 5, 6]
    whole = data.take(np.arange(10))
    pieces = [piece for piece, _ in whole.divided(3)]
    assert [len(piece) for piece in pieces] == [4, 3, 3]
    assert torch.cat([piece.inputs["input_ids"] for piece in pieces]).equal(whole.inputs["input_ids"])
    assert [len(piece) for piece, _ in data[:2].take(np.arange(2)).divided(4)] == [1, 1]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=9), st.integers(1, 12))
@settings(max_examples=50, deadline=None)
def test_parts_of_a_batch_share_its_sites(counts, parts):
    """The mean over the sites of a batch is that of the means of its parts by their shares."""
    sites = np.array([[k < count for k in range(6)] for count in counts])
    values = np.random.default_rng(0).normal(size=sites.shape)
    examples = Examples({"input_ids": np.zeros(sites.shape, np.int32)}, values, sites)
    batch = examples.take(np.arange(len(counts)))
    pieces = batch.divided(parts)
    assert sum(share for _, share in pieces) == pytest.approx(1)
    mean = sum(share * float(piece.target[piece.sites].mean()) for piece, share in pieces)
    assert mean == pytest.approx(values[sites].mean(), abs=1e-6)


def test_the_digest_tells_inputs_and_sites_apart():
    data = numbered(6)
    sites = np.zeros((6, 8), bool)
    others = [
        Examples({"input_ids": data.inputs["input_ids"] + 1}, data.target),
        Examples({"input_ids": data.inputs["input_ids"].reshape(8, 6)}, data.target),
        Examples({"pixel_values": data.inputs["input_ids"]}, data.target),
        Examples(data.inputs, data.target, sites),
        Examples(data.inputs, data.target, ~sites),
    ]
    assert len({one.digest for one in [data, *others]}) == 6
    assert Examples(dict(data.inputs), data.target + 1).digest == data.digest
