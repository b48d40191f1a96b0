import copy

import numpy as np
import pytest
import torch

from fsp.base.errors import InputError
from fsp.base.timing import interleaved
from fsp.distillation.measuring import embeddings, latencies, pooled, pooled_states, similarity_agreement
from fsp.distillation.saving import keep_student, load_student, save_student
from fsp.distillation.student import Student
from fsp.distillation.teacher import load_teacher
from fsp.families.bert.cutter import Cutter

SENTENCES = ["Return the current file position.", "A list of all matches.", "Parse the arguments.", "Cats sleep a lot."]


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory):
    teacher = load_teacher(tiny.teacher)
    tokens = torch.randint(5, 30522, (8, 16), generator=torch.Generator().manual_seed(0))
    student = Student(Cutter(teacher.model, tokens).cut({"D": 2, "A": 2, "H": 16, "I": 32}), 32).eval()
    folder = tmp_path_factory.mktemp("student") / "model"
    save_student(student, teacher, folder, {"architecture": "D=2 A=2 H=16 I=32", "error": 0.5})
    return teacher, student, folder


def test_auto_classes_load_it_whole(saved):
    from transformers import AutoModel, AutoTokenizer

    _, student, folder = saved
    model, info = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    batch = AutoTokenizer.from_pretrained(folder)(SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(model(**batch).last_hidden_state, student.encoder(**batch).last_hidden_state)


def test_sentence_transformers_gives_our_embeddings(saved):
    from sentence_transformers import SentenceTransformer

    teacher, student, folder = saved
    theirs = SentenceTransformer(str(folder), device="cpu").encode(SENTENCES)
    ours = pooled_states(student, teacher.layout, SENTENCES)
    assert theirs.shape == (4, 32)
    assert np.allclose(theirs, ours / np.linalg.norm(ours, axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("fitted", [False, True])
def test_a_kept_student_comes_back_exactly_with_every_readout(saved, tmp_path, fitted):
    _, student, _ = saved
    student = copy.deepcopy(student)
    student.sentence_readout = torch.nn.Linear(32, 64) if fitted else None  # of two pooling modes
    keep_student(student, tmp_path / "student")
    again = load_student(tmp_path / "student")
    ours, theirs = student.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert fitted == ("sentence_readout.weight" in ours)


def test_a_failed_save_leaves_the_old_model_and_nothing_else(saved, tmp_path, monkeypatch):
    teacher, student, folder = saved
    assert [p.name for p in folder.parent.iterdir()] == ["model"]
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()

    def full(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr("sentence_transformers.SentenceTransformer.save", full)
    with pytest.raises(OSError, match="No space"):
        save_student(student, teacher, tmp_path / "model", {})
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "old").exists()


def test_no_student_no_crash(tmp_path):
    with pytest.raises(InputError, match="holds no student"):
        load_student(tmp_path)


def test_pooling_ignores_padding():
    states = torch.arange(12.0).view(1, 3, 4)
    assert torch.equal(pooled(states, torch.tensor([[1, 1, 0]])), states[:, :2].mean(dim=1))


def test_embeddings_keep_the_order_of_the_sentences(tiny):
    teacher = load_teacher(tiny.teacher)
    together = embeddings(teacher.model, teacher.tokenizer, SENTENCES)
    alone = [embeddings(teacher.model, teacher.tokenizer, [s])[0] for s in SENTENCES]
    assert np.allclose(together, alone, atol=1e-5)


def test_agreement_of_similarities():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(30, 8)).astype(np.float32)
    rotation, _ = np.linalg.qr(generator.normal(size=(8, 8)))
    assert similarity_agreement(vectors, (3 * vectors @ rotation).astype(np.float32)) > 0.999
    assert abs(similarity_agreement(vectors, generator.normal(size=(30, 8)).astype(np.float32))) < 0.3


def test_interleaving_runs_all_calls_equally_often():
    calls = []
    timed = interleaved({n: lambda n=n: calls.append(n) for n in "abc"}, repeats=7, warmup=2)
    assert sorted(calls) == sorted("abc" * 9)
    assert len({tuple(calls[i : i + 3]) for i in range(0, 27, 3)}) == 3
    for latency in timed.values():
        assert 0 < latency.lower_quartile_ms <= latency.median_ms <= latency.upper_quartile_ms
        assert latency.repeats == 7


def test_latency_of_teacher_and_students(saved):
    teacher, student, _ = saved
    assert set(latencies(teacher, {"choice": student}, repeats=2)) == {"T", "choice"}
