"""What stands beside the choice: rows that others beat, int8 and static models, text elsewhere."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentence_models import sentence_model

from fsp.base.progress import Progress
from fsp.contenders import beaten, contenders, measured
from fsp.distillation.error import Distillation
from fsp.distillation.inputs import Inputs
from fsp.distillation.settings import SurrogateSettings
from fsp.distillation.tasks.task import Making
from fsp.distillation.teacher import load_teacher
from fsp.distillation.text.corpus import Corpus, read_corpus, standard_library
from fsp.distillation.text.segmentation import sentences
from fsp.families.architecture import Architecture

SMALL = Architecture({"D": 2, "A": 2, "H": 16, "I": 32})
numbers = st.integers(0, 3).map(float)


def row(name, latency, size, error, quality, elsewhere):
    def told(error, quality):
        return {"error": {"mean": error}, "figures": {"agreement": {"mean": quality}}}

    parts = {"b": told(*elsewhere)}
    return {
        "name": name,
        "runtime": "eager",
        "bytes": size,
        "latency": {"median_ms": latency},
        "elsewhere": parts,
    } | told(error, quality)


@given(st.lists(st.tuples(numbers, numbers, numbers, numbers, st.tuples(numbers, numbers)), min_size=1, max_size=6))
def test_a_row_is_beaten_by_one_that_is_as_good_in_all_and_better_in_one(values):
    rows = [row(str(k), *value) for k, value in enumerate(values)]
    flat = [(a, b, c, -d, e, -f) for a, b, c, d, (e, f) in values]
    for own, by in zip(flat, beaten(rows, ["agreement"]), strict=True):
        others = [other for other in flat if other != own and all(x <= y for x, y in zip(other, own, strict=True))]
        assert (by is None) == (not others)
        if by is not None:
            assert flat[int(by.partition(" ")[0])] in others


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("t")
    teacher = load_teacher(sentence_model(tiny, folder / "T"))
    other = Corpus.of(["\n\n".join(standard_library())[1_500_000:1_700_000]]).train
    data = replace(Corpus.of(read_corpus([tiny.corpus])), elsewhere={"other": other})
    inputs, settings, making = Inputs(teacher, data), SurrogateSettings(tokens=20_000), Making(folder / "cache")
    error = Distillation(inputs.task, inputs.task.material(data, settings, making))
    return inputs, error, settings, making, folder


def test_t_in_int8_and_a_static_model_stand_beside_the_choice(made):
    inputs, error, settings, making, folder = made
    student = error.student(SMALL)
    error.train(student, steps=0, seed=0)
    text = sentences(inputs.data.train[:20])
    found = contenders(error, {"choice": [student]}, folder / "models", Progress(), text)
    assert [one.key for one in found] == ["T eager", "T int8", "choice eager", "choice int8", "static eager"]
    rows = measured(error, found, inputs.task.elsewhere(inputs.data, settings, making), Progress())
    by_key = {f"{one['name']} {one['runtime']}": one for one in rows}
    for part in (lambda one: one, lambda one: one["elsewhere"]["other"]):
        full, quantised = part(by_key["T eager"]), part(by_key["T int8"])
        assert full["error"]["mean"] == 0 and full["figures"]["spearman"]["mean"] == pytest.approx(1)
        assert 0 < quantised["error"]["mean"] < 0.1 and quantised["figures"]["cosine"]["mean"] > 0.95
        own, its = part(by_key["choice eager"]), part(by_key["choice int8"])
        assert abs(own["error"]["mean"] - its["error"]["mean"]) < 0.1
        assert own["error"]["mean"] <= 1.1 and part(by_key["static eager"])["error"]["mean"] < 1
    assert by_key["T int8"]["bytes"] < by_key["T eager"]["bytes"] / 2
    assert all(one["latency"]["median_ms"] > 0 for one in rows)


def test_without_layers_the_first_token_says_nothing(made, tiny, tmp_path):
    inputs, error, *_ = made
    assert inputs.task.static(error.material) is not None
    teacher = load_teacher(sentence_model(tiny, tmp_path / "T", pooling="cls"))
    assert Inputs(teacher, inputs.data).task.static(error.material) is None
