import json
import resource
import sys
from itertools import count, islice
from types import SimpleNamespace

import numpy as np
import pytest

from fsp.base.errors import InputError
from fsp.distillation.pretraining.documents import find_sources
from fsp.distillation.pretraining.packed import Stream, _tokenised, pack


def passages(*corpus, column=None):
    return [p for source in find_sources(corpus, column=column) for p in source.passages()]


def text_of(found):
    return "".join(p.text for p in found)


def test_files_and_folders_come_back_whole_and_in_order(tmp_path, corpus):
    text = (corpus / "docs.txt").read_text()
    assert text_of(passages(corpus / "docs.txt")).split() == text.split()
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.txt").write_text("first ")
    (tmp_path / ".hidden").write_text("no")
    (tmp_path / "empty.txt").touch()
    assert text_of(passages(tmp_path)) == "first second"


def test_passages_are_short_whatever_the_lines(tmp_path):
    (tmp_path / "one_line.txt").write_text("word " * 100_000)
    (tmp_path / "many.txt").write_text(
        "\n\n".join(["A paragraph of some length, five hundred characters. " * 10] * 200)
    )
    for name in ("one_line.txt", "many.txt"):
        found = passages(tmp_path / name)
        assert text_of(found) == (tmp_path / name).read_text()
        assert max(len(p.text) for p in found) <= 8000
        assert {p.document for p in found} == {1}
    assert all(p.text.startswith("A paragraph") for p in passages(tmp_path / "many.txt"))


def test_hub_data_is_streamed(monkeypatch):
    """By a stand-in for the package, which would ask the network; its data never ends."""
    asked = []

    def load_dataset(*given, **named):
        asked.append((given, named))
        return ({"body": f"document {k} " + "word " * 300} for k in count())

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    (source,) = find_sources(["owner/data:en"], column="body")
    assert not asked
    assert [one.text[:10] for one in islice(source.passages(), 3)] == ["document 0", "document 1", "document 2"]
    assert asked == [(("owner/data", "en"), {"split": "train", "streaming": True})]
    (other,) = find_sources(["owner/data"])
    assert next(other.passages()).text.startswith("document 0")
    (missing,) = find_sources(["owner/data"], column="text")
    with pytest.raises(InputError, match=r"row 1 has no column 'text' .it has: body.; name the column"):
        next(missing.passages())


def test_jsonl_and_parquet_rows_are_documents(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    rows = [{"body": f"Document {i}. " * 200, "n": i} for i in range(5)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "\n")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "d.parquet")
    for name in ("d.jsonl", "d.parquet"):
        found = passages(tmp_path / name, column="body")
        assert len({p.document for p in found}) == 5
        assert text_of(found) == "".join(row["body"] for row in rows)
        assert passages(tmp_path / name) == found  # the only column of strings
    with pytest.raises(InputError, match=r"line 1 has no column 'text' .it has: body, n.; name the column .* --column"):
        passages(tmp_path / "d.jsonl", column="text")
    with pytest.raises(InputError, match=r"row 1 has no column 'text' .it has: body, n.; name"):
        passages(tmp_path / "d.parquet", column="text")
    with pytest.raises(InputError, match="row 1 has 0 under 'n' instead of text; name"):
        passages(tmp_path / "d.parquet", column="n")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "is empty; leave it out"),
        ("nul.txt", b"abc\0def", "binary file"),
        ("latin.txt", "caf\xe9".encode("latin-1") * 10, "is not UTF-8 text"),
        ("bad.jsonl", b'{"text": "a"}\n{"text": ', "line 2 is not valid JSON"),
        ("bad.jsonl", b'{"text": 3}\n', "line 1 has 3 under 'text' instead of text"),
        ("bad.jsonl", b"[1]\n", "line 1 is not a JSON object"),
        ("bad.parquet", b"PAR1 nothing", "cannot read .* as parquet"),
    ],
)
def test_what_is_no_text_is_named(tmp_path, name, content, message):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as problem:
        passages(tmp_path / name)
    assert name in str(problem.value)


def test_missing_corpora_are_named(tmp_path, tokenizers):
    with pytest.raises(InputError, match="no such file"):
        find_sources([tmp_path / "nothing.txt"])
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="has no text"):
        find_sources([tmp_path / "folder"])
    (tmp_path / "blank.txt").write_text("\n \n")
    with pytest.raises(InputError, match="the corpus has no text"):
        pack(find_sources([tmp_path / "blank.txt"]), tokenizers["word"], tmp_path / "c", length=16)
    (tmp_path / "short.txt").write_text("A few words.")
    with pytest.raises(InputError, match="the corpus is too small"):
        pack(find_sources([tmp_path / "short.txt"]), tokenizers["word"], tmp_path / "c", length=16)


@pytest.fixture(scope="module")
def packed(corpus, tokenizers, tmp_path_factory):
    return pack(find_sources([corpus]), tokenizers["word"], tmp_path_factory.mktemp("packed"), length=32)


def test_the_streams_hold_every_token_once(packed, corpus, tokenizers):
    tokenizer = tokenizers["word"]
    text = (corpus / "docs.txt").read_text()
    ids = np.array(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    kept = [np.asarray(s.tokens) for s in (packed.train, packed.held_out)]
    inner = np.concatenate([part[part != tokenizer.sep_token_id] for part in kept])
    assert (np.bincount(inner, minlength=2000) == np.bincount(ids, minlength=2000)).all()
    assert 0.005 < len(kept[1]) / len(inner) < 0.06
    assert packed.facts["text_bytes"] == len(text.encode())


def test_blocks_are_full_and_framed(packed, tokenizers):
    rows = np.arange(len(packed.train))
    blocks = packed.train.take(rows)
    assert blocks.shape == (len(packed.train), 32)
    assert (blocks[:, 0] == tokenizers["word"].cls_token_id).all()
    assert (blocks[:, -1] == tokenizers["word"].sep_token_id).all()
    assert (blocks[:, 1:-1].ravel() == packed.train.tokens[: 30 * len(rows)]).all()
    plain = Stream(packed.train.tokens, 32, None, 3)
    assert (plain.take(np.array([1]))[0] == packed.train.tokens[32:64]).all()


def test_repeated_text_is_never_in_both_parts(tmp_path, tokenizers):
    paragraph = {i: f"Paragraph {i} about something else entirely. " * 30 for i in range(200)}
    (tmp_path / "t.txt").write_text("\n\n".join(paragraph[i % 200] for i in range(800)))
    (source,) = find_sources([tmp_path / "t.txt"])
    parts = {}
    for part, ids, passage in _tokenised(source.passages(), tokenizers["word"]):
        assert ids
        parts.setdefault(passage.text.strip(), set()).add(part)
    assert len(parts) == 200
    assert all(len(found) == 1 for found in parts.values())
    assert {next(iter(found)) for found in parts.values()} == {"train", "held_out"}


def test_it_is_done_once_and_follows_the_text_and_the_tokenizer(tmp_path, corpus, tokenizers, monkeypatch):
    source = tmp_path / "t.txt"
    source.write_text((corpus / "docs.txt").read_text()[:300_000])
    first = pack(find_sources([source]), tokenizers["word"], tmp_path / "c", length=32)
    with monkeypatch.context() as patch:
        patch.setattr("fsp.distillation.pretraining.packed._write", None)
        again = pack(find_sources([source]), tokenizers["word"], tmp_path / "c", length=64)
    assert again.digest == first.digest
    assert pack(find_sources([source]), tokenizers["byte"], tmp_path / "c", length=32).digest != first.digest
    source.write_text((corpus / "docs.txt").read_text()[:200_000])
    assert pack(find_sources([source]), tokenizers["word"], tmp_path / "c", length=32).digest != first.digest


def test_a_truncated_stream_is_named(tmp_path, corpus, tokenizers):
    pack(find_sources([corpus]), tokenizers["word"], tmp_path, length=32)
    (path,) = tmp_path.glob("text-*/train.bin")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"train.bin is damaged"):
        pack(find_sources([corpus]), tokenizers["word"], tmp_path, length=32)
    assert path.exists()


def test_memory_stays_flat(tmp_path, tokenizers):
    """40 MB of text in far less memory than it takes: the peak of the process hardly rises."""
    with (tmp_path / "big.txt").open("w") as file:
        for i in range(40_000):
            file.write(f"Line {i} of a text that is long enough to show whether it is held in memory.\n" * 13)
    small = tmp_path / "small.txt"
    small.write_text((tmp_path / "big.txt").open().read(2_000_000))
    pack(find_sources([small]), tokenizers["word"], tmp_path / "c", length=32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    total = sum(len(p.text) for p in find_sources([tmp_path / "big.txt"])[0].passages())
    assert total == (tmp_path / "big.txt").stat().st_size
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000
