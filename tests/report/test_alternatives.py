"""The picture of quality against latency, and what is said of rows that others beat."""

import json

import numpy as np
import pytest

from fsp.base.errors import InputError
from fsp.report.alternatives import alternatives, alternatives_svg
from fsp.report.summary import columns_of, headline, model_rows


def spread(value):
    return {"mean": value, "half_width_95": None, "values": [value]}


@pytest.fixture
def result(folder):
    """The run of earlier versions, with the rows of this one."""
    found = json.loads((folder / "result.json").read_text())
    full, choice = found["models"]
    rows = []
    for name, runtime, speed, quality, by in (
        ("T", "eager", 10.0, 1.0, None),
        ("T", "int8", 3.0, 0.99, None),
        ("choice", "eager", 4.0, 0.8, "T int8"),
        ("choice", "int8", 1.0, 0.79, None),
    ):
        row = {**(full if name == "T" else choice), "name": name, "runtime": runtime, "bytes": 10**6, "beaten_by": by}
        row["latency"] = {**row["latency"], "median_ms": speed}
        row["figures"] = {"spearman": spread(quality), "cosine": spread(quality)}
        other = {"error": spread(1 - quality), "figures": {"spearman": spread(quality - 0.1), "cosine": spread(0.5)}}
        rows.append({**row, "error": spread(1 - quality), "elsewhere": {"recipes": other}})
    task = {"compares": "1 − R²", "figures": {"spearman": "Spearman", "cosine": "cosine"}, "unit": "tokens"}
    return {**found, "models": rows, "task": {**task, "loaded_by": "it", "name": "embedding"}}


def test_every_model_is_drawn_in_domain_and_elsewhere(result):
    axes = alternatives(result)
    assert [text.get_text() for text in axes.texts] == ["T", "T, int8", "choice", "choice, int8"]
    drawn = np.concatenate([marks.get_offsets() for marks in axes.collections])
    values = [(10.0, 1.0), (3.0, 0.99), (4.0, 0.8), (1.0, 0.79)]
    wanted = sorted([*values, *((speed, value - 0.1) for speed, value in values)])
    np.testing.assert_allclose(sorted(map(tuple, drawn)), wanted)
    assert alternatives(result, "error").get_ylabel() == "error"
    assert alternatives_svg(result) == alternatives_svg(result)
    with pytest.raises(InputError, match="no figure perplexity; it has error, spearman, cosine"):
        alternatives(result, "perplexity")


def test_the_screen_says_which_models_are_beaten(result):
    text = " ".join(headline(result))
    assert "no other beats in speed, size and every figure at once: T; T, int8; choice, int8." in text
    assert "Choice is beaten in all of them by T, int8: take that." in text
    assert "In int8 the choice runs 3.0 times as fast as T in int8, with an error of 0.210 against 0.010." in text
    assert columns_of(result)["recipes spearman"] == "Spearman in recipes"
    rows = model_rows(result)
    assert [row["recipes spearman"] for row in rows] == ["0.900", "0.890", "0.700", "0.690"]
    assert [bool(row["beaten"]) for row in rows] == [False, False, True, False]
