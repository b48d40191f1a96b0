"""Do stated intervals hold what they say? The simulations of benchmarks/coverage.py, in small."""

import importlib.util
from functools import partial
from pathlib import Path

import numpy as np
import pytest

_FILE = Path(__file__).parents[2] / "benchmarks" / "coverage.py"
_SPEC = importlib.util.spec_from_file_location("coverage_benchmark", _FILE)
coverage = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(coverage)


@pytest.mark.parametrize("law", coverage.LAWS)
def test_filled_tells_what_it_can_and_withholds_the_rest(law):
    """With T's error 0, 70 to 78% of the candidates outside were inside the intervals that it gave for them."""
    found = coverage.mean_of(partial(coverage.filled, law), 6)
    assert found["told"] >= 0.88
    assert 0.1 < found["share told"] < 0.5
    if law != "power law":
        assert found["withheld"] < 0.88


@pytest.mark.parametrize("column", ["s=0", "s=16", "truth"])
def test_filled_holds_recorded_errors(column):
    assert coverage.mean_of(partial(coverage.recorded_filled, column, 15), 6)["told"] >= 0.88


@pytest.mark.parametrize("count", [4, 6, 8, 12])
def test_anchors_intervals_hold_all_rows_and_the_predicted_best(count):
    """They held 65 to 90% with four and six anchors, and 51 to 95% of those predicted best."""
    kinds = ("s=0", "s=16", *coverage.PAIRS)
    found = [coverage.mean_of(partial(coverage.anchors, kind, count), 12) for kind in kinds]
    assert min(one["all"] for one in found) >= 0.88
    assert np.mean([one["best"] for one in found]) >= 0.88


@pytest.mark.parametrize("exponents", [1, 4, 6])
def test_fitted_holds_new_shapes(exponents):
    draw = partial(coverage.fitted, exponents, coverage.least_groups(exponents))
    assert coverage.mean_of(draw, 60)["all"] >= 0.87


def test_medians_ratios_means_and_accuracies():
    for draw in (partial(coverage.latency, 12, "skewed"), partial(coverage.seeds, 3, "normal")):
        assert min(coverage.mean_of(draw, 400).values()) >= 0.92
    assert coverage.mean_of(partial(coverage.accuracy, 200, 0.9), 400)["accuracy"] >= 0.92
