"""The whole way of somebody who has never seen the dashboard, from the first page to a bound and to files.

Each station is one that other tests know in its parts; here they follow each other in one session, as for a reader, and
what is drawn, said or saved is held against DuckDB's own answer.
"""

import csv
import re
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlparse
from xml.etree import ElementTree

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from collector import connect
from tests.browser.dashboard import settle, wait_for_chart
from tests.browser.test_dashboard import go_to, heatmap, zoom
from tests.browser.test_layers import save
from tests.browser.test_runs import expect_ticked, tick
from tests.browser.test_sql import download, run
from tests.dashboard_log import HOSTILE

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("browser")]

OpenPage = Callable[[str], Page]

WEIGHTS = ["first.weight", "middle.weight", "last.weight"]

QUERY = "SELECT run, layer, hit_rate FROM clip_hits WHERE run IN ('clipped', 'lamb') ORDER BY run, layer"

CURVE = """(chart) => {
    const trace = chart._fullData.findIndex((trace) => trace.name === 'before clipping');
    return chart.calcdata[trace].map((point) => [point.x, point.y]);
}"""

DIFFERENCE = """(chart) => ({
    z: chart.calcdata[0][0].z.map((row) => Array.from(row)),
    layers: chart._fullLayout.yaxis._categories,
})"""


@pytest.fixture
def fresh_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens an address as somebody does who was only sent the link: no cookies, nothing cached."""
    with browser.new_context(viewport={"width": 1280, "height": 1000}) as context:
        context.set_default_timeout(120_000)

        def fresh_page(address: str) -> Page:
            page = context.new_page()
            page.goto(address)
            settle(page)
            return page

        yield fresh_page


def test_a_newcomer_finds_a_bound_and_sends_what_was_found(
    open_page: OpenPage, fresh_page: OpenPage, address: str, log: Path
):
    store = connect(log)
    page = open_page(address)
    choose_runs(page)
    layers = look_at_layers(page, store)
    keep_the_chart(page, store)
    compare(page, store)
    bounds = ask_for_bounds(page, store)
    sql = ask_in_sql(page, store)

    for link, look in ((layers, seen_of_layers), (bounds, seen_of_bounds), (sql, seen_of_sql)):
        page.goto(link)
        settle(page)
        assert look(fresh_page(link)) == look(page)


def choose_runs(page: Page) -> None:
    """At first the newest runs are chosen; the reader wants two others."""
    newest = ["killed", HOSTILE, "failed"]
    expect_ticked(page, newest)
    for row, ticked in ((0, newest[1:]), (1, newest[2:]), (2, []), (4, ["clipped"]), (5, ["clipped", "lamb"])):
        tick(page, row)
        expect_ticked(page, ticked)
        expect(page.get_by_text(f"6 runs, {len(ticked)} chosen")).to_be_visible()
        settle(page)  # the table moves where the cards above it come and go


def look_at_layers(page: Page, store: duckdb.DuckDBPyConnection) -> str:
    """Another quantity, some of the layers, some of the steps, and one layer. Returns the link to it."""
    page.get_by_role("button", name="Open in Layers").click()
    expect(page.get_by_role("heading", name="Layers", exact=True)).to_be_visible()
    settle(page)
    expect(page.get_by_role("combobox", name="of run")).to_have_value("clipped")  # the newer one
    page.get_by_role("radio", name="After clipping").click()
    page.wait_for_url("**show=clipped_ratio**")
    page.get_by_label("Layers", exact=True).last.fill("*.weight")
    page.keyboard.press("Enter")
    page.wait_for_url("**layers=**")
    wait_for_chart(page, "(chart) => chart.calcdata[0][0].z.length === 3")
    settle(page)
    zoom(page, 0.25, 0.55)
    page.wait_for_url("**steps=**")
    settle(page)

    drawn = heatmap(page)
    assert drawn["layers"] == WEIGHTS
    assert np.allclose(drawn["z"], np.log10(ratios(store, "clipped", "clipped_ratio", WEIGHTS)), atol=1e-5)
    first, last = steps_of(page)
    assert 1 < first < last < 40
    assert (first - 1.5, last + 0.5) <= (drawn["range"][0] + 0.5, drawn["range"][1] + 1)

    opened = page.get_by_role("combobox", name="Layer", exact=True).input_value()
    row = next(row for row, layer in enumerate(WEIGHTS) if layer != opened)
    box = first_chart(page).locator(".nsewdrag").first.bounding_box()
    assert box
    panel = page.evaluate("document.querySelector('.lambc-chart')._fullLayout.yaxis._length")
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + panel * (row + 0.5) / len(WEIGHTS))
    page.wait_for_url(f"**layer={WEIGHTS[row]}**")
    settle(page)
    expect(page.get_by_role("combobox", name="Layer", exact=True)).to_have_value(WEIGHTS[row])
    expected = store.execute(
        "SELECT step, trust_ratio FROM trust_ratios WHERE run = 'clipped' AND layer = ? AND step BETWEEN ? AND ?"
        " ORDER BY step",
        [WEIGHTS[row], first, last],
    ).fetchall()
    curve = page.get_by_role("img", name="Trust ratio of the layer", exact=True)
    page.wait_for_function(f"(chart) => ({CURVE})(chart).length === {len(expected)}", arg=curve.element_handle())
    assert np.allclose(curve.evaluate(CURVE), expected, rtol=1e-5)
    return page.url


def keep_the_chart(page: Page, store: duckdb.DuckDBPyConnection) -> None:
    """As a table, as a drawing and as a picture."""
    first, last = steps_of(page)
    called = f"after-clipping-of-every-layer-at-every-step-clipped-bound-0.2-steps-{first}-to-{last}"
    keep = partial(save, page, called=called)
    with keep("CSV").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["series"].startswith("After clipping")]
    saved = (
        pd.DataFrame(rows).astype({"step": float, "value": float}).pivot(index="layer", columns="step", values="value")
    )
    expected = ratios(store, "clipped", "clipped_ratio", WEIGHTS)
    assert np.allclose(saved.loc[WEIGHTS].to_numpy(), expected, rtol=1e-6)
    drawing = ElementTree.parse(keep("SVG")).getroot()
    assert set(WEIGHTS) <= {text.strip() for text in drawing.itertext()}
    picture = keep("PNG").read_bytes()
    shown = first_chart(page).bounding_box()
    assert shown
    below = 44  # what the chart shows, and of which run
    assert struct.unpack(">II", picture[16:24]) == (2 * round(shown["width"]), 2 * (round(shown["height"]) + below))


def compare(page: Page, store: duckdb.DuckDBPyConnection) -> None:
    """What became of both runs, and by how much their ratios differ."""
    go_to(page, "Compare")
    expect(page.get_by_role("combobox", name="Run A")).to_have_value("clipped")
    chart = page.get_by_role("img", name="Ratio before clipping: run A against run B")
    drawn = chart.evaluate(DIFFERENCE)
    one, other = (ratios(store, run, "trust_ratio", drawn["layers"]) for run in ("clipped", "lamb"))
    assert len(drawn["layers"]) == 6
    assert np.allclose(drawn["z"], np.log10(one / other), atol=1e-4)


def ask_for_bounds(page: Page, store: duckdb.DuckDBPyConnection) -> str:
    """An upper bound of the run that had none, then a lower one. Returns the link to the latter."""
    go_to(page, "Bounds")
    expect(page.get_by_text("This run was clipped itself")).to_be_visible()
    page.get_by_role("combobox", name="Run", exact=True).click()
    page.get_by_role("option", name="lamb", exact=True).click()
    page.wait_for_url("**run=lamb**")
    expect(page.get_by_text("This run was clipped itself")).to_have_count(0)
    settle(page)
    free = ratios(store, "lamb", "trust_ratio")
    upper = suggested(page, "An upper bound of")
    assert 0 < (free > upper).mean() <= 0.05
    code = page.get_by_test_id("stCode").first
    expect(code).to_contain_text(f"optimizer = LAMBC(model.named_parameters(), clip={upper:g})")
    page.get_by_role("radio", name="lower").click()
    page.wait_for_url("**side=lower**")
    expect(page.get_by_role("heading", name="A lower bound of")).to_be_visible()
    settle(page)
    lower = suggested(page, "A lower bound of")
    assert 0 < (free < lower).mean() <= 0.05
    expect(code).to_contain_text(f'clip=({lower:g}, float("inf")))')
    return page.url


def suggested(page: Page, words: str) -> float:
    said = page.get_by_role("heading", name=words).inner_text()
    return float(re.search(r"bound of (\S+) would clip", said)[1])


def ask_in_sql(page: Page, store: duckdb.DuckDBPyConnection) -> str:
    """What no page says, and its answer as files. Returns the link to it."""
    go_to(page, "SQL")
    run(page, QUERY)
    expect(page.get_by_text(re.compile("^12 rows in"))).to_be_visible()
    settle(page)
    expected = store.sql(QUERY).to_arrow_table()
    pd.testing.assert_frame_equal(pd.read_csv(download(page, "CSV")), expected.to_pandas(), check_dtype=False)
    assert pq.read_table(download(page, "Parquet")).to_pylist() == expected.to_pylist()
    return page.url


def seen_of_layers(page: Page) -> tuple:
    layer = page.get_by_role("combobox", name="Layer", exact=True).input_value()
    curve = page.get_by_role("img", name="Trust ratio of the layer", exact=True).evaluate(CURVE)
    shown = page.get_by_role("img", name="After clipping of every layer at every step")
    expect(shown).to_be_visible()
    return heatmap(page), layer, curve, steps_of(page)


def seen_of_bounds(page: Page) -> tuple:
    return suggested(page, "A lower bound of"), page.get_by_test_id("stCode").all_inner_texts()


def seen_of_sql(page: Page) -> tuple:
    expect(page.get_by_text(re.compile("^12 rows in"))).to_be_visible()
    return (page.get_by_role("textbox", name="Query").input_value(),)


def first_chart(page: Page) -> Locator:
    return page.locator(".lambc-chart[data-drawn]").first


def steps_of(page: Page) -> tuple[int, int]:
    """The steps that the address names."""
    first, last = parse_qs(urlparse(page.url).query)["steps"][0].split("-")
    return int(first), int(last)


def ratios(store: duckdb.DuckDBPyConnection, run: str, column: str, layers: list[str] | None = None) -> np.ndarray:
    """Float64 [layers, steps]: a column of a run's rows, layers in depth order or as given."""
    rows = store.execute(
        f"""SELECT layer, step, {column}::DOUBLE AS value FROM trust_ratios WHERE run = ?""", [run]
    ).df()
    table = rows.pivot(index="layer", columns="step", values="value")
    return (table if layers is None else table.loc[layers]).to_numpy()
