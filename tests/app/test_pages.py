"""Every page over a real log, without a browser."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from collector import Collector
from tests import dashboard_log
from tests.app.figures import drawn
from tests.collector.emitter import Emitter
from tests.dashboard_log import HOSTILE, HOSTILE_LAYER

PAGES = ("runs", "layers", "clipping", "bounds", "compare", "sql")

pytestmark = pytest.mark.filterwarnings("ignore:.*nanobind.*")

OpenPage = Callable[..., AppTest]


def figure(page: AppTest, key: str) -> dict:
    """The figure that the chart component was given."""
    chart = next(element for element in page.get("bidi_component") if element.key == key)
    return drawn(chart.proto.bytes)


def text(page: AppTest) -> str:
    """All that a page says in Markdown, as written."""
    kinds = ("header", "subheader", "markdown", "caption", "info", "metric", "code")
    return "\n".join(str(getattr(element, "value", "")) for kind in kinds for element in page.get(kind))


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("runs", [("lamb", "clipped", "between"), ("killed",), ("failed", HOSTILE)])
def test_a_page_shows_the_chosen_runs_without_an_error(
    open_page: OpenPage, log: Path, name: str, runs: tuple[str, ...]
):
    page = open_page(name, log, *runs)
    assert not page.exception
    assert [header.value.lower() for header in page.header] == [name]
    assert page.multiselect(key="runs").value == list(runs)


@pytest.mark.parametrize("name", PAGES)
def test_an_empty_folder_says_how_to_begin(open_page: OpenPage, tmp_path: Path, name: str):
    page = open_page(name, tmp_path)
    assert not page.exception
    assert "lambc demo" in text(page)
    assert str(tmp_path) in text(page)


@pytest.mark.parametrize("name", PAGES)
def test_a_folder_that_is_not_there_is_an_empty_one(open_page: OpenPage, tmp_path: Path, name: str):
    page = open_page(name, tmp_path / "nowhere")
    assert not page.exception
    assert "No runs yet" in text(page)


def test_the_newest_runs_are_chosen_at_first(open_page: OpenPage, log: Path):
    assert open_page("runs", log).multiselect(key="runs").value == ["failed", HOSTILE, "killed"]


@pytest.mark.parametrize("name", ["runs", "clipping", "compare"])
def test_long_names_that_differ_in_their_middle_are_told_apart(open_page: OpenPage, tmp_path: Path, name: str):
    runs = [f"cifar10-jpeg-b100-{arm}-e80-w8-px16-augment-cpu-every25-avg10-n5000-s0" for arm in ("clip1", "noclip")]
    for run in runs:
        emitter = Emitter(["w"])
        with Collector(emitter, tmp_path, name=run, config={"clip": run}) as collector:
            emitter.say(1)
            collector.log({"test/accuracy": 0.5})
    page = open_page(name, tmp_path, *runs)
    labels = re.findall(r"\] \*\*(cifar10.*?)\*\*", "\n".join(each.value for each in page.markdown))
    assert len(labels) >= 2
    assert {re.search("clip1|noclip", label).group() for label in labels} == {"clip1", "noclip"}
    assert all(re.search("clip1|noclip", metric.label) for metric in page.metric if "cifar10" in metric.label)
    if name == "compare":
        entries = {trace["name"] for trace in figure(page, "compare")["data"]}
        assert all(re.search("clip1|noclip", entry) for entry in entries)


@pytest.mark.parametrize("name", PAGES)
def test_a_run_that_is_gone_is_said_and_stays_in_the_address_until_another_is_chosen(
    open_page: OpenPage, log: Path, name: str
):
    page = open_page(name, log, "lamb", "renamed", "clipped")
    assert "**renamed** is named in the address, and is not in this log" in page.warning[0].value
    assert page.multiselect(key="runs").value == ["lamb", "clipped"]
    assert page.query_params["runs"] == ["lamb", "clipped", "renamed"]
    page.multiselect(key="runs").set_value(["lamb"]).run()
    assert not page.warning
    assert page.query_params["runs"] == "lamb"


def test_a_link_to_nothing_but_a_run_that_is_gone_shows_no_other(open_page: OpenPage, log: Path):
    page = open_page("layers", log, "renamed")
    assert page.multiselect(key="runs").value == []
    assert "Choose one or several runs" in text(page)


@pytest.mark.parametrize("name", PAGES[1:])
def test_no_chosen_run_is_said(open_page: OpenPage, log: Path, name: str):
    page = open_page(name, log, "lamb")
    page.multiselect(key="runs").set_value([]).run()
    assert not page.exception
    assert "Choose one or several runs" in text(page)


def test_a_killed_run_is_said_to_have_stopped(open_page: OpenPage, log: Path):
    page = open_page("runs", log, "killed")
    assert re.search(r"no word for \d+ minutes\\; the run did not finish", text(page))
    table = page.dataframe[0].value.set_index("run")
    assert table.loc["killed", "status"] == "◌ stalled"
    assert table.loc["killed", "note"].startswith("no word since ")
    assert list(table.loc["failed", ["status", "note"]]) == ["✕ failed", "RuntimeError: out of memory in <layer>"]


def test_the_table_of_runs_says_what_the_configs_say(open_page: OpenPage, log: Path):
    table = open_page("runs", log).dataframe[0].value.set_index("run")
    assert list(table.loc["between", ["bound", "model", "batch", "steps"]]) == [
        "0.1 to 0.2",
        "three-layers",
        32,
        40,
    ]
    assert table.loc["lamb", "bound"] == "no bound"
    assert table.loc["lamb", "hits"] == 0
    assert 0 < table.loc["clipped", "hits"] <= 1


def test_the_layers_switch_shows_another_quantity(open_page: OpenPage, log: Path):
    page = open_page("layers", log, "clipped")
    page.segmented_control(key="show").set_value("hit_rate").run()
    assert not page.exception
    assert figure(page, "heatmap")["layout"]["coloraxis"]["cmax"] == 1
    assert page.query_params["show"] == "hit_rate"


def test_the_heatmap_says_how_many_rows_it_stands_for(open_page: OpenPage, log: Path):
    assert "240 rows → 240 cells, a cell a step." in text(open_page("layers", log, "lamb"))


def test_a_layer_is_opened_by_name(open_page: OpenPage, log: Path):
    page = open_page("layers", log, "clipped")
    page.selectbox(key="layer").set_value("last.bias").run()
    assert not page.exception
    assert page.query_params["layer"] == "last.bias"
    assert "clipped in **" in text(page) or "never clipped" in text(page)


def test_a_switch_outlives_a_visit_to_another_page(open_page: OpenPage, log: Path):
    page = open_page("layers", log, "clipped", "lamb")
    page.selectbox(key="run").set_value("lamb").run()
    page.go_to("compare")
    page.go_to("layers")
    assert page.selectbox(key="run").value == "lamb"


@pytest.mark.parametrize(
    "query", [{"show": "nonsense"}, {"run": "nobody"}, {"layer": "<b>"}, {"steps": "9-1"}, {"along": ""}]
)
def test_nonsense_in_the_address_is_ignored(
    monkeypatch: pytest.MonkeyPatch, open_page: OpenPage, log: Path, query: dict[str, str]
):
    page = open_page("runs", log, "lamb")
    for key, value in query.items():
        page.query_params[key] = value
    for name in ("layers", "compare"):
        page.go_to(name)
        assert not page.exception


def test_a_hostile_layer_is_text(open_page: OpenPage, log: Path):
    page = open_page("layers", log, HOSTILE)
    assert HOSTILE_LAYER in page.selectbox(key="layer").options or page.selectbox(key="layer").options
    assert "<img" not in str(figure(page, "heatmap"))


@pytest.mark.parametrize("name", PAGES)
def test_a_damaged_file_is_one_quiet_notice(open_page: OpenPage, tmp_path: Path, name: str):
    training = dashboard_log.Training(tmp_path, "damaged", 0.2)
    training.steps(5)
    training.collector.close()
    (tmp_path / "damaged" / "trust_ratios" / "torn.parquet").write_bytes(b"PAR1 and no more")
    page = open_page(name, tmp_path, "damaged")
    assert not page.exception
    assert [notice.label for notice in page.expander if "left out" in notice.label] == [
        "1 file was left out because it could not be read"
    ]
    assert r"torn\.parquet" in text(page)


@pytest.mark.parametrize("name", PAGES)
def test_a_run_that_cannot_be_read_breaks_no_page(open_page: OpenPage, tmp_path: Path, name: str):
    training = dashboard_log.Training(tmp_path, "odd", 0.2)
    training.steps(5)
    training.collector.close()
    (tmp_path / "odd" / "run.json").write_text("{")
    page = open_page(name, tmp_path, "odd")
    assert not page.exception


@pytest.mark.parametrize("name", PAGES)
def test_a_run_without_steps_is_waited_for(open_page: OpenPage, tmp_path: Path, name: str):
    training = dashboard_log.Training(tmp_path, "new", 0.2)
    page = open_page(name, tmp_path, "new")
    with pytest.warns(UserWarning, match="run 'new' has no layers"):
        training.collector.close()
    assert [header.value.lower() for header in page.header] == [name]


@pytest.mark.parametrize("ended", [False, True])
def test_a_run_without_steps_is_only_waited_for_while_it_goes_on(open_page: OpenPage, tmp_path: Path, ended: bool):
    """A run that has ended may be in a folder of another name, so that its rows are left out."""
    training = dashboard_log.Training(tmp_path, "made", 0.2)
    training.steps(3 if ended else 0)
    if ended:
        training.collector.close()
        (tmp_path / "made").rename(tmp_path / "renamed")
    page = open_page("layers", tmp_path, "renamed" if ended else "made")
    said = [info.value for info in page.info]
    if not ended:
        with pytest.warns(UserWarning, match="run 'made' has no layers"):
            training.collector.close()
    assert any("have no steps on the disk yet" in sentence for sentence in said) == (not ended)
    assert any("ended before the first was taken, or their files cannot be read" in each for each in said) == ended


def test_a_run_without_metrics_has_its_layers(open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    training = dashboard_log.Training(tmp_path, "silent", 0.2)
    monkeypatch.setattr(training.collector, "log", lambda *args, **kwargs: None)
    training.steps(5)
    training.collector.close()
    for name in PAGES:
        assert not open_page(name, tmp_path, "silent").exception
    assert len(figure(open_page("layers", tmp_path, "silent"), "heatmap")["data"]) == 1


def test_epochs_are_offered_only_where_a_run_has_some(open_page: OpenPage, log: Path, tmp_path: Path):
    emitter = Emitter(["a", "b"])
    with Collector(emitter, tmp_path, name="endless") as collector:
        for step in range(1, 21):
            emitter.say(step)
            collector.log({"train/loss": 1 / step})
    for root, run, offered in ((tmp_path, "endless", False), (log, "lamb", True)):
        for name, key in (("layers", "axis"), ("compare", "along"), ("bounds", "part")):
            controls = {each.key: each.options for each in open_page(name, root, run).segmented_control}
            assert any("epoch" in str(option) for option in controls.get(key, [])) == offered


def test_an_odd_config_is_shown_as_it_is(open_page: OpenPage, tmp_path: Path):
    odd = [
        {"model": {"depth": 3}, "batch_size": "many", "clip": [1, 2, 3]},
        {"model": 5, "batch_size": [64], "data": None},
    ]
    for number, config in enumerate(odd):
        training = dashboard_log.Training(tmp_path, f"odd{number}", 0.2)
        training.steps(2)
        training.collector.close()
        run = tmp_path / f"odd{number}" / "run.json"
        run.write_text(json.dumps(json.loads(run.read_text()) | {"config": config}))
    table = open_page("runs", tmp_path).dataframe[0].value.set_index("run")
    assert table.loc["odd0", "model"] == "{'depth': 3}"
    assert not open_page("compare", tmp_path).exception
