"""The analyses of experiments/paper against W itself, by brute force."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from running import experiment

import fsp
from fsp.objectives.bort import SHAPE
from fsp.objectives.table import objectives_at_maximum, objectives_of

FOLDER = Path(__file__).parents[2] / "experiments" / "paper"


@pytest.fixture(scope="module")
def inverse():
    return experiment("paper/inverse.py")


@pytest.fixture(scope="module")
def everything():
    space = fsp.load_space("bert_large")
    return objectives_of(space, space.candidates), objectives_at_maximum(space)


def chosen(everything, size, error):
    table, full = everything
    w = fsp.w_coefficient(table[size], table["operations"], error, maximum=(full[size], full["operations"]))
    return {name: int(table.loc[w.argmax(), name]) for name in "DAHI"}


@pytest.mark.parametrize(("size", "column"), [("parameters", "ratio_total"), ("encoder_parameters", "ratio_encoder")])
def test_each_ratio_is_where_w_changes_its_mind(inverse, everything, size, column):
    table, _ = everything
    ratios = table.merge(inverse.ratios()[[*"DAHI", column]], how="left", on=list("DAHI"))[column].fillna(1).to_numpy()
    bort = (table[list("DAHI")] == pd.Series(SHAPE)).all(axis=1).to_numpy()
    error = np.where(bort, 1.0, ratios * (1 + 1e-9))
    assert chosen(everything, size, error) == dict(SHAPE)
    for row in np.flatnonzero(~bort)[::23]:  # a hair less for one shape, and W chooses it
        less = error.copy()
        less[row] = ratios[row] * (1 - 1e-9)
        assert chosen(everything, size, less) == {name: int(table.loc[row, name]) for name in "DAHI"}


@pytest.mark.parametrize(("size", "column"), [("parameters", "ratio_total"), ("encoder_parameters", "ratio_encoder")])
def test_the_ranges_of_exponents_hold_bort_and_nothing_beyond_them_does(inverse, everything, size, column):
    table, full = everything
    ranges = inverse.exponents(inverse.ratios(), column)
    eight = (table[table["A"] == 8].reset_index(drop=True), full)
    draw = np.random.default_rng(0)
    won = 0
    for _ in range(3000):
        law = {"D": draw.uniform(0, 0.4), "H": draw.uniform(0, 2), "I": draw.uniform(0, 0.1)}
        error = np.prod([eight[0][name] ** -law[name] for name in law], axis=0)
        if chosen(eight, size, error) == dict(SHAPE):
            won += 1
            assert all(ranges[name][0] - 1e-6 <= law[name] <= ranges[name][1] + 1e-6 for name in law)
            assert inverse.wins_under(inverse.ratios(), column, law) == (None, 1)
    assert won > 3


def test_the_recorded_table_is_the_computed_one(inverse):
    recorded = pd.read_csv(FOLDER / "inverse.csv")
    computed = inverse.ratios()[recorded.columns].round(4)
    pd.testing.assert_frame_equal(recorded, computed, check_dtype=False)
    smallest = recorded[(recorded[["D", "A", "H", "I"]] == [2, 4, 512, 256]).all(axis=1)].iloc[0]
    assert smallest["ratio_total"] == pytest.approx(1.25, abs=0.01)


@pytest.mark.parametrize(("size", "column"), [("parameters", "w_total"), ("encoder_parameters", "w_encoder")])
def test_the_replayed_interval_search_chooses_what_extract_does(size, column):
    """At every K its first offset is where `extract` begins: at the largest shape."""
    extraction = experiment("paper/extraction.py")
    space = fsp.load_space(FOLDER / "small.toml")
    random = np.random.default_rng(0)
    errors = pd.DataFrame(space.columns(space.candidates))
    errors["error"] = random.uniform(0.3, 0.6, len(errors))
    known = errors.set_index(extraction.NAMES)["error"]
    table = extraction.scored(space, errors)
    for interval in (7, 10, 50):
        found = fsp.extract(
            space,
            error=lambda a: float(known[tuple(a[name] for name in extraction.NAMES)]),
            objective="w",
            size=size,
            interval=interval,
        )
        replayed = extraction.choices(table, column, interval)
        assert len(replayed) == interval
        assert {name: int(replayed.iloc[0][name]) for name in extraction.NAMES} == dict(found.selected)


def test_the_small_space_is_an_image_of_half_of_the_large_one():
    small, large = fsp.load_space(FOLDER / "small.toml"), fsp.load_space("bert_large")

    def image(shape):
        depth, rest = divmod(shape["D"], 4)
        return None if rest else (depth, shape["A"] * 3 // 4, shape["H"] * 3 // 8, shape["I"] * 3 // 8)

    images = {image(shape) for shape in large.architectures(large.candidates)} - {None}
    assert images == {tuple(shape[name] for name in "DAHI") for shape in small.architectures(small.candidates)}
    assert len(images) == 150
    assert image(large.maximum) == tuple(small.maximum[name] for name in "DAHI")
    assert image(SHAPE) == experiment("paper/extraction.py").BORT
