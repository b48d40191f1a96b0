import math

import numpy as np
import pytest

import fsp
from fsp.base.errors import InputError, RunFailed
from fsp.objectives.table import objectives_of
from fsp.search.extraction import extract
from fsp.spaces.loading import load_space

SPACE = load_space("minilm")


def toy(architecture):
    return 1 / (architecture["D"] * architecture["H"]) + 1e-5 * architecture["I"]


def test_with_interval_one_the_choice_is_the_best_feasible():
    table = objectives_of(SPACE, SPACE.candidates)
    full = objectives_of(SPACE, SPACE.point(SPACE.maximum)).iloc[0]
    feasible = (table["encoder_parameters"] <= full["encoder_parameters"] / 4) & (
        table["operations"] <= full["operations"] / 4
    )
    shapes = SPACE.architectures(SPACE.candidates[feasible])
    found = fsp.extract(SPACE, error=toy, interval=1)
    assert found.selected == min(shapes, key=toy)
    assert found.feasible == len(shapes) == len(found.table)


def test_w_over_the_whole_space():
    found = extract(SPACE, error=toy, objective="w", interval=1)
    table = found.table
    p, i = found.maximum["parameters"], found.maximum["operations"]
    w = (1 - table["parameters"] / p) * (1 - table["operations"] / i) / table["error"]
    assert len(table) == len(SPACE.candidates)
    assert np.allclose(table["w_total"], w)
    assert (
        found.selected
        == found.best_by("w_total")
        == SPACE.architectures(SPACE.candidates)[0].__class__(
            {name: int(table[name].iloc[int(w.argmax())]) for name in SPACE.names}
        )
    )


@pytest.mark.parametrize("interval", [2, 7, 50])
def test_every_kth_in_the_order_of_size(interval):
    found = extract(SPACE, error=toy, interval=interval)
    assert len(found.table) == -(-found.feasible // interval)
    assert (
        found.table["encoder_parameters"].iloc[-1]
        == extract(SPACE, error=toy, interval=1).table["encoder_parameters"].max()
    )
    assert found.table["encoder_parameters"].is_monotonic_increasing
    assert found.selected == min((found.space.architectures(found.table[list(SPACE.names)].to_numpy())), key=toy)


def test_the_default_interval_gives_about_16():
    assert 11 <= len(extract(SPACE, error=toy, method="interval").table) <= 21


def test_evaluations_are_not_repeated_and_failures_neither(tmp_path):
    calls = []

    def sometimes(architecture, seed):
        calls.append(architecture)
        return math.nan if architecture["D"] == 1 else toy(architecture)

    first = extract(SPACE, error=sometimes, study=tmp_path / "s.journal")
    n = len(calls)
    assert n == len(first.table)
    assert first.table["failure"].notna().any()
    again = extract(SPACE, error=sometimes, study=tmp_path / "s.journal")
    assert len(calls) == n
    assert again.selected == first.selected
    assert again.table["error"].equals(first.table["error"])
    assert first.selected["D"] != 1
    extract(SPACE, error=sometimes, study=tmp_path / "s.journal", seed=1)
    assert len(calls) == 2 * n


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -1.0])
def test_all_failing_is_a_failed_run(value):
    with pytest.raises(RunFailed, match=r"all .* candidates failed"):
        extract(SPACE, error=lambda a: value)


def test_diverged_training_is_recorded_not_raised():
    from fsp.base.errors import Diverged

    def error(architecture):
        if architecture["H"] < 256:
            raise Diverged("loss nan at step 3 of 16")
        return toy(architecture)

    found = extract(SPACE, error=error)
    failed = found.table[found.table["error"].isna()]
    assert (failed["H"] < 256).all()
    assert failed["failure"].str.contains("loss nan at step 3").all()


def test_pareto_rows_are_not_dominated():
    found = extract(SPACE, error=toy, interval=1)
    front = found.pareto()
    assert found.row(found.selected)["error"] == front["error"].min()
    for _, row in front.iterrows():
        better = (
            found.table[["encoder_parameters", "operations", "error"]]
            <= row[["encoder_parameters", "operations", "error"]]
        ).all(axis=1)
        assert better.sum() == 1
    with pytest.raises(KeyError):
        found.row(SPACE.maximum)


def test_a_space_without_its_constants_is_refused(tiny):
    with pytest.raises(InputError, match="needs vocabulary, positions, token_types"):
        extract(tiny.space, error=toy)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"interval": 0}, "out of range"),
        ({"interval": 10_000}, "out of range"),
        ({"limits": {"operations": 1}}, "no candidate meets"),
        ({"limits": {"latency": 1}}, "no objective 'latency'"),
        ({"objective": "best"}, "no objective 'best'"),
        ({"method": "magic"}, "no method 'magic'"),
        ({"speed": "magic"}, "no speed 'magic'"),
        ({"objective": "w", "limits": {"operations": "50%"}}, "limits belong"),
    ],
)
def test_bad_arguments(arguments, says):
    with pytest.raises(InputError, match=says):
        extract(SPACE, error=toy, **arguments)


def test_a_front_is_filled_in_and_marked():
    found = extract(SPACE, error=toy, interval=6)
    everything = found.filled()
    assert len(everything) == len(SPACE.candidates)
    measured = everything[~everything["fitted"]]
    assert len(measured) == len(found.table)
    assert (measured["low"] == measured["error"]).all()
    assert measured["error"].tolist() == [
        toy(shape) for shape in SPACE.architectures(measured[list(SPACE.names)].to_numpy())
    ]
    withheld = everything[everything["error"].isna()]
    assert withheld["fitted"].all() and withheld[["low", "high"]].isna().all(axis=None)
    names = list(SPACE.names)
    top, least = found.table[names].max(), found.table[names].min()
    beyond = (everything[names] > top).any(axis=1) | (everything[names] < least).any(axis=1)
    assert set(everything.index[beyond]) <= set(withheld.index)  # larger or smaller than all that was evaluated
    limit = found.limits["encoder_parameters"]
    assert everything["error"][everything["encoder_parameters"] > 1.5 * limit].isna().all()
    rest = everything[everything["fitted"] & everything["error"].notna()]
    assert len(rest) > 10
    true = np.array([toy(shape) for shape in SPACE.architectures(rest[list(SPACE.names)].to_numpy())])
    assert ((rest["low"] < rest["error"]) & (rest["error"] < rest["high"])).all()
    assert np.corrcoef(np.log(true), np.log(rest["error"]))[0, 1] > 0.8
    with pytest.raises(InputError, match="too few"):
        extract(SPACE, error=toy, interval=30).filled()


def test_shapes_with_heads_of_another_size_are_flagged():
    large = load_space("bert_large")
    found = extract(large, error=toy, objective="w", interval=10)
    sizes = found.table["H"] / found.table["A"]
    assert (found.table["head_size_changed"] == (sizes != 64)).all()
    assert found.table["head_size_changed"].any()
    assert "head_size_changed" not in extract(SPACE, error=toy).table
