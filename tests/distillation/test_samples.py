"""Samples of one's own: what is read, what is refused and how it is said, and a split that depends on nothing but them."""

import csv
import json
import pickle
import struct
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fsp.base.errors import InputError
from fsp.distillation.images import decoded
from fsp.distillation.labels import numbered
from fsp.distillation.samples import Samples, read_samples

N = 120
NAMES = {"bad": 0, "good": 1}
VECTORS = np.random.default_rng(0).normal(size=(N, 6)).astype(np.float32)
TEXTS = [f'film {i} was {"good" if i % 2 else "bad"}, "truly"' for i in range(N)]
RAN = []


class Trap:
    """An object that runs code when it is unpickled."""

    def __reduce__(self):
        return RAN.append, (1,)


def rows_of(labels, texts=TEXTS, text="text", label="label"):
    return [{text: one, label: other} for one, other in zip(texts, labels, strict=True)]


def write(path, rows):
    if path.suffix == ".parquet":
        pa = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


def arrays(path, **kept):
    np.savez(path, **kept)
    return path


def picture(path, seed, mode="RGB", size=(7, 5)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def pixels(images):
    """An image processor that does nothing but arrange."""
    found = np.stack([np.asarray(image, dtype=np.float32) for image in images])
    return found[:, None] if found.ndim == 3 else found.transpose(0, 3, 1, 2)


def pairs(samples):
    """Every sample of all parts with its label."""
    found = []
    for part in (samples.train, samples.validation, samples.test):
        labels = [None] * len(part) if part.labels is None else part.labels.tolist()
        keys = [one if isinstance(one, str) else one.tobytes() for one in part.inputs[:]]
        found += zip(keys, labels, strict=True)
    return found


def refused(message, call, *args, **kwargs):
    with pytest.raises(InputError, match=message) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("named", [True, False])
def test_texts_and_labels_are_those_of_the_file_in_every_format(tmp_path, suffix, named):
    labels = [("bad", "good")[i % 2] if named else i % 2 for i in range(N)]
    path = write(tmp_path / f"films{suffix}", rows_of(labels))
    samples = read_samples([path], kind="text", label_ids=NAMES, classes=2)
    assert sorted(pairs(samples)) == sorted((text, i % 2) for i, text in enumerate(TEXTS))


def test_a_column_of_labels_is_no_column_of_text(tmp_path):
    path = write(tmp_path / "a.csv", rows_of(["bad", "good"] * (N // 2), text="sentence", label="labels"))
    assert dict(pairs(read_samples([path], kind="text", label_ids=NAMES)))[TEXTS[1]] == 1


def test_columns_can_be_named(tmp_path):
    rows = [{"id": f"x{i}", "body": text, "stars": i % 3} for i, text in enumerate(TEXTS)]
    path = write(tmp_path / "a.jsonl", rows)
    samples = read_samples([path], kind="text", column="body", label_column="stars", classes=3)
    assert sorted(pairs(samples)) == sorted((text, i % 3) for i, text in enumerate(TEXTS))


def test_texts_without_labels_have_none(tmp_path):
    write(tmp_path / "a.csv", [{"text": text} for text in TEXTS[:60]])
    write(tmp_path / "b.jsonl", [{"text": text} for text in TEXTS[60:]])
    samples = read_samples([tmp_path], kind="text")
    assert sorted(text for text, _ in pairs(samples)) == sorted(TEXTS)
    assert samples.train.labels is None


@pytest.mark.parametrize(
    ("rows", "asked", "message"),
    [
        (rows_of(["bad", "great"] * 60), {}, "label 'great': T has the classes bad, good; use their names"),
        (rows_of(["bad", "2"] * 60), {}, "labels are names such as 'bad' and numbers such as 2"),
        (rows_of([0, 2] * 60), {}, "label 2: T's classes are numbered from 0 to 1"),
        (rows_of([0, -1] * 60), {}, "label -1: T's classes are numbered from 0 to 1"),
        (rows_of(["bad"] * 119 + ["good"]), {}, "class good has one sample; give at least two or leave the labels out"),
        (rows_of([0, 1] * 60), {"label_column": "stars"}, r"has no column 'stars' \(it has: text, label\)"),
        (rows_of([0, 1] * 60), {"column": "body"}, r"has no column 'body' \(it has: text, label\)"),
        (rows_of([0, 1] * 60), {"column": "label", "label_column": "label"}, "column of text and of labels"),
        (rows_of([0, 1] * 59 + [0, None]), {}, "line 120 has no label under 'label'"),
        (rows_of([0, 1] * 59 + [0, [1]]), {}, r"line 120 has \[1\] instead of a label"),
        (rows_of([0, 1] * 60, [*TEXTS[:-1], "  "]), {}, "line 120 has no text under 'text'; fill or remove"),
        (rows_of([0, 1] * 60, [*TEXTS[:-1], None]), {}, "line 120 has no text under 'text'; fill or remove"),
        (rows_of([0, 1] * 60, [*TEXTS[:-1], 5]), {}, "line 120 has 5 under 'text' instead of text"),
        ([row | {"labels": 0} for row in rows_of([0, 1] * 60)], {}, "has the columns label and labels; name"),
        (rows_of([0, 1] * 60)[:63], {}, r"too few samples \(63\); give at least 64"),
        ([], {}, "there are no samples"),
        (rows_of([0, 1] * 60, ["same"] * N), {}, "no sample is left for .*: 1 of 120 samples differ"),
    ],
)
def test_texts_that_cannot_be_used_are_refused_in_one_line(tmp_path, rows, asked, message):
    path = write(tmp_path / "films.jsonl", rows)
    refused(message, read_samples, [path], kind="text", label_ids=NAMES, classes=2, **asked)


def test_names_of_classes_need_a_teacher_that_has_them():
    for none in (None, {"LABEL_0": 0, "LABEL_1": 1}):
        refused("label 'bad': T's classes have no names; use their numbers from 0", numbered, ["bad", "good"], none, 2)
    assert numbered(["LABEL_1"] * 2, {"LABEL_0": 0, "LABEL_1": 1}, 2).tolist() == [1, 1]


def test_long_lists_of_classes_are_cut():
    refused("c18, c19 and 980 more; use", numbered, ["x"], {f"c{i}": i for i in range(1000)}, 1000)


def test_files_are_labelled_all_or_none(tmp_path):
    one = write(tmp_path / "a.csv", rows_of([0, 1] * 60))
    other = write(tmp_path / "b.csv", [{"text": text} for text in TEXTS])
    refused("a.csv has labels, and .*b.csv has none", read_samples, [one, other], kind="text")


def test_files_of_other_kinds_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("text\n")
    refused("notes.txt is no .csv, .tsv", read_samples, [tmp_path / "notes.txt"], kind="text")
    refused("there is no file", read_samples, [tmp_path / "absent.csv"], kind="text")


@pytest.mark.parametrize("key", ["labels", "label", "y"])
def test_arrays_and_labels_are_those_of_the_file(tmp_path, key):
    labels = np.arange(N, dtype=np.uint8) % 3
    path = arrays(tmp_path / "a.npz", x=VECTORS.astype(np.float64), ids=np.arange(N), **{key: labels})
    samples = read_samples([path], kind="arrays", shape=(6,), classes=3)
    assert sorted(pairs(samples)) == sorted((row.tobytes(), i % 3) for i, row in enumerate(VECTORS))
    assert samples.train.inputs.dtype == np.float32 and samples.train.labels.dtype == np.int64


def test_several_files_of_arrays_are_one_set(tmp_path):
    bytes_ = np.random.default_rng(1).integers(0, 256, (N, 1, 4, 4), dtype=np.uint8)
    paths = [arrays(tmp_path / f"{i}.npz", images=half) for i, half in enumerate(np.split(bytes_, 2))]
    samples = read_samples(paths, kind="arrays", shape=(1, 4, 4))
    assert sorted(pairs(samples)) == sorted((row.astype(np.float32).tobytes(), None) for row in bytes_)


def with_value(value):
    values = VECTORS.astype(np.float64)
    values[17, 2] = value
    return values


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"x": VECTORS[:, :5]}, r"has no array of n x 6 numbers .*\(it has: x float32 120 x 5\)"),
        ({"x": VECTORS.astype(np.int64)}, "has no array of n x 6 numbers"),
        ({"train": VECTORS, "test": VECTORS}, "has 2 arrays of n x 6 numbers"),
        ({"x": VECTORS, "y": np.zeros(N, int), "label": np.zeros(N, int)}, "has the labels label and y"),
        ({"x": VECTORS, "y": np.zeros(N)}, "y must be 120 integers, one per input, not float64 120"),
        ({"x": VECTORS, "y": np.zeros((N, 1), int)}, "y must be 120 integers, one per input, not int64 120 x 1"),
        ({"x": VECTORS, "y": np.arange(N) % 4}, "label 3: T's classes are numbered from 0 to 2"),
        ({"x": VECTORS, "y": np.arange(N) == 7}, "y must be 120 integers"),
        ({"x": VECTORS, "y": (np.arange(N) == 7).astype(int)}, "class 1 has one sample"),
        (
            {"x": with_value(np.nan)},
            r"1 of 120 samples, the first in row 17 \(from 0\), have values that are not finite",
        ),
        ({"x": with_value(np.inf)}, "the first in row 17"),
        ({"x": with_value(1e300)}, "the first in row 17"),
        ({"x": VECTORS, "o": np.array([Trap()] * N)}, "holds Python objects, which are never loaded"),
        ({"x": np.array([[Trap()] * 6] * N)}, "holds Python objects, which are never loaded"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused_in_one_line(tmp_path, kept, message):
    path = arrays(tmp_path / "a.npz", **kept)
    refused(message, read_samples, [path], kind="arrays", shape=(6,), classes=3)
    assert not RAN


def test_files_that_are_no_arrays_are_refused_and_never_run(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(pickle.dumps(Trap()))
    refused("is not an .npz file", read_samples, [path], kind="arrays", shape=(6,))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", pickle.dumps(Trap()))
    refused("a.npz", read_samples, [path], kind="arrays", shape=(6,))
    whole = arrays(tmp_path / "b.npz", x=VECTORS).read_bytes()
    path.write_bytes(whole[:200] + b"\xff" * 64 + whole[264:])
    refused(r"cannot read .*/a.npz \(.+\); save it again", read_samples, [path], kind="arrays", shape=(6,))
    refused("there is no file", read_samples, [tmp_path / "absent.npz"], kind="arrays", shape=(6,))
    assert not RAN


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder per class, with images of every mode and format."""
    root = tmp_path_factory.mktemp("images")
    kinds = [
        ("L", "png"),
        ("RGB", "jpg"),
        ("RGBA", "png"),
        ("P", "png"),
        ("RGB", "bmp"),
        ("RGBA", "webp"),
        ("1", "PNG"),
    ]
    for i in range(N):
        mode, ending = kinds[i % len(kinds)]
        picture(root / ("cat", "dog")[i % 2] / f"{i}.{ending}", i, mode)
    return root


@pytest.mark.parametrize(("shape", "mode"), [((3, 5, 7), "RGB"), ((1, 5, 7), "L")])
def test_images_of_every_mode_are_decoded_as_the_teacher_takes_them(folder, shape, mode):
    samples = read_samples([folder], kind="images", shape=shape, process=pixels, label_ids={"dog": 0, "cat": 1})
    wanted = []
    for path in folder.glob("*/*"):
        wanted.append((pixels([Image.open(path).convert(mode)])[0].tobytes(), int(path.parent.name == "cat")))
    assert sorted(pairs(samples)) == sorted(wanted)
    assert samples.train.inputs[:3].shape == (3, *shape) and samples.train.inputs[:0].shape == (0, *shape)


def test_images_of_classes_without_names_are_numbered_alphabetically(folder):
    for none in (None, {"LABEL_0": 0, "LABEL_1": 1}):
        samples = read_samples([folder], kind="images", process=pixels, label_ids=none, classes=2)
        assert {
            (path.parent.name, label)
            for path, label in zip(samples.train.inputs.paths, samples.train.labels, strict=True)
        } == {("cat", 0), ("dog", 1)}
    refused(
        "2 classes .cat, dog., and T has 3 without names",
        read_samples,
        [folder],
        kind="images",
        process=pixels,
        classes=3,
    )
    refused(
        "label 'cat': T has the classes car, dog",
        read_samples,
        [folder],
        kind="images",
        process=pixels,
        label_ids={"car": 0, "dog": 1},
    )


def test_folders_called_by_numbers_are_those_classes(tmp_path):
    for i in range(96):
        picture(tmp_path / str(i % 12) / f"{i}.png", i)
    samples = read_samples([tmp_path], kind="images", process=pixels, classes=12)
    for path, label in zip(samples.train.inputs.paths, samples.train.labels, strict=True):
        assert int(path.parent.name) == label


def test_a_flat_folder_has_no_labels(folder):
    samples = read_samples([folder / "cat", folder / "dog"], kind="images", process=pixels)
    assert samples.train.labels is None
    assert sum(map(len, (samples.train, samples.validation, samples.test))) == N


def flat(root):
    for i in range(70):
        picture(root / f"{i}.png", i)


def broken(root):
    flat(root)
    (root / "7.png").write_bytes((root / "7.png").read_bytes()[:60])


def other(root, name, content=b""):
    flat(root)
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_bytes(content)


def deep(root):
    picture(root / "train" / "cat" / "1.png", 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (broken, r"cannot read the image .*/7.png \(.*\); mend or remove it"),
        (lambda root: other(root, "x.png"), r"cannot read the image .*/x.png \(cannot identify image file it\)"),
        (
            lambda root: other(root, "x.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
            "cannot read the image .*/x.png",
        ),
        (lambda root: other(root, "x.gif"), "x.gif is no image .*; convert or remove it"),
        (lambda root: other(root, "cat/x.png"), "0.png lies beside folders of images; move it"),
        (deep, "train/cat lies too deep; name the folder whose folders are the classes"),
        (lambda root: picture(root / "0.png", 1), r"too few samples \(1\)"),
        (lambda root: None, "there are no samples"),
    ],
)
def test_images_that_cannot_be_used_are_named_and_refused_in_one_line(tmp_path, make, message):
    make(tmp_path)
    refused(message, read_samples, [tmp_path], kind="images", process=pixels)
    refused("there is no folder", read_samples, [tmp_path / "absent"], kind="images", process=pixels)


def test_deep_colours_are_refused(tmp_path):
    Image.fromarray(np.array([[0, 300, 40000]], dtype=np.uint16)).save(tmp_path / "x.png")
    refused("x.png has more than 8 bits per value", decoded, tmp_path / "x.png", "RGB")


@pytest.mark.parametrize(("kind", "values"), [(2, 3), (4, 2), (6, 4)])  # PNG's numbers of RGB, LA, RGBA
def test_deep_colours_that_pillow_makes_shallow_are_refused(kind, values, tmp_path):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header, row = struct.pack(">IIBBBBB", 1, 1, 16, kind, 0, 0, 0), zlib.compress(bytes(1 + 2 * values))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", row) + chunk(b"IEND", b"")
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    refused("x.png has more than 8 bits per value", decoded, tmp_path / "x.png", "RGB")


def test_images_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.new("RGB", (7, 5)).save(tmp_path / "x.jpg", exif=exif)
    assert decoded(tmp_path / "x.jpg", "RGB").size == (5, 7)


def test_an_image_processor_that_does_not_fit_is_refused(folder):
    wrong = {"kind": "images", "shape": (3, 8, 8)}
    refused("makes images of 3 x 5 x 7, and T takes 3 x 8 x 8", read_samples, [folder], process=pixels, **wrong)
    refused("T's image processor is damaged", read_samples, [folder], process=lambda images: [[1], [2, 3]], **wrong)


def test_in_memory_inputs_are_checked_as_those_of_files():
    refused("there are 3 labels for 120 samples", Samples.of, TEXTS, [0, 1, 0])
    refused("the inputs are int64; convert them to float32", Samples.of, np.zeros((N, 2), dtype=np.int64))
    refused("label 2: ", Samples.of, VECTORS, np.arange(N) % 3, classes=2)
    refused("label '0.5'", Samples.of, VECTORS, [0.5] * N)
    assert Samples.of(TEXTS, np.arange(N) % 2).digest == Samples.of(TEXTS, [i % 2 for i in range(N)]).digest


@given(st.permutations(range(N)), st.booleans())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_order_of_samples_makes_no_difference(order, text):
    inputs, labels = (TEXTS if text else VECTORS), np.arange(N) % 2
    mixed = [TEXTS[i] for i in order] if text else VECTORS[list(order)]
    one, other = Samples.of(inputs, labels), Samples.of(mixed, labels[list(order)])
    assert pairs(one) == pairs(other) and one.digest == other.digest


@given(st.lists(st.integers(0, 30), max_size=200).map(lambda found: found + list(range(31, 131))))
@settings(max_examples=60, deadline=None)
def test_equal_samples_are_in_one_part_and_none_is_lost(numbers):
    values = np.array(numbers, dtype=np.float32)[:, None] * np.float32([1, -0.0 if len(numbers) % 2 else 0.0])
    values[::2, 1] *= -1  # 0.0 and -0.0 are equal
    for inputs in (values, [f" Text  {n}" if i % 2 else f"text {n}" for i, n in enumerate(numbers)]):
        samples = Samples.of(inputs)
        parts = [part.inputs for part in (samples.train, samples.validation, samples.test)]
        seen = [{one.split()[-1] if isinstance(one, str) else one[0] for one in part} for part in parts]
        assert sum(map(len, parts)) == len(numbers)
        assert sum(map(len, seen)) == len(set().union(*seen))


def test_about_a_tenth_each_is_held_out_and_new_samples_move_none():
    samples, fewer = (Samples.of([f"text {i}" for i in range(n)]) for n in (4000, 3000))
    assert 320 < len(samples.validation) < 480 and 320 < len(samples.test) < 480
    assert set(fewer.test.inputs) <= set(samples.test.inputs) and set(fewer.train.inputs) <= set(samples.train.inputs)


def test_the_digest_depends_on_inputs_and_labels():
    given = [(TEXTS, None), (TEXTS, [0, 1] * 60), (TEXTS, [1, 0] * 60), ([*TEXTS[1:], "other"], None), (VECTORS, None)]
    assert len({Samples.of(inputs, labels).digest for inputs, labels in given}) == len(given)
