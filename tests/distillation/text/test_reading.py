"""Text of every format: what a corpus holds does not depend on the file that it is kept in."""

import csv
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import fsp

from fsp.base.errors import InputError
from fsp.distillation.pretraining.documents import find_sources
from fsp.distillation.text.corpus import Corpus, read_corpus
from fsp.distillation.text.reading import pieces
from fsp.distillation.text.rows import read_rows
from fsp.distillation.text.segmentation import sentences

FORMATS = [".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet"]
many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path, rows, mark=""):
    """Rows as the usual libraries write them."""
    if path.suffix == ".parquet":
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(rows), path)
        return path
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(mark)
        if path.suffix == ".json":
            json.dump(rows, file, indent=1)
        elif path.suffix in (".csv", ".tsv"):
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return path


@pytest.fixture(scope="module")
def paragraphs(tiny):
    text = "\n\n".join(read_corpus([tiny.corpus]))[:60_000]
    found = [part.strip() for part in text.split("\n\n") if part.strip()]
    return [*found, 'He said "so", and\nwent; "why"?', 'A quotation "that nobody closed, and more.']


@pytest.fixture(params=FORMATS)
def written(request, tmp_path, paragraphs):
    rows = [
        {"id": f"{i:08d}-9f3a", "url": f"https://example.org/doc/{i}", "text": text, "lang": "en", "score": 0.1 * i}
        for i, text in enumerate(paragraphs)
    ]
    return write(tmp_path / f"corpus{request.param}", rows)


@pytest.fixture
def plain(tmp_path, paragraphs):
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(paragraphs), encoding="utf-8")
    return path


def test_the_same_text_in_every_format_is_the_same_corpus(written, plain):
    (found,), (wanted,) = read_corpus([written]), read_corpus([plain])
    assert sentences([found]) == sentences([wanted]) and "example.org" not in found
    assert Corpus.of([found]).digest == Corpus.of([wanted]).digest


def test_pretraining_reads_the_same_text(written, plain):
    def words(path):
        return " ".join(p.text for source in find_sources([path]) for p in source.passages()).split()

    assert words(written) == words(plain) == read_corpus([written])[0].split()


@pytest.mark.parametrize("suffix", [*FORMATS, ".txt"])
@pytest.mark.parametrize("reader", ["corpus", "pretraining"])
def test_a_byte_order_mark_is_no_text(tmp_path, suffix, reader):
    path = tmp_path / f"a{suffix}"
    if suffix == ".txt":
        path.write_text("\ufeffOne line of text.", encoding="utf-8")
    else:
        write(path, [{"text": "One line of text."}], "\ufeff")
    found = read_corpus([path]) if reader == "corpus" else [p.text for s in find_sources([path]) for p in s.passages()]
    assert found == ["One line of text."]


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_only_column_of_strings_is_the_text(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", [{"n": k, "body": f"Document {k}.", "score": 0.5} for k in range(3)])
    assert read_corpus([path]) == ["Document 0.\n\nDocument 1.\n\nDocument 2."]
    two = write(tmp_path / f"b{suffix}", [{"title": "One", "body": "Two words.", "n": 3}])
    with pytest.raises(InputError, match=r"several columns of strings \(title, body\).*--column") as refused:
        read_corpus([two])
    assert "b" + suffix in str(refused.value) and len(str(refused.value).splitlines()) == 1
    assert read_corpus([two], "body") == ["Two words."]
    none = write(tmp_path / f"c{suffix}", [{"n": 1, "m": 2}])
    with pytest.raises(InputError, match="none of strings"):
        read_corpus([none])
    with pytest.raises(InputError, match="has no column 'gone'"):
        read_corpus([two], "gone")


def test_rows_without_text_are_left_out_and_other_values_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n{"text": null}\n{"text": ""}\n{"text": "two"}\n')
    assert read_corpus([path]) == ["one\n\ntwo"]
    path.write_text('{"text": "one"}\n\n{"text": 3}\n')
    with pytest.raises(InputError, match="line 3 has 3 under 'text' instead of text"):
        read_corpus([path])
    path.write_text('{"text": "one"}\n{"txt": "two"}\n')
    with pytest.raises(InputError, match="line 2 has no column 'text'"):
        read_corpus([path])


cells = st.text(st.characters(exclude_characters="\t\r\n\0", exclude_categories=["Cs"]), max_size=20)


@many
@given(st.lists(st.text(st.characters(), max_size=40), min_size=1, max_size=8), st.booleans())
def test_json_lines_lose_no_row_and_add_none(tmp_path, strings, escaped):
    path = tmp_path / "a.jsonl"
    lines = [json.dumps({"text": string}, ensure_ascii=escaped) for string in strings]
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass" if escaped else "replace"))
    wanted = [s.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for s in strings]
    found = [row.values["text"] for row in read_rows(path)]
    if escaped:
        assert found == wanted
    assert len(found) == len(strings)
    "".join(found).encode()


@many
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_plain_tsv_loses_no_row_and_adds_none(tmp_path, rows, end):
    """Quotation marks wherever they are: never more or fewer rows, and cells but for quotes that each line closes."""
    path = tmp_path / "a.tsv"
    path.write_bytes(end.join("\t".join(row) for row in [("text", "other"), *rows]).encode())
    found = [tuple(row.values.values()) for row in read_rows(path)]
    assert [[c.replace('"', "") for c in row] for row in found] == [[c.replace('"', "") for c in row] for row in rows]


@many
@given(
    st.lists(st.tuples(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), cells), min_size=1),
    st.sampled_from([".csv", ".tsv"]),
)
def test_tables_as_csv_writes_them_come_back(tmp_path, rows, suffix):
    if suffix == ".tsv":  # a cell with tabs and line ends can look like rows of text with quotation marks
        rows = [(a.replace("\t", " "), b) for a, b in rows]
    path = write(tmp_path / f"a{suffix}", [{"text": a, "other": b} for a, b in rows])
    assert [(row.values["text"], row.values["other"]) for row in read_rows(path)] == rows


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", 'text,label\nfine,1\n"open,1\nnext,0\n', "line 3: the quotation marks of this row do not pair"),
        ("a.csv", 'text,label\n"so \\"called\\" film",1\n', "line 2: the quotation marks of this row do not pair"),
        ("a.csv", 'text,label\n"a\nb",1\n"c",0,x\n', "line 4 has 3 fields, and the header has 2"),
        ("a.csv", "text,label\nshort\n", "line 2 has 1 fields, and the header has 2"),
        ("a.csv", "text,label,label\na,1,0\n", "names 'label' 2 times"),
        ("a.tsv", 'text\tlabel\n"open\t1\nnext 0\n', "line 2: the quotation marks of this row do not pair"),
        ("a.csv", "", "is empty"),
        ("a.csv", "text\nsome\0text\n", "binary"),
        ("a.json", '{"data": [1]}', "none of strings"),
        ("a.json", '[{"text": "a"}, 3]', "row 2 is not a JSON object"),
        ("a.jsonl", '{"text": "a", "text": "b"}', "names 'text' 2 times"),
        ("a.jsonl", '{"text": "a"}\n["b"]', "line 2 is not a JSON object"),
        ("a.jsonl", '{"text": "a"}\n{', "line 2 is not valid JSON"),
        ("a.csv", "text\ncaf\xe9\n", r"not UTF-8 text \(byte 8\)"),
        ("a.txt", "x" * 99_998 + "\xe9", r"not UTF-8 text \(byte 99998\)"),
        ("a.jsonl", '{"text": "caf\xe9"}\n', "not UTF-8"),
    ],
)
def test_what_would_be_misread_is_refused_with_its_line(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=says) as refused:
        read_corpus([path])
    assert str(path) in str(refused.value)
    with pytest.raises(InputError, match=says):
        list(find_sources([path])[0].passages()) if content else list(pieces(path))


def test_other_separators_and_names_of_rows(tmp_path):
    (tmp_path / "a.csv").write_text('text;label\n"a, b";1\n')
    (tmp_path / "b.csv").write_text('text,label\n1,"a, b",1\n2,c,0\n')
    (tmp_path / "c.csv").write_text("text, label\na,1\n")
    rows = {name: [row.values for row in read_rows(tmp_path / f"{name}.csv")] for name in "abc"}
    assert rows["a"] == [{"text": "a, b", "label": "1"}]
    assert rows["b"] == [{"": "1", "text": "a, b", "label": "1"}, {"": "2", "text": "c", "label": "0"}]
    assert rows["c"] == [{"text": "a", "label": "1"}]


@pytest.fixture(scope="module")
def kept(tiny, tmp_path_factory):
    """The same text as plain text and in rows; in the last of them no column is called `text`."""
    folder = tmp_path_factory.mktemp("kept")
    found = [part for part in "\n\n".join(read_corpus([tiny.corpus]))[:400_000].split("\n\n") if part.strip()]
    rows = [{"text": part, "url": f"https://example.org/{k}"} for k, part in enumerate(found)]
    (folder / "a.txt").write_text("\n\n".join(found), encoding="utf-8")
    write(folder / "a.jsonl", rows)
    write(folder / "a.csv", [{"body": row["text"], "url": row["url"]} for row in rows])
    return folder


def test_a_search_finds_the_same_in_every_format(tiny, kept):
    def answers(*corpus):
        options = ["--teacher", tiny.teacher, "--threads", 1, "--steps", 0, "--interval", 4, "--corpus", *corpus]
        done = fsp("extract", tiny.space_file, *options, "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        return [{k: v for k, v in row.items() if k != "seconds"} for row in told["evaluations"]]

    assert answers(kept / "a.txt") == answers(kept / "a.jsonl") == answers(kept / "a.csv", "--column", "body")


def test_the_short_distillation_reads_a_named_column_and_stays_short(tiny, kept, tmp_path):
    shape = ["D=1,A=2,H=16,I=16", "--tokens", 4096, "--teacher", tiny.teacher, "--threads", 1, "--json"]
    found = []
    for name, more in (("a.txt", []), ("a.csv", ["--column", "body"])):
        done = fsp("distill", *shape, "--out", tmp_path / name, "--corpus", kept / name, *more)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
        found[-1].pop("model")
    assert found[0] == found[1] and found[0]["distillation_tokens"] >= 4096


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('"text, the body";label\n"hello, there";1\n', [{"text, the body": "hello, there", "label": "1"}]),
        (
            "text;label\nhello, there;1\nbye;0\n",
            [{"text": "hello, there", "label": "1"}, {"text": "bye", "label": "0"}],
        ),
        ("text, the body;label\nhello, there;1\n", None),
    ],
)
def test_the_separator_is_the_one_that_makes_rows_whole(tmp_path, text, rows):
    path = tmp_path / "t.csv"
    path.write_text(text)
    if rows is None:
        with pytest.raises(InputError, match="can be read with ',' and with ';'"):
            list(read_rows(path))
    else:
        assert [row.values for row in read_rows(path)] == rows
