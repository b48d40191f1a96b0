import json

import numpy as np
import pandas as pd
import pytest

import fsp
from fsp.base.errors import InputError
from fsp.families.architecture import Architecture
from fsp.objectives.fitted import FittedError

NAMES = ["D", "H"]


def table(seed=0, rows=20, noise=0.05):
    generator = np.random.default_rng(seed)
    sizes = pd.DataFrame({"D": np.arange(1, rows + 1), "H": generator.choice([64, 128, 256, 512], rows)})
    error = 3 * sizes["D"] ** -0.3 * sizes["H"] ** -0.2 * np.exp(noise * generator.normal(size=rows))
    return sizes.assign(error=error)


def with_steps(rows=12):
    shapes = table(rows=rows, noise=0)
    rows = pd.concat([shapes.assign(s=s, error=shapes["error"] * (1 + s) ** -0.1) for s in (0, 50, 200)])
    return rows.reset_index(drop=True)


def test_a_power_law_is_found_and_predicted():
    law = FittedError.fit(table(noise=0), parameters=NAMES)
    assert law.exponents == pytest.approx({"D": -0.3, "H": -0.2}, abs=1e-4)
    shape = Architecture(D=40, H=1024)
    predicted = law.predict([shape, Architecture(D=1, H=64)])
    assert list(predicted.columns) == ["error", "low", "high", "fitted"]
    assert predicted["fitted"].all() and predicted["fitted"].dtype == bool
    assert law(shape) == predicted["error"][0] == pytest.approx(3 * 40**-0.3 * 1024**-0.2, rel=1e-3)


def test_intervals_hold_the_error_and_the_index_is_kept():
    rows = table().set_index(np.arange(100, 120))
    predicted = FittedError.fit(rows, parameters=NAMES).predict(rows)
    assert predicted.index.tolist() == rows.index.tolist()
    assert ((predicted["low"] > 0) & (predicted["low"] < predicted["error"])).all()
    assert (predicted["error"] < predicted["high"]).all()


def test_training_steps():
    law = FittedError.fit(with_steps(), parameters=NAMES, steps="s")
    assert (law.rows, law.shapes, law.at) == (36, 12, 200)
    assert law.exponents == pytest.approx({"D": -0.3, "H": -0.2, "s": -0.1}, abs=1e-4)
    shape = {"D": 5, "H": 128}
    full = 3 * 5**-0.3 * 128**-0.2
    np.testing.assert_allclose(law.predict([shape] * 2, steps=[0, 1000])["error"], [full, full * 1001**-0.1], rtol=1e-3)
    assert law(shape) == pytest.approx(full * 201**-0.1, rel=1e-3)
    later = law.at_steps(400)
    assert later(shape) == pytest.approx(full * 401**-0.1, rel=1e-3)
    assert later.settings["steps"] == 400 != law.settings["steps"]


def test_what_comes_of_it_is_marked_as_fitted():
    rows = table()
    settings = FittedError.fit(rows, parameters=NAMES).settings
    assert settings["error"] == "fitted"
    json.dumps(settings)
    shuffled = rows.sample(frac=1, random_state=0)
    assert FittedError.fit(shuffled, parameters=NAMES).settings == settings
    changed = rows.assign(error=rows["error"].where(rows["D"] != 7, 0.5))
    assert FittedError.fit(changed, parameters=NAMES).settings["rows"] != settings["rows"]


def test_row_order_does_not_matter():
    rows = table()
    predicted = [
        FittedError.fit(some, parameters=NAMES).predict(rows) for some in (rows, rows.sample(frac=1, random_state=1))
    ]
    np.testing.assert_allclose(predicted[0][["error", "low", "high"]], predicted[1][["error", "low", "high"]])


def test_failed_evaluations_are_left_out_and_counted():
    rows = table()
    spoilt = pd.concat([rows, pd.DataFrame({"D": [99], "H": [64], "error": [np.nan]})])
    law = FittedError.fit(spoilt, parameters=NAMES)
    assert (law.rows, law.left_out) == (20, 1)
    assert law.digest == FittedError.fit(rows, parameters=NAMES).digest


def test_extract_takes_it_as_an_error(tmp_path):
    space = fsp.load_space("minilm")
    points = space.candidates[:: len(space.candidates) // 40]
    known = pd.DataFrame(points, columns=list(space.names))
    known["error"] = (known["D"] * known["H"]) ** -0.2 * known["I"] ** -0.1
    law = FittedError.fit(known, parameters=space.names)
    found = fsp.extract(space, error=law, limits={"parameters": 10_000_000}, study=tmp_path / "study.log")
    assert found.row(found.selected)["error"] == law(found.selected)
    assert '"fitted"' in (tmp_path / "study.log").read_text(encoding="utf-8").replace("\\", "")


@pytest.mark.parametrize("steps", [None, "s"])
def test_saved_and_loaded_it_predicts_the_same(tmp_path, steps):
    rows = table() if steps is None else with_steps()
    law = FittedError.fit(rows, parameters=NAMES, steps=steps)
    law.save(tmp_path / "law.json")
    loaded = FittedError.load(tmp_path / "law.json")
    assert loaded.settings == law.settings
    at = None if steps is None else 400
    pd.testing.assert_frame_equal(loaded.predict(rows, steps=at), law.predict(rows, steps=at), check_exact=True)
    assert (loaded.rows, loaded.shapes, loaded.left_out) == (law.rows, law.shapes, law.left_out)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"law": {}},
        {"law": {"centre": [0], "coefficients": [0, 0, 0], "covariance": [[0]], "half_width": 1}},
        {"law": {"centre": ["a"], "coefficients": [0], "covariance": [[0]], "half_width": 1}},
        {"at": 5},
        {"parameters": None},
        {"parameters": ["D"]},
        {"more": 1},
    ],
)
def test_other_files_are_refused(tmp_path, change):
    path = tmp_path / "law.json"
    FittedError.fit(table(), parameters=NAMES).save(path)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(InputError, match="holds no fitted error"):
        FittedError.load(path)
    path.write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(InputError, match="holds no fitted error"):
        FittedError.load(path)


@pytest.mark.parametrize(
    ("rows", "more", "message"),
    [
        (table(rows=8), {}, "8 different shapes are too few"),
        (pd.concat([table(rows=4)] * 5), {}, "4 different shapes are too few"),
        (table(), {"parameters": []}, "no parameters"),
        (table(), {"parameters": ["D", "D"]}, "'D' is named twice"),
        (table(), {"parameters": ["D", "I"]}, "no column 'I'; its columns are D, H, error"),
        (table(), {"error": "loss"}, "no column 'loss'"),
        (table(), {"steps": "s"}, "no column 's'"),
        (table().assign(D="deep"), {}, "D holds something that is no number"),
        (table().assign(D=0), {}, "D is 0 in a row"),
        (table().assign(error=-1.0), {}, "error is -1 in a row"),
        (table().assign(error=np.inf), {}, "error is inf in a row"),
        (table().assign(s=-1), {"steps": "s"}, "s is -1 in a row; it must be finite and from 0"),
    ],
)
def test_bad_tables_are_refused_with_one_line(rows, more, message):
    with pytest.raises(InputError, match=message) as refusal:
        FittedError.fit(rows, **{"parameters": NAMES, **more})
    assert "\n" not in str(refusal.value)


def test_bad_shapes_and_steps_are_refused():
    law, stepped = (
        FittedError.fit(table(), parameters=NAMES),
        FittedError.fit(with_steps(), parameters=NAMES, steps="s"),
    )
    for call, message in (
        (lambda: law({"D": 3}), "the shapes have no 'H'"),
        (lambda: law({"D": 3, "H": 0}), "H is 0 in a row"),
        (lambda: law.predict([{"D": 3, "H": 64}], steps=5), "without training steps"),
        (lambda: law.at_steps(5), "without training steps"),
        (lambda: stepped.predict([{"D": 3, "H": 64}]), "say at which to predict"),
        (lambda: stepped.predict([{"D": 3, "H": 64}], steps=-1), "steps is -1"),
        (lambda: stepped.predict([{"D": 3, "H": 64}], steps=[1, 2]), "one for each"),
    ):
        with pytest.raises(InputError, match=message):
            call()
