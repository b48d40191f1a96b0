import pytest

from fsp.base.errors import InputError
from fsp.distillation.text.corpus import Corpus, pack, read_corpus, standard_library
from fsp.distillation.text.segmentation import sentences


@pytest.fixture(scope="module")
def library():
    return standard_library()


@pytest.fixture(scope="module")
def tokenizer(minilm_folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(minilm_folder)


def test_the_standard_library_is_real_text(library):
    assert sum(map(len, library)) > 1_500_000
    assert any("json" in text.lower() for text in library)


def test_splits_are_disjoint_and_depend_on_the_text_alone(library):
    corpus = Corpus.of(library)
    again = Corpus.of(reversed(library))
    for part in ("train", "validation", "test"):
        words, others = ([p.split() for p in getattr(c, part)] for c in (corpus, again))
        assert sorted(words) == sorted(others)
    assert not set(corpus.train) & set(corpus.test)
    assert not set(corpus.train) & set(corpus.validation)
    assert not set(corpus.validation) & set(corpus.test)
    assert not set(corpus.test_sentences) & set(sentences(corpus.train))
    assert len(corpus.test_sentences) > 512


def test_repeated_passages_are_dropped():
    corpus = Corpus.of(["The same text.", "The  same\ntext.", "Another text."])
    assert len(corpus.train + corpus.validation + corpus.test) == 2


def test_blocks_are_full_and_framed(tokenizer, library):
    blocks = pack(tokenizer, library[:200], 64)
    assert blocks.shape[1] == 64
    assert (blocks[:, 0] == tokenizer.cls_token_id).all()
    assert (blocks[:, -1] == tokenizer.sep_token_id).all()
    assert not (blocks == tokenizer.pad_token_id).any()
    first = tokenizer(library[0], add_special_tokens=False)["input_ids"][:62]
    assert blocks[0, 1 : 1 + len(first)].tolist() == first[:62]
    assert pack(tokenizer, [], 64).shape == (0, 64)
    assert pack(tokenizer, ["too short"], 64).shape == (0, 64)


def test_corpus_files_and_folders(tmp_path):
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "b.md").write_text("second ä", encoding="utf-8")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "c.txt").write_bytes(b"\xff\xfe")
    assert read_corpus([tmp_path]) == ["first", "second ä"]
    assert read_corpus([tmp_path / "a.txt"]) == ["first"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [("x.txt", b"\xff\xfeabc", "not UTF-8"), ("x.bin", b"ab\0c", "binary"), ("x.txt", b"  \n ", "no text")],
)
def test_bad_corpora(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_corpus([tmp_path / name])


def test_missing_and_empty_corpora(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        read_corpus([tmp_path / "nothing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no text"):
        read_corpus([tmp_path / "empty"])
