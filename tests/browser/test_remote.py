"""The dashboard over a log at a URL."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from collector import connect
from tests.browser.dashboard import serve, settle, wait_for_chart
from tests.browser.test_dashboard import heatmap
from tests.collector import s3_server
from tests.collector.s3_server import S3Server
from tests.dashboard_log import Training

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

OpenPage = Callable[[str], Page]

URL = "s3://bucket/runs"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A server with an empty bucket, `bucket`, and whoever may use it."""
    with s3_server.running() as server:
        for name, value in server.environment(tmp_path / "cache").items():
            monkeypatch.setenv(name, value)
        server.files.create_dir("bucket")
        yield server


def test_a_bucket_is_shown_from_its_first_run_on(open_page: OpenPage, server: S3Server, tmp_path: Path):
    with serve(URL, tmp_path) as address:
        page = open_page(address)
        expect(page.get_by_text("No runs yet")).to_be_visible()
        expect(page.get_by_text(URL)).to_be_visible()
        training = Training(URL, "far", 0.2)
        training.steps(10)
        training.collector.flush()
        expect(page.get_by_role("heading", name="All runs")).to_be_visible()
        page.get_by_role("button", name="Open in Layers").click()
        expect(page.get_by_role("heading", name="Layers", exact=True)).to_be_visible()
        settle(page)
        training.steps(10)
        training.collector.close()
        wait_for_chart(page, "(chart) => chart.calcdata[0][0].z[0].length === 20")
        expect(page.get_by_test_id("stSidebar").get_by_text("finished")).to_be_visible()
        drawn = np.array(heatmap(page)["z"], dtype=float).T.ravel()
        rows = connect(URL).sql(
            """SELECT log10(trust_ratio) FROM trust_ratios JOIN layers USING (run, layer) ORDER BY step, "position" """
        )
        assert np.allclose(drawn, [drawn for (drawn,) in rows.fetchall()], atol=1e-5)
