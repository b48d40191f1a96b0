import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsp.base.errors import InputError
from fsp.finetuning.examples import Example, load_data, majority_share, set_aside

TRAIN = [("a fine film", "good"), ("a dull film", "bad"), ("we loved it", "good")]
DEV = [("what a bore", "bad"), ("what a joy", "good"), ("never again", "bad"), ("see it twice", "good")]
TEST = [("splendid work", "good"), ("shoddy work", "bad")]


def written(path, rows, columns=("text", "label")):
    frame = pd.DataFrame(rows, columns=list(columns))
    if path.suffix == ".json":
        path.write_text(json.dumps(frame.to_dict("records")), encoding="utf-8")
    elif path.suffix in (".jsonl", ".ndjson"):
        path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dict("records")), encoding="utf-8")
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.fixture
def files(tmp_path):
    def make(train=TRAIN, dev=DEV, test=TEST, suffix=".csv", columns=("text", "label")):
        parts = {"train": train, "dev": dev, "test": test}
        return {n: written(tmp_path / f"{n}{suffix}", r, columns) for n, r in parts.items() if r is not None}

    return make


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet"])
def test_every_format_gives_the_same_data(files, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    data = load_data(**files(suffix=suffix))
    assert data.labels == ("bad", "good") and data.final_is == "test"
    assert data.train == tuple(Example((text,), ["bad", "good"].index(label)) for text, label in TRAIN)
    assert data.digest == load_data(**files(suffix=".csv")).digest


def test_number_labels_are_ordered_by_value_and_equal_in_every_format(files):
    rows = [("one", 10), ("two", 9), ("three", 2)]
    csv = load_data(**files(rows, [("four", 9)], [("five", 2)]))
    jsonl = load_data(**files(rows, [("four", 9)], [("five", 2)], ".jsonl"))
    assert csv.labels == jsonl.labels == ("2", "9", "10") and csv.digest == jsonl.digest


def test_pairs_and_named_columns(files):
    rows = [("is it", "yes it is", "1"), ("was it", "no", "0")]
    dev, test = [("will it", "may be", "1")], [("has it", "never", "0")]
    data = load_data(**files(rows, dev, test, columns=("sentence1", "sentence2", "label")))
    assert data.train[0].fields == ("is it", "yes it is")
    data = load_data(**files(rows, dev, test, columns=("a", "b", "gold")), text=["b"], label="gold")
    assert data.train[1] == Example(("no",), 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": ("words", "label")}, "has no column text or sentence .it has: words, label.; name the column"),
        ({"columns": ("text", "gold")}, "train has no column label"),
        ({"train": []}, "train has no rows"),
        ({"dev": []}, "dev has no rows"),
        ({"train": [("a", "x"), ("b", "x")]}, "train has the single label 'x'"),
        ({"dev": [("z", "awful")]}, "dev, row 1: label 'awful' is not among train's .bad, good."),
        ({"train": [("a", "x"), (" ", "y")]}, "train, row 2: text is ' ', not a text"),
        ({"train": [("a", "x"), ("b", "")]}, "train, row 2: label is '', not a label"),
        ({"train": [("1.5", "x"), ("2", "y")]}, "column text holds numbers"),
        ({"dev": [("A  Fine film", "good"), ("else", "bad")]}, "1 of 2 rows of dev are also in train"),
        ({"test": [("what a bore", "bad"), ("what a joy", "bad")]}, "2 of 2 rows of test are also in dev"),
        ({"train": [("a", "x"), (5, "y")], "suffix": ".jsonl"}, "train, row 2: text is 5, not a text"),
        ({"train": [("a", "x"), (None, "y")], "suffix": ".jsonl"}, "train, row 2: text is nan, not a text"),
        ({"train": [("a", "x"), ("b", 1.5)], "suffix": ".jsonl"}, "train, row 2: label is 1.5, not a label"),
        ({"train": [("a", "Good"), ("b", "good"), ("c", "bad")]}, "has 'Good' and 'good', which differ in case alone"),
        ({"train": [("a", True), ("b", 0)], "suffix": ".jsonl"}, "has 'True' and '0'; use truth values or numbers"),
        ({"train": [("a", "false"), ("b", "1")]}, "has 'false' and '1'; use truth values or numbers"),
        ({"dev": [("just one", "good")], "test": None}, "dev has 1 rows, too few to set a third aside"),
    ],
)
def test_unusable_data_is_refused(files, change, message):
    with pytest.raises(InputError, match=message):
        load_data(**files(**change))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"x", "convert it"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"text,label\n\xff\xfe,1\n", "is not UTF-8 text"),
        ("a.csv", b'text,label\n"x,1,2\n', "line 2: the quotation marks of this row do not pair"),
        ("a.jsonl", b"{", "line 1 is not valid JSON"),
        ("a.parquet", b"no", "pip install pyarrow|cannot read .* as parquet"),
    ],
)
def test_unreadable_files_are_refused(tmp_path, files, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_data(tmp_path / name, files()["dev"])
    with pytest.raises(InputError, match="there is no file"):
        load_data(tmp_path / "nowhere.csv", tmp_path / name)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1)), min_size=6, max_size=60), st.integers(0, 9))
def test_a_third_is_set_aside_and_equal_texts_stay_together(rows, seed):
    dev = [Example((f"text {number}",), label) for number, label in rows]
    texts = {one.fields for one in dev}
    if len(texts) < 3:
        return
    compared, aside = set_aside(dev, seed)
    assert sorted(map(repr, [*compared, *aside])) == sorted(map(repr, dev))
    assert not {one.fields for one in compared} & {one.fields for one in aside}
    assert len({one.fields for one in aside}) == len(texts) // 3
    assert (compared, aside) == set_aside(dev, seed)


def test_what_is_set_aside_has_the_labels_in_proportion():
    dev = [Example((f"text {i}",), int(i % 4 == 0)) for i in range(120)]
    _, aside = set_aside(dev, seed=1)
    assert len(aside) == 40 and sum(one.label for one in aside) == 10
    assert majority_share(dev) == 0.75


def lines(suffix, rows, odd=""):
    if suffix == ".tsv":
        return "sentence\tlabel\n" + "".join(
            f"{odd if k == 1 else ''}{text}\t{label}\n" for k, (text, label) in enumerate(rows)
        )
    return "".join(json.dumps({"text": text + odd, "label": label}, ensure_ascii=False) + "\n" for text, label in rows)


@pytest.mark.parametrize(("suffix", "odd"), [(".tsv", '"'), (".jsonl", "\u2028x"), (".jsonl", "\x85x"), (".tsv", "")])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_no_row_is_swallowed(tmp_path, suffix, odd, mark):
    for name, rows in (("train", TRAIN), ("dev", DEV), ("test", TEST)):
        (tmp_path / f"{name}{suffix}").write_text(mark + lines(suffix, rows, odd), encoding="utf-8")
    data = load_data(*(tmp_path / f"{name}{suffix}" for name in ("train", "dev", "test")))
    assert (len(data.train), len(data.dev), len(data.final)) == (len(TRAIN), len(DEV), len(TEST))
    assert [odd in one.fields[0] for one in data.train] == [
        True if suffix == ".jsonl" else not odd or k == 1 for k in range(3)
    ]


def test_zero_and_zero_point_zero_are_one_label(files):
    data = load_data(**files([("a", "0"), ("b", "1"), ("c", "0.0"), ("d", "1.")], [("e", "0.00")], [("f", "1.0")]))
    assert data.labels == ("0", "1") and [one.label for one in data.train] == [0, 1, 0, 1]


def test_categories_and_nullable_numbers_of_parquet_are_read_as_what_they_say(tmp_path):
    pytest.importorskip("pyarrow")
    for kind, labels in (("category", ("bad", "good")), ("Int64", ("0", "1")), ("boolean", ("False", "True"))):
        paths = []
        for name, rows in (("train", TRAIN), ("dev", DEV), ("test", TEST)):
            frame = pd.DataFrame(rows, columns=["text", "label"])
            given = frame["label"] if kind == "category" else (frame["label"] == "good").astype(kind)
            frame["label"] = given.astype(kind)
            paths.append(tmp_path / f"{name}_{kind}.parquet")
            frame.to_parquet(paths[-1])
        data = load_data(*paths)
        assert data.labels == labels and [one.label for one in data.train] == [1, 0, 1]
    frame["label"] = frame["label"].where(frame["label"], None)
    frame.to_parquet(paths[-1])
    with pytest.raises(InputError, match="test, row 2: label is None, not a label"):
        load_data(*paths)


def test_values_that_moved_to_the_next_column_are_refused(tmp_path, files):
    """Three values below two names: pandas takes the first for the name of the row, and the label for the text."""
    path = tmp_path / "shifted.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label},annotator\n" for text, label in TRAIN))
    with pytest.raises(InputError, match=r"line 2 has 3 fields, and the header has 2 .text, label."):
        load_data(path, files()["dev"])


@given(
    st.lists(
        st.tuples(st.text(min_size=1, max_size=9), st.one_of(st.integers(), st.text(max_size=4), st.booleans())),
        min_size=2,
        max_size=9,
    )
)
def test_json_labels_of_any_kind_are_read_or_refused_and_no_row_is_lost(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("any")
    train = folder / "train.jsonl"
    train.write_text("".join(json.dumps({"text": "a " + text, "label": label}) + "\n" for text, label in rows))
    dev = folder / "dev.jsonl"
    dev.write_text("".join(json.dumps({"text": f"{k} other", "label": rows[0][1]}) + "\n" for k in range(3)))
    try:
        data = load_data(train, dev)
    except InputError as refused:
        said = str(refused)
    else:
        said = ""
        assert len(data.train) == len(rows)
        assert [data.labels[one.label].rstrip(".0") for one in data.train] == [
            str(label).strip().rstrip(".0") for _, label in rows
        ]
    assert len(said.splitlines()) <= 1
