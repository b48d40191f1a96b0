"""Students kept for a run that goes on, and saved as ordinary models."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from materials import masked_model
from sentence_models import sentence_model
from torch import nn

from fsp.base.errors import InputError
from fsp.base.timing import interleaved
from fsp.distillation.cutting import Cutter
from fsp.distillation.saving import keep_student, load_student, save_student
from fsp.distillation.similarity import SentenceFigures, shared_neighbours, similarity_agreement
from fsp.distillation.student import Student
from fsp.distillation.tasks.choice import task_of
from fsp.distillation.teacher import load_teacher

SENTENCES = ["Return the current file position.", "A list of all matches.", "Parse the arguments.", "Cats sleep a lot."]
SHAPE = {"D": 2, "A": 2, "H": 16, "I": 32}


def student_of(teacher):
    """A student whose readout, if there is one, is random: the healed cut's would be nearly T's."""
    tokens = torch.randint(5, 30522, (8, 16), generator=torch.Generator().manual_seed(0))
    student = task_of(teacher).fresh(Cutter(teacher.network, teacher.family, {"input_ids": tokens}).cut(SHAPE))
    if student.readout is not None:
        torch.manual_seed(1)
        student.readout.reset_parameters()
    return student.eval()


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory):
    teacher = load_teacher(tiny.teacher, task="embedding")
    student = student_of(teacher)
    folder = tmp_path_factory.mktemp("student") / "model"
    save_student(student, task_of(teacher), folder, {"architecture": "D=2 A=2 H=16 I=32", "error": 0.5})
    return teacher, student, folder


def test_auto_classes_load_it_whole(saved):
    from transformers import AutoModel, AutoTokenizer

    _, student, folder = saved
    model, info = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    batch = AutoTokenizer.from_pretrained(folder)(SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(model(**batch).last_hidden_state, student.network(**batch).last_hidden_state)


def test_sentence_transformers_gives_our_embeddings(saved):
    """Against the mean of the student's states, read and scaled to unit length by hand."""
    from sentence_transformers import SentenceTransformer

    teacher, student, folder = saved
    theirs = SentenceTransformer(str(folder), device="cpu").encode(SENTENCES)
    batch = teacher.tokenizer(SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        states, mask = student.network(**batch).last_hidden_state, batch["attention_mask"][..., None]
        ours = student.readout((states * mask).sum(dim=1) / mask.sum(dim=1)).numpy()
    assert theirs.shape == (4, 32)
    assert np.allclose(theirs, ours / np.linalg.norm(ours, axis=1, keepdims=True), atol=1e-5)


@pytest.fixture(scope="module")
def teachers(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers")
    return {
        "states": load_teacher(tiny.teacher),
        "embedding": load_teacher(sentence_model(tiny, folder / "S", pooling=("mean", "max"))),
        "masked": load_teacher(masked_model(tiny, folder / "M")),
    }


@pytest.mark.parametrize("task", ["states", "embedding", "masked"])
def test_a_kept_student_comes_back_exactly(teachers, task, tmp_path):
    student = student_of(teachers[task])
    with torch.no_grad():
        for value in student.parameters():
            value.add_(0.01)
    keep_student(student, tmp_path / "student")
    again = load_student(tmp_path / "student", teachers[task])
    ours, theirs = student.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert again.architecture == SHAPE and not again.training
    assert (task == "masked") == (again.readout is None)
    if task == "embedding":
        assert (again.readout.in_features, again.readout.out_features) == (32, 64)  # two modes
    batch = {"input_ids": torch.arange(10, 30)[None], "attention_mask": torch.ones(1, 20, dtype=torch.long)}
    with torch.no_grad():
        for one, other in zip(student.network(**batch).values(), again.network(**batch).values(), strict=True):
            assert torch.equal(one, other)
    if task == "masked":
        layers = again.network.cls.predictions.decoder, again.network.bert.embeddings.word_embeddings
        assert layers[0].weight is layers[1].weight


def test_keeping_replaces_what_was_kept(teachers, tmp_path):
    student = student_of(teachers["states"])
    keep_student(student, tmp_path / "student")
    other = load_student(tmp_path / "student", teachers["states"])
    other.readout.weight.data += 1
    keep_student(other, tmp_path / "student")
    again = load_student(tmp_path / "student", teachers["states"])
    assert torch.equal(again.readout.weight, other.readout.weight)
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


@pytest.mark.parametrize("task", ["states", "embedding", "masked"])
def test_a_failed_save_leaves_the_old_model_and_nothing_else(teachers, task, tmp_path, monkeypatch):
    teacher = teachers[task]
    student = student_of(teacher)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()

    def full(*_, **__):
        raise OSError("No space left on device")

    writer = "sentence_transformers.SentenceTransformer.save"
    monkeypatch.setattr(*((writer, full) if task == "embedding" else (type(student.network), "save_pretrained", full)))
    with pytest.raises(OSError, match="No space"):
        save_student(student, task_of(teacher), tmp_path / "model", {})
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "old").exists()


def test_a_saved_student_is_alone_in_its_folder(saved):
    assert [p.name for p in saved[2].parent.iterdir()] == ["model"]


def test_no_student_no_crash(teachers, tmp_path):
    with pytest.raises(InputError, match="holds no student"):
        load_student(tmp_path, teachers["states"])


def test_pooling_ignores_padding(saved):
    states = torch.arange(12.0).view(1, 3, 4)
    layout = saved[0].layout
    assert torch.allclose(layout.pool(states, torch.tensor([[1, 1, 0]])), states[:, :2].mean(dim=1))


def test_embeddings_keep_the_order_of_the_sentences(saved):
    teacher = saved[0]
    together = teacher.layout.encode(teacher.network, SENTENCES)
    alone = [teacher.layout.encode(teacher.network, [s])[0] for s in SENTENCES]
    assert np.allclose(together, alone, atol=1e-5)


def test_agreement_of_similarities():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(30, 8)).astype(np.float32)
    rotation, _ = np.linalg.qr(generator.normal(size=(8, 8)))
    turned = (3 * vectors @ rotation).astype(np.float32)
    assert similarity_agreement(vectors, turned) > 0.999
    assert shared_neighbours(vectors, turned) == 1
    assert abs(similarity_agreement(vectors, generator.normal(size=(30, 8)).astype(np.float32))) < 0.3


def test_shared_neighbours_against_brute_force():
    generator = np.random.default_rng(0)
    first, second = (generator.normal(size=(40, d)).astype(np.float32) for d in (8, 5))

    def nearest(vectors, row):
        cosines = [
            -np.inf if other == row else v @ vectors[row] / np.linalg.norm(v) / np.linalg.norm(vectors[row])
            for other, v in enumerate(vectors)
        ]
        return set(np.argsort(cosines)[-10:].tolist())

    expected = np.mean([len(nearest(first, k) & nearest(second, k)) / 10 for k in range(40)])
    assert shared_neighbours(first, second) == pytest.approx(expected)
    figures = SentenceFigures.of(first, first)
    assert (figures.spearman, figures.neighbours, figures.cosine) == (pytest.approx(1), 1, pytest.approx(1))
    assert SentenceFigures.of(first, -first).cosine == pytest.approx(-1)


def test_interleaving_runs_all_calls_equally_often():
    calls = []
    timed = interleaved({n: lambda n=n: calls.append(n) for n in "abc"}, repeats=7, warmup=2)
    assert sorted(calls) == sorted("abc" * 9)
    assert len({tuple(calls[i : i + 3]) for i in range(0, 27, 3)}) == 3
    for latency in timed.values():
        assert 0 < latency.lower_quartile_ms <= latency.median_ms <= latency.upper_quartile_ms
        assert latency.repeats == 7


@pytest.mark.parametrize("task", ["states", "embedding", "masked"])
def test_what_is_timed_runs(teachers, task):
    teacher = teachers[task]
    calls = task_of(teacher).calls({"choice": student_of(teacher)}, 128)
    with torch.inference_mode():
        assert set(interleaved(calls, repeats=2)) == {"T", "choice"}


def test_what_is_timed_is_the_whole_model(teachers):
    """A head of a language model and a readout count, since they are used."""
    called = []

    def watch(module, name):
        module.register_forward_hook(lambda *_: called.append(name))

    students = {task: student_of(teacher) for task, teacher in teachers.items()}
    watch(students["states"].network, "network")
    watch(students["states"].readout, "readout")
    watch(students["masked"].network.cls, "head")
    with torch.inference_mode():
        found = {task: task_of(teachers[task]).calls({"s": one}, 16)["s"]() for task, one in students.items()}
    assert called == ["network", "readout", "head"]
    assert found["embedding"]["sentence_embedding"].shape == (1, 64)


def test_parameters_of_a_readout_are_counted():
    assert Student(None, SimpleNamespace(), nn.Linear(3, 5)).readout_parameters == 20
    assert Student(None, SimpleNamespace()).readout_parameters == 0
