"""Figures show the numbers they are given: each is compared with what its data say, computed another way."""

import re
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import colors

import fsp
from fsp.base.errors import InputError
from fsp.base.files import write_json
from fsp.report import figures
from fsp.report.style import PALETTE, WIDTH
from fsp.search.certificates.settings import CertifiedSettings

mpl.use("Agg")


@pytest.fixture(autouse=True)
def closed():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def drawn(axes, label):
    """The points of what is named so in the legend."""
    for artist in [*axes.collections, *axes.lines]:
        if artist.get_label() == label:
            return artist.get_xydata() if hasattr(artist, "get_xydata") else np.asarray(artist.get_offsets())
    raise AssertionError(f"nothing is named {label}")


@pytest.fixture
def table():
    space = fsp.load_space("minilm")
    found = fsp.extract(space, error=lambda a: 1 / (a["D"] * a["H"] ** 0.5) + 0.01 * (a["I"] % 5), interval=1)
    return found


def test_the_front_is_what_nothing_dominates(table):
    axes = figures.pareto(table.table, "operations", selected=table.selected, maximum=table.maximum)
    points = table.table[["operations", "error"]].to_numpy()
    beaten = [((points <= p).all(axis=1) & (points < p).any(axis=1)).any() for p in points]
    share = points * [100 / table.maximum["operations"], 1]
    assert np.allclose(drawn(axes, "Pareto front"), sorted(map(tuple, share[~np.array(beaten)])))
    assert {tuple(p) for p in drawn(axes, "dominated").round(9)} == {tuple(p) for p in share[beaten].round(9)}
    row = table.row(table.selected)
    assert np.allclose(drawn(axes, "choice"), [[100 * row["operations"] / table.maximum["operations"], row["error"]]])


def test_the_next_three_are_those_behind_the_choice(table):
    axes = figures.pareto(table.table, "error", "operations", selected=table.selected)
    errors = np.sort(table.table["error"])
    assert np.allclose(np.sort(drawn(axes, "next three")[:, 0]), errors[1:4])
    largest = table.best_by("w_total")
    axes = figures.pareto(table.table, "error", "operations", selected=largest, by="w_total")
    rest = table.table[table.table["w_total"] < table.table["w_total"].max()]
    assert np.allclose(np.sort(drawn(axes, "next three")[:, 0]), np.sort(rest.nlargest(3, "w_total")["error"]))


def test_a_run_shows_t_limits_and_the_choice_of_w(folder):
    axes = figures.pareto(folder, "operations")
    assert drawn(axes, "choice").tolist() == [[pytest.approx(100 / 3), 0.5]]
    assert drawn(axes, "T").tolist() == [[100, 0.5]]
    assert drawn(axes, "largest W, all").tolist() == [[pytest.approx(100 / 6), 0.9]]
    assert drawn(axes, "limit")[0][0] == 50
    assert [(a.get_xlabel(), a.get_ylabel()) for a in figures.pareto_pairs(folder)] == [
        ("encoder parameters (% of T)", "error"),
        ("operations (% of T)", "error"),
        ("encoder parameters (% of T)", "operations (% of T)"),
    ]


@pytest.mark.parametrize("w", ["w_total", "w_encoder"])
def test_each_cell_of_the_landscape_is_the_largest_w_there(table, w):
    axes = figures.landscape(table.table, "H", "I", w=w)
    expected = {}
    for _, row in table.table.iterrows():
        key = (row["I"], row["H"])
        expected[key] = max(expected.get(key, 0), row[w])
    cells = np.ma.filled(axes.collections[0].get_array().astype(float), np.nan)
    heights = [float(t.get_text()) for t in axes.get_yticklabels()]
    widths = [float(t.get_text()) for t in axes.get_xticklabels()]
    shown = {
        (h, x): cells[i, j] for i, h in enumerate(heights) for j, x in enumerate(widths) if cells[i, j] == cells[i, j]
    }
    assert shown == pytest.approx(expected)
    frame = axes.patches[-1]
    assert expected[heights[int(frame.get_y())], widths[int(frame.get_x())]] == max(expected.values())


def test_w_is_computed_where_the_table_has_none(table):
    bare = table.table.drop(columns=["w_total", "w_encoder"])
    for w in ("w_total", "w_encoder"):
        computed = figures.landscape(bare, w=w, maximum=table.maximum).collections[0].get_array()
        given_ = figures.landscape(table.table, w=w).collections[0].get_array()
        assert np.ma.allclose(computed, given_)
    with pytest.raises(InputError, match="give maximum"):
        figures.landscape(bare)


def test_cells_of_the_fitted_law_are_hatched(table):
    filled = replace(table, table=table.table.iloc[::9]).filled()
    axes = figures.landscape(filled, maximum=table.maximum)
    assert 0 < sum(bool(patch.get_hatch()) for patch in axes.patches) < 30


@pytest.mark.parametrize("what", ["some", "a row", "all but one"])
def test_cells_without_an_error_are_empty(table, what):
    """What `filled` withholds is drawn as nothing: no colour, no hatching, no frame."""
    rows = table.table.assign(fitted=True)
    known = {"some": rows["H"] != rows["D"] * 64, "a row": rows["D"] != 1, "all but one": rows.index == 7}[what]
    rows.loc[~known, ["error", "w_encoder", "w_total"]] = np.nan
    axes = figures.landscape(rows)
    cells = np.ma.filled(axes.collections[0].get_array().astype(float), np.nan)
    told = rows[known].groupby(["D", "H"])["w_encoder"].max()
    assert cells.shape == (rows[known]["D"].nunique(), rows[known]["H"].nunique())
    assert np.isfinite(cells).sum() == len(told)
    assert np.nanmax(cells) == pytest.approx(told.max())
    assert sum(bool(patch.get_hatch()) for patch in axes.patches) == len(told)


def test_a_map_of_nothing_is_refused(table):
    with pytest.raises(InputError, match="no row of the table has numbers"):
        figures.landscape(table.table.assign(error=np.nan))


def certified(sigma):
    def error(architecture, seed=0):
        noise = np.random.default_rng([seed, *architecture.values()]).normal()
        return 3 * (architecture["D"] * architecture["H"] * architecture["I"]) ** -0.2 * float(np.exp(sigma * noise))

    assumed = CertifiedSettings(sigma=None if sigma else 0, seeds=3 if sigma else 1, neutral={"A": 0.0})
    space = fsp.load_space("bert_large")
    return fsp.extract(space, error=error, method="certified", objective="w", certified=assumed).certificate


@pytest.fixture(scope="module")
def certificates():
    return [certified(sigma) for sigma in (0, 0.01)]


def test_the_gap_falls_to_the_certificates_own(certificates):
    exact, noisy = certificates
    axes = figures.gap_by_evaluations(exact)
    feasible = int(re.search(r"(\d+)( feasible)? candidates", exact["result"]["statement"]).group(1))
    assert axes.get_xlabel() == f"candidates evaluated, of {feasible} feasible"
    gaps = drawn(axes, "proven gap")
    assert gaps[-1].tolist() == pytest.approx([len(exact["evaluations"]), 100 * exact["result"]["gap"]])
    assert (np.diff(gaps[:, 1]) <= 1e-9).all()  # without noise, one more evaluation never loosens a bound
    assert gaps[-2][1] > 100 * exact["target"] >= gaps[-1][1]  # it stopped as soon as it could
    noisy_gaps = drawn(figures.gap_by_evaluations(noisy), "proven gap")
    assert noisy_gaps[0][0] == noisy["pilot"]


def test_the_gap_grows_with_tau_from_the_certificates_own(certificates, tmp_path):
    for certificate in certificates:
        write_json(tmp_path / "certificate.json", certificate)
        axes = figures.gap_by_tau(tmp_path)
        gaps = drawn(axes, "proven gap")
        assert gaps[0].tolist() == pytest.approx([0, 100 * certificate["result"]["gap"]])
        assert (np.diff(gaps[:, 1]) >= 0).all()
        # no bound loosens by more than M's own factor
        assert ((1 + gaps[:, 1] / 100) * (1 - gaps[:, 0] / 100) <= 1 + gaps[0, 1] / 100 + 1e-9).all()
        assert drawn(axes, "τ of the certificate").tolist() == [pytest.approx(gaps[0].tolist())]


def test_contradicted_tau_prove_nothing():
    space = fsp.load_space("minilm")
    found = fsp.extract(
        space,
        error=lambda a: 1 / (a["D"] * a["H"]) * (0.9 if a["D"] == 2 else 1),
        method="certified",
        limits={"parameters": "100%"},
        certified=CertifiedSettings(sigma=0, seeds=1, tau=0.2, audit=100),
    )
    least = found.certificate["result"]["evidence"]["least_tau"]
    gaps = drawn(figures.gap_by_tau(found.certificate), "proven gap")
    assert least == 0
    assert not np.isnan(gaps).any()
    contrary = fsp.extract(
        space,
        error=lambda a: a["D"] * a["H"],
        method="certified",
        limits={"parameters": "50%"},
        certified=CertifiedSettings(sigma=0, seeds=1, tau=0.5, audit=100),
    ).certificate
    least = contrary["result"]["evidence"]["least_tau"]
    gaps = drawn(figures.gap_by_tau(contrary), "proven gap")
    assert least > 0.5
    assert np.isnan(gaps[gaps[:, 0] < 100 * least - 1e-6, 1]).all()
    assert not np.isnan(gaps[gaps[:, 0] > 100 * least + 1e-6, 1]).any()


def test_what_is_no_certificate(tmp_path, folder):
    with pytest.raises(InputError, match="no certificate"):
        figures.gap_by_tau({})
    with pytest.raises(InputError, match="cannot read"):
        figures.gap_by_evaluations(folder)


def test_the_surrogates_bands_hold_every_row_once_with_their_correlation(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"s=16": rng.random(60), "encoder_parameters": rng.integers(1e5, 1e7, 60)})
    table["truth"] = table["s=16"] + 0.3 * rng.random(60)
    table.to_csv(tmp_path / "card.csv")
    axes = figures.surrogate_truth(tmp_path)
    bands = [np.asarray(c.get_offsets()) for c in axes.collections]
    assert [len(b) for b in bands] == [12] * 5
    assert {tuple(p) for b in bands for p in b} == {tuple(p) for p in table[["s=16", "truth"]].to_numpy()}
    for points, collection in zip(bands, axes.collections, strict=True):
        rho = pd.DataFrame(points).corr(method="spearman").iloc[0, 1]
        assert collection.get_label().endswith(f"ρ {rho:.2f}")
    assert len({c.get_paths()[0].vertices.tobytes() for c in axes.collections}) == 5  # told apart without colours


def test_a_calibrations_held_out_candidates(tmp_path):
    from fsp.objectives.latency import Calibration, Timed
    from fsp.objectives.products import fit_terms

    space = fsp.load_space("minilm")
    points = space.candidates[::7]
    truth = 1.0 + 2 * points[:, 0]
    law = fit_terms(points.astype(float), truth, [(), (0,)])
    settings_ = {"space": "minilm", "batch": 1, "length": 128, "threads": 1, "rounds": 3}
    timed = Timed(points, truth), Timed(points[:10], truth[:10] * 1.25)
    Calibration(space.names, law, 20.0, *timed, 0.01, 0.1, settings_, {}).save(tmp_path / "calibration.json")
    axes = figures.latency_predicted(tmp_path / "calibration.json")
    assert np.allclose(drawn(axes, "candidates"), np.c_[truth[:10] * 1.25, truth[:10]])
    assert axes.get_title("left") == "10 candidates, 20.0% off on average"


def test_cost_and_its_front():
    table = pd.DataFrame({"seconds": [1, 2, 3, 4.0], "error": [0.5, 0.6, 0.3, 0.4], "steps": [0, 0, 16, 16]})
    axes = figures.error_cost(table)
    assert drawn(axes, "least error at the cost").tolist() == [[1, 0.5], [3, 0.3]]
    assert drawn(axes, "0 steps").tolist() == [[1, 0.5], [2, 0.6]]
    assert len(drawn(figures.error_cost(table.drop(columns="steps")), "candidates")) == 4


@given(st.integers(1, 12))
@settings(max_examples=6, deadline=None)
def test_a_line_for_each_training_in_the_order_of_its_steps(count):
    table = pd.DataFrame([{"step": s, "D": d, "error": 1 / (d + s)} for d in range(1, count + 1) for s in (3, 1, 2)])
    axes = figures.training(table, by=["D"])
    assert [line.get_xdata().tolist() for line in axes.lines] == [[1, 2, 3]] * count
    ends = sorted(line.get_ydata()[-1] for line in axes.lines)
    assert ends == pytest.approx(sorted(1 / (d + 3) for d in range(1, count + 1)))
    names = axes.get_legend_handles_labels()[1]
    assert names == ([f"D={d}" for d in range(1, count + 1)] if count <= len(PALETTE) else [])


def test_the_log_of_a_pretraining(tmp_path):
    (tmp_path / "log.jsonl").write_text(
        '{"step": 1, "loss": 3.0}\n{"step": 2, "loss": 2.0}\n{"step": 2, "held_out": {}}\n'
    )
    assert figures.training(tmp_path, "loss").lines[0].get_ydata().tolist() == [3, 2]
    with pytest.raises(InputError, match="holds no steps"):
        figures.training(tmp_path / "elsewhere", "loss")


@pytest.mark.parametrize(
    "draw",
    [
        lambda t: figures.pareto(t, "width"),
        lambda t: figures.landscape(t, "width"),
        lambda t: figures.error_cost(t, "width"),
        lambda t: figures.training(t, by=["width"]),
        lambda t: figures.surrogate_truth(t, "width"),
        lambda t: figures.latency_predicted(t, "width"),
    ],
)
def test_a_column_that_is_missing_is_named(draw, table):
    with pytest.raises(InputError, match="no column"):
        draw(table.table)


def test_figures_fit_a_column_and_stay_where_they_are_told(table):
    import matplotlib.pyplot as plt

    axes = figures.pareto(table.table)
    axes.figure.canvas.draw()
    assert axes.figure.get_size_inches()[0] == WIDTH
    texts = [t for t in axes.figure.findobj(mpl.text.Text) if t.get_text()]
    assert min(t.get_size() for t in texts) >= 6
    tight = axes.figure.get_tightbbox()
    assert tight.x0 >= 0 and tight.x1 <= WIDTH  # nothing is cut off
    _, own = plt.subplots()
    before = len(plt.get_fignums())
    assert figures.pareto(table.table, axes=own) is own
    assert len(plt.get_fignums()) == before
    assert own.figure.legends == []


def least_apart(palette):
    """The least distance of two colours as a protanope and a deuteranope see them (Viénot, Brettel, Mollon 1999)."""
    rgb = np.array([colors.to_rgb(c) for c in palette]) ** 2.2
    to_lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    found = []
    for seen in ([[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]]):
        shown = (np.linalg.inv(to_lms) @ np.array(seen) @ to_lms @ rgb.T).T.clip(0, 1) ** (1 / 2.2)
        found.append((np.linalg.norm(shown[:, None] - shown[None], axis=2) + np.eye(len(shown))).min())
    return min(found)


def test_colours_differ_for_colour_blind_eyes():
    assert least_apart(PALETTE) > 0.1 > least_apart(mpl.color_sequences["tab10"][:6])
