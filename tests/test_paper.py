"""The analyses of experiments/paper against W itself, by brute force."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import fsp
from fsp.bort import SHAPE
from fsp.planning import objectives_at_maximum, objectives_of

FOLDER = Path(__file__).parent.parent / "experiments" / "paper"


@pytest.fixture(scope="module")
def inverse():
    spec = importlib.util.spec_from_file_location("inverse", FOLDER / "inverse.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
