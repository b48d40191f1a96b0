"""The page in headless Chromium, used as a person uses it: pointing, dragging, clicking."""

import json
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest

from fsp.report.explorer import _renumbered
from fsp.report.pages import write_report

from .browser import PATIENCE, Browser

ROOT = Path(__file__).parent.parent.parent
HELPERS = """
window.deep = (selector, root = document) => [...root.querySelectorAll(selector),
  ...[...root.querySelectorAll("*")].filter(e => e.shadowRoot).flatMap(e => deep(selector, e.shadowRoot))]
window.plot = (k) => Bokeh.documents[0].roots()[k]
window.place = (k, x, y) => {  // of a point of plot k on the screen
  const view = Bokeh.index.get_one(plot(k)), r = view.el.getBoundingClientRect(), f = view.frame
  return [r.left + f.x_scale.compute(x), r.top + f.y_scale.compute(y)]
}
window.column = (cell) => Number(/\\bl(\\d+)\\b/.exec(cell.className)[1])  // the page's order may be another
window.rows = () => deep(".slick-row").map(r => [...r.querySelectorAll(".slick-cell")]
  .sort((a, b) => column(a) - column(b)).map(c => c.textContent))
window.centre = (e) => { const r = e.getBoundingClientRect(); return [r.left + r.width / 2, r.top + r.height / 2] }
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The run recorded in the repository, with a failed candidate whose message looks like markup."""
    folder = tmp_path_factory.mktemp("run")
    for name in ("result.json", "evaluations.csv"):
        shutil.copy(ROOT / "experiments" / "minilm" / name, folder)
    table = pd.read_csv(folder / "evaluations.csv")
    failed = table.iloc[[0]].assign(I=1536, error=None, w_total=None, w_encoder=None, failure="<b>loss</b> nan")
    pd.concat([table, failed]).to_csv(folder / "evaluations.csv", index=False)
    write_report(folder)
    return folder


@pytest.fixture
def page(run, chromium, tmp_path):
    with Browser(chromium, tmp_path / "profile") as browser:
        browser.open(run / "report.html")
        browser.wait("document.documentElement.classList.contains('interactive')")
        browser.evaluate(HELPERS + "; document.querySelector('.explorer').scrollIntoView()")
        browser.wait("rows().length > 5 && place(0, 10, .5)[0] > 0")
        yield browser
        assert all(kind in ("log", "info") for kind, _ in browser.console), browser.console
        assert all(url.startswith(("file://", "data:")) for url in browser.requests)


@pytest.fixture
def table(run):
    table = pd.read_csv(run / "evaluations.csv")
    full = json.loads((run / "result.json").read_text())["models"][0]
    for name in ("encoder_parameters", "operations"):
        table[f"{name} %"] = 100 * table[name] / full[name]
    return table


def edges(values):
    """The two numbers that stand farthest from any of the values, one in their lower half and one in their upper."""
    values = values.dropna().sort_values().to_numpy()
    middles, gaps = (values[1:] + values[:-1]) / 2, values[1:] - values[:-1]
    half = len(gaps) // 2
    return middles[gaps[:half].argmax()], middles[half + gaps[half:].argmax()]


def text(browser, element):
    return browser.evaluate(f"document.getElementById('explorer-{element}').textContent")


def test_pointing_at_a_candidate_shows_its_architecture(page, table):
    row = table.loc[table["error"].sub(0.5855).abs().idxmin()]
    where = page.evaluate(f"place(1, {row['operations %']}, {row['error']})")
    page.mouse("mouseMoved", where[0] - 60, where[1])
    page.mouse("mouseMoved", *where)
    page.wait("deep('.bk-Tooltip').some(t => t.shadowRoot || t.textContent)")
    shown = page.evaluate("deep('.bk-tooltip-row-value, .bk-Tooltip span').map(e => e.textContent).join(' ')")
    assert "D={D} A={A} H={H} I={I}".format(**row[list("DAHI")].astype(int)) in shown
    assert f"{row['error']:.4f}" in shown


def test_a_box_filters_plots_and_table_and_the_arrow_shows_all_again(page, table):
    assert text(page, "shown") == f"{len(table)} of {len(table)} candidates shown."
    (left, right), (low, high) = edges(table["encoder_parameters %"]), edges(table["error"])
    page.drag(*page.evaluate(f"[place(0, {left}, {high}), place(0, {right}, {low})]"))
    inside = table[table["encoder_parameters %"].between(left, right) & table["error"].between(low, high)]
    assert 0 < len(inside) < len(table) - 1
    page.wait(f"document.getElementById('explorer-shown').textContent.startsWith('{len(inside)} of {len(table)} ')")
    page.wait(f"rows().length === {len(inside)}")
    shown = {tuple(int(cell.replace(",", "")) for cell in row[:4]) for row in page.evaluate("rows()")}
    assert shown == set(map(tuple, inside[list("DAHI")].to_numpy().tolist()))
    low, high = edges(inside["operations %"])  # a second box, in another plot, refines
    page.drag(*page.evaluate(f"[place(2, {left}, {high}), place(2, {right}, {low})]"))
    refined = inside[inside["operations %"].between(low, high)]
    assert 0 < len(refined) < len(inside)
    page.wait(f"document.getElementById('explorer-shown').textContent.startsWith('{len(refined)} of ')")
    page.click(*page.evaluate("centre(deep('.bk-tool-icon-reset')[0])"))
    page.wait(f"document.getElementById('explorer-shown').textContent.startsWith('{len(table)} of ')")


def test_a_click_compares_with_the_choice(page, table):
    choice = table.loc[table["error"].idxmin()]
    row = table.loc[table["error"].sub(0.5855).abs().idxmin()]
    page.click(*page.evaluate(f"place(1, {row['operations %']}, {row['error']})"))
    page.wait("document.getElementById('explorer-compare').textContent")
    said = text(page, "compare")
    assert said.startswith("D={D} A={A} H={H} I={I} against".format(**row[list("DAHI")].astype(int)))
    for name in ("error", "encoder_parameters", "parameters", "operations"):
        assert f"{row[name] / choice[name]:.2f} times the {name.replace('_', ' ')}" in said
    assert text(page, "shown").startswith(f"{len(table)} of ")
    view = "deep('.slick-viewport')[0].getBoundingClientRect()"  # the table scrolls to the point, in its own time
    middle = f"r => Math.abs(centre(r)[1] - ({view}.top + {view}.bottom) / 2)"
    for _ in range(PATIENCE):
        page.evaluate(f"window.near = deep('.slick-row').map({middle}); window.row = near.indexOf(Math.min(...near))")
        first, cell = page.evaluate("[rows()[row], centre(deep('.slick-row')[row].querySelector('.slick-cell'))]")
        page.click(*cell)
        time.sleep(0.2)
        if text(page, "compare").startswith(f"D={first[0]} A={first[1]} "):
            break
    assert text(page, "compare").startswith(f"D={first[0]} A={first[1]} ")


def test_a_columns_title_sorts(page, table):
    column = page.evaluate("deep('.slick-header-column').findIndex(h => h.textContent.trim() === 'operations')")
    for ascending in (True, False):
        page.click(*page.evaluate(f"centre(deep('.slick-header-column')[{column}])"))
        best = table["operations"].min() if ascending else table["operations"].max()
        page.wait(f"rows()[0][{column}] === '{best:,}'")
    assert "<b>loss</b> nan" in page.evaluate("rows().map(r => r.join()).join()")  # a failed candidate, as text


def test_colours_follow_the_page_and_paper_gets_a_picture(page):
    ink = "plot(0).below[0].axis_label_text_color"
    assert page.evaluate(ink) == "#222"
    page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    page.wait(f"{ink} === '#e6e6e6'")
    shown = "['explorer', 'plain'].map(c => getComputedStyle(document.querySelector('.' + c)).display)"
    assert page.evaluate(shown) == ["block", "none"]
    page.send("Emulation.setEmulatedMedia", media="print")
    assert page.evaluate(shown) == ["none", "block"]
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_without_scripts_the_picture_and_the_table_are_there(run, chromium, tmp_path):
    with Browser(chromium, tmp_path / "profile") as browser:
        browser.send("Emulation.setScriptExecutionDisabled", value=True)
        browser.open(run / "report.html")
        shown = "['explorer', 'plain'].map(c => getComputedStyle(document.querySelector('.' + c)).display)"
        assert browser.evaluate(shown) == ["none", "block"]
        assert browser.evaluate("document.querySelector('.plain img').naturalWidth") > 500


def test_tens_of_thousands_of_candidates(run, table, chromium, tmp_path):
    (left, right), (low, high) = edges(table["encoder_parameters %"]), edges(table["error"])
    table = pd.read_csv(run / "evaluations.csv")
    many = pd.concat(
        [table] + [table.assign(I=table["I"] + k, error=table["error"] * (1 + k / 7000)) for k in range(1, 2500)]
    )
    folder = tmp_path / "many"
    folder.mkdir()
    shutil.copy(run / "result.json", folder)
    many.to_csv(folder / "evaluations.csv", index=False)
    write_report(folder)
    assert (folder / "report.html").stat().st_size < 8e6
    with Browser(chromium, tmp_path / "profile") as browser:
        browser.open(folder / "report.html")
        browser.wait("document.documentElement.classList.contains('interactive')")
        assert text(browser, "shown") == f"{len(many):,} of {len(many):,} candidates shown."
        browser.evaluate(HELPERS + "; document.querySelector('.explorer').scrollIntoView()")
        browser.wait("rows().length > 5 && rows().length < 100")
        browser.drag(*browser.evaluate(f"[place(0, {left}, {high}), place(0, {right}, {low})]"))
        browser.wait(f"!document.getElementById('explorer-shown').textContent.startsWith('{len(many):,}')")


def test_the_written_javascript_stays_glue():
    lines = (ROOT / "fsp" / "report" / "templates" / "explorer.js").read_text().splitlines()
    assert len(lines) <= 60


def test_ids_are_numbered_anew_and_references_follow():
    document = {"roots": [{"id": "p7", "attributes": {"axis": {"id": "p9"}}}, {"id": "p9"}], "title": "p7"}
    assert _renumbered(document, {}) == {
        "roots": [{"id": "fsp0", "attributes": {"axis": {"id": "fsp1"}}}, {"id": "fsp1"}],
        "title": "p7",
    }
