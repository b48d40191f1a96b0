"""`fsp.prepare`: the surrogate error as a Python object is that of the commands."""

import json

import numpy as np
import pytest
import running
from text_networks import saved

from fsp import extract, prepare
from fsp.base.errors import InputError
from fsp.base.progress import Progress
from fsp.distillation.inputs import load_inputs
from fsp.distillation.models.own import save_own
from fsp.distillation.source import Source
from fsp.families import mlp
from fsp.spaces.loading import load_space
from fsp.spaces.space import SearchSpace


def test_errors_are_those_of_the_command(tiny):
    space, error = prepare(tiny.space_file, teacher=str(tiny.teacher), corpus=[tiny.corpus], steps=1, threads=1)
    found = extract(space, error=error, interval=3, limits={"operations": "90%"})
    done = running.fsp("extract", tiny.space_file, *tiny.arguments(), "--steps", 1, "--interval", 3, "--limit",
                       "operations=90%", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["selected"] == dict(found.selected)
    assert sorted(row["error"] for row in told["evaluations"]) == pytest.approx(sorted(found.table["error"]), rel=1e-8)


def test_states_are_kept_where_it_is_asked_for(tiny, tmp_path):
    given = {"teacher": str(tiny.teacher), "corpus": [tiny.corpus], "steps": 0, "threads": 1, "cache": tmp_path}
    shape = tiny.space.architectures(tiny.space.candidates[:1])[0]
    first = prepare(tiny.space, **given)[1](shape)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")}
    assert files
    assert prepare(tiny.space, **given)[1](shape) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")} == files


def test_what_cannot_be_prepared(tiny):
    with pytest.raises(InputError, match="names no trained teacher"):
        prepare("bert_large")
    with pytest.raises(InputError, match="maximum point of space minilm"):
        prepare(load_space("minilm"), teacher=str(tiny.teacher), corpus=[tiny.corpus])
    with pytest.raises(InputError, match="steps must be at least 0"):
        prepare(tiny.space, steps=-1)


def space_of(family, **maximum):
    return SearchSpace(
        name="small", parameters={name: (1,) for name in maximum}, rules=(), maximum=maximum, family=family
    )


def test_names_of_classes_are_those_that_transformers_gives_its_outputs(tmp_path):
    """Nothing but `id2label` is shown to a user of T; `label2id` of many models says something else."""
    folder = saved("bert", "ForSequenceClassification", tmp_path / "t", num_labels=2)
    config = json.loads((folder / "config.json").read_text())
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\n" + "\n".join(f"film {i},{('bad', 'good')[i % 2]}" for i in range(99)))
    space = space_of("bert", D=3, A=4, H=32, I=48)
    for other in ({"bad": 1, "good": 0}, {"LABEL_0": 0, "LABEL_1": 1}, {"bad": "none", "good": "none"}):
        named = {"id2label": {"0": "bad", "1": "good"}, "label2id": other}
        (folder / "config.json").write_text(json.dumps({**config, **named}))
        part = load_inputs(space, Source(str(folder), [rows]), Progress()).data.train
        assert [int(text.split()[1]) % 2 for text in part.inputs] == part.labels.tolist()


def test_a_column_of_labels_that_nothing_would_read_is_refused(tiny, tmp_path):
    save_own(mlp.build({"D": 1, "H": 4}, {"inputs": 3, "outputs": 2}), mlp, tmp_path / "own")
    values = np.random.default_rng(0).normal(size=(99, 3)).astype(np.float32)
    np.savez(tmp_path / "values.npz", values=values, target=np.arange(99) % 2)
    given = [
        (space_of("mlp", D=1, H=4), tmp_path / "own", tmp_path / "values.npz"),
        (tiny.space, tiny.teacher, tiny.corpus),
    ]
    for space, teacher, data in given:
        with pytest.raises(InputError, match="no rows with a column of labels 'target'"):
            load_inputs(space, Source(str(teacher), [data], labels="target"), Progress())
