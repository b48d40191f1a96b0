import numpy as np
import pytest
import torch

from fsp.base.errors import InputError, RunFailed
from fsp.distillation.losses import TopLogits, divergence
from fsp.distillation.masking import Masking, PassMasking
from fsp.distillation.pretraining.batches import Batches
from fsp.distillation.pretraining.models import LanguageModel
from fsp.distillation.pretraining.packed import Stream
from fsp.distillation.pretraining.teacher_cache import CachedTeacher, Layout
from fsp.distillation.pretraining.teacher_outputs import LiveTeacher

from .conftest import small_network

KEY = {"teacher": "abc", "corpus": "def"}
BLOCKS = 20
PLACES = np.arange(4)


class Counted:
    def __init__(self, live):
        self._live, self.relations, self.blocks = live, live.relations, 0

    def __call__(self, batch):
        self.blocks += len(batch.tokens)
        return self._live(batch)


@pytest.fixture
def live():
    return Counted(LiveTeacher(LanguageModel(small_network("bert")), logits=True, states=True))


@pytest.fixture
def batches():
    tokens = np.random.default_rng(0).integers(5, 2000, size=14 * BLOCKS).astype(np.uint16)
    return Batches(Stream(tokens, 16, 2, 3), PassMasking(Masking(4, (0, 1, 2, 3, 4), 2000), 0.25, 0), False, 0)


def layout(batches, **other):
    return Layout(
        **{
            **dict(
                blocks=BLOCKS, positions=batches.positions_a_block, top=8, temperature=2.0, width=32, vocabulary=2000
            ),
            **other,
        }
    )


def test_what_comes_back_is_what_the_teacher_says(tmp_path, live, batches):
    cached = CachedTeacher(live, tmp_path, layout(batches), KEY)
    batch = batches.at(PLACES)
    taught, asked = cached(batch), live(batch)
    expected = TopLogits.of(asked.logits(slice(None)), 8, 2.0)
    assert torch.equal(taught.top.ids, expected.ids)
    assert torch.equal(taught.top.log_probabilities, expected.log_probabilities)
    assert torch.allclose(taught.top.log_tail, expected.log_tail)
    assert torch.allclose(taught.states, asked.states, atol=2e-3)
    logits = torch.randn(len(batch.positions), 2000)
    rows = slice(3, 7)
    near = CachedTeacher(live, tmp_path / "all", layout(batches, top=2000), KEY)(batch)
    assert near.divergence(logits[rows], rows, 2.0)[0].item() == pytest.approx(
        asked.divergence(logits[rows], rows, 2.0)[0].item(), rel=0.01
    )


def test_the_divergence_is_a_lower_bound_of_the_live_one(tmp_path, live, batches):
    """For students that agree about the tail too, where the bound is the divergence itself but for rounding."""
    batch = batches.at(PLACES)
    asked = live(batch)
    wanted = asked.logits(slice(None)).double()
    likely = wanted.topk(8, dim=-1).indices
    for top, temperature in ((8, 1.0), (8, 2.0), (2000, 2.0)):
        cached = CachedTeacher(
            live, tmp_path / f"{top}-{temperature}", layout(batches, top=top, temperature=temperature), KEY
        )(batch)
        for seed in range(100):
            noise = torch.randn(likely.shape, generator=torch.Generator().manual_seed(seed)).double()
            student = wanted.scatter_add(-1, likely, noise * 0.1 * (1 + seed))
            for row in range(0, len(student), 5):
                rows = slice(row, row + 1)
                bound = cached.divergence(student[rows], rows, temperature)[0].item()
                whole = divergence(student[rows], wanted[rows], temperature)[0].item()
                assert bound <= whole + 1e-6 * max(1.0, whole)


def test_a_cache_of_an_older_format_is_named_as_such(tmp_path, live, batches):
    CachedTeacher(live, tmp_path, layout(batches), KEY)
    path = tmp_path / "cache.json"
    path.write_text(path.read_text().replace('"version": 2', '"version": 1'))
    with pytest.raises(InputError, match=r"written by another version of fsp .*remove it or choose another") as refusal:
        CachedTeacher(live, tmp_path, layout(batches), KEY)
    assert "\n" not in str(refusal.value) and path.exists()


def test_nothing_is_computed_twice_and_what_is_missing_is_added(tmp_path, live, batches):
    first = CachedTeacher(live, tmp_path, layout(batches), KEY)
    kept = first(batches.at(PLACES))
    assert live.blocks == first.computed == 4
    again = CachedTeacher(live, tmp_path, layout(batches), KEY)
    same = again(batches.at(PLACES[::-1].copy()))
    assert live.blocks == 4 and again.computed == 0
    count = batches.positions_a_block
    assert torch.equal(same.top.ids[:count], kept.top.ids[-count:])
    again(batches.at(np.arange(2, 6)))  # two are there, two are not
    assert live.blocks == 8
    again(batches.at(PLACES + BLOCKS))  # another pass has other masks
    assert live.blocks == 12
    again(batches.at(np.arange(6)))
    assert live.blocks == 12


def test_only_what_is_asked_is_kept(tmp_path, live, batches):
    CachedTeacher(live, tmp_path / "a", layout(batches, width=0), KEY)(batches.at(PLACES))
    assert {p.suffix for p in (tmp_path / "a").glob("pass-*")} == {".ids", ".log-probabilities", ".log-tails", ".done"}
    CachedTeacher(live, tmp_path / "b", layout(batches, top=0), KEY)(batches.at(PLACES))
    assert {p.suffix for p in (tmp_path / "b").glob("pass-*")} == {".states", ".done"}


def test_foreign_caches_are_refused(tmp_path, live, batches):
    CachedTeacher(live, tmp_path, layout(batches), KEY)
    with pytest.raises(InputError, match="teacher is abc, not xyz"):
        CachedTeacher(live, tmp_path, layout(batches), {**KEY, "teacher": "xyz"})
    with pytest.raises(InputError, match=r"temperature is 2\.0, not 1\.0"):
        CachedTeacher(live, tmp_path, layout(batches, temperature=1.0), KEY)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious").touch()
    with pytest.raises(InputError, match="neither empty nor a teacher cache"):
        CachedTeacher(live, tmp_path / "other", layout(batches), KEY)
    assert (tmp_path / "other" / "precious").exists()


@pytest.mark.parametrize("name", ["ids", "done", "states"])
def test_truncated_or_missing_files_are_named_and_nothing_is_deleted(tmp_path, live, batches, name):
    CachedTeacher(live, tmp_path, layout(batches), KEY)(batches.at(PLACES))
    path = tmp_path / f"pass-0.{name}"
    before = sorted(p.name for p in tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=rf"pass-0\.{name} is damaged"):
        CachedTeacher(live, tmp_path, layout(batches), KEY)(batches.at(PLACES))
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    if name != "done":
        path.unlink()
        with pytest.raises(InputError, match=rf"pass-0\.{name} is damaged or gone"):
            CachedTeacher(live, tmp_path, layout(batches), KEY)(batches.at(PLACES))


def test_a_full_disk(tmp_path, live, batches, monkeypatch):
    cached = CachedTeacher(live, tmp_path, layout(batches), KEY)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("fsp.distillation.pretraining.teacher_cache.os.pwrite", full)
        with pytest.raises(RunFailed, match="No space left"):
            cached(batches.at(PLACES))
    cached(batches.at(PLACES))
    assert live.blocks == 8  # nothing was marked as done


def test_relations_are_not_cached(tmp_path, batches):
    live = LiveTeacher(LanguageModel(small_network("bert")), True, False, relations=True)
    with pytest.raises(InputError, match="cannot hold attention relations"):
        CachedTeacher(live, tmp_path, layout(batches), KEY)
