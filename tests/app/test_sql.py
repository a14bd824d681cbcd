"""The SQL page: what a reader asks, what a stranger tries, and the processes behind it."""

import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from app.charts.answer import BARS, POINTS, SERIES, Drawing, answer_chart, first_drawing, what_is_drawn
from app.charts.theme import LIGHT, run_lines
from app.sql import tables as answers
from app.sql.examples import Names, questions
from app.sql.running_query import Inquiry
from app.sql.sandboxes import Sandboxes
from collector import connect
from collector.store.documentation import describe
from collector.store.views import STATEMENTS
from tests.app.figures import texts
from tests.app.test_pages import figure, text
from tests.dashboard_log import HOSTILE, Training

pytestmark = pytest.mark.filterwarnings("ignore:.*nanobind.*")

OpenPage = Callable[..., AppTest]

ENDLESS = "SELECT count(*) FROM range(1_000_000) a, range(1_000_000) b, range(1_000_000) c WHERE a.range + b.range = 7"


def ask(page: AppTest, sql: str) -> AppTest:
    """Write a query, run it, and look again until it is answered."""
    page.text_area(key="sql").set_value(sql)
    run_button(page).click()
    return settled(page.run())


def run_button(page: AppTest) -> object:
    return next(button for button in page.button if button.label == "Run")


def settled(page: AppTest) -> AppTest:
    until = time.monotonic() + 600
    while is_running(page):
        assert time.monotonic() < until
        time.sleep(0.1)
        page.run()
    return page


def is_running(page: AppTest) -> bool:
    return any(button.key == "sql-stop" for button in page.button)


def complaint(page: AppTest) -> str:
    """What the page says instead of an answer, Markdown's escapes taken off."""
    (said,) = page.warning
    return said.value.replace("\\", "")


def workers() -> set[int]:
    """The processes that answer queries for this one."""
    found = set()
    for process in Path("/proc").iterdir():
        try:
            command = (process / "cmdline").read_bytes()
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if b"collector.store.sandbox_worker" in command and parent == os.getpid():
            found.add(int(process.name))
    return found


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 600
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


# The page


def test_an_answer_is_the_logs_own(open_page: OpenPage, log: Path):
    sql = "SELECT run, layer, count(*) AS n, max(trust_ratio) AS most FROM trust_ratios GROUP BY ALL ORDER BY ALL"
    page = ask(open_page("sql", log, "clipped"), sql)
    assert not page.exception
    expected = connect(log).sql(sql).to_arrow_table().to_pandas()
    pd.testing.assert_frame_equal(page.dataframe[0].value, expected)
    assert f"**{len(expected)} rows** in " in text(page)


def test_the_first_question_is_asked_at_once_about_the_chosen_run(open_page: OpenPage, log: Path):
    page = settled(open_page("sql", log, "clipped", "lamb"))
    assert "hit_rate_by_layer('clipped', 1, 40)" in page.text_area(key="sql").value
    shown = page.dataframe[0].value
    rates = connect(log).sql("FROM hit_rate_by_layer('clipped', 1, 40)").to_arrow_table().to_pandas()
    assert dict(zip(shown["layer"], shown["upper_rate"], strict=True)) == dict(
        zip(rates["layer"], rates["upper_rate"], strict=True)
    )
    (bars,) = figure(page, "sql-chart")["data"]
    assert bars["type"] == "bar"


def test_every_question_is_answered_at_a_click(open_page: OpenPage, log: Path):
    page = settled(open_page("sql", log, "lamb", HOSTILE))
    assert len(questions()) > 5
    for place, question in enumerate(questions()):
        page.button(key=f"sql-question-{place}").click()
        settled(page.run())
        assert not page.exception
        assert not page.warning, question
        assert page.dataframe


def test_a_link_asks_its_query_and_draws_as_its_sender_did(open_page: OpenPage, log: Path):
    page = open_page("runs", log)
    page.query_params["sql"] = "SELECT run, step, value FROM metrics WHERE name = 'train/loss' ORDER BY run, step"
    page.query_params["sql-draw"] = "points"
    page.query_params["sql-colour"] = ""
    settled(page.go_to("sql"))
    assert page.text_area(key="sql").value == page.query_params["sql"]
    (trace,) = figure(page, "sql-chart")["data"]
    assert trace["mode"] == "markers"
    assert page.query_params["sql-draw"] == "points"


def test_another_query_is_drawn_in_its_own_way(open_page: OpenPage, log: Path):
    page = ask(open_page("sql", log, "lamb"), "SELECT step, value FROM metrics WHERE run = 'lamb' ORDER BY ALL")
    page.selectbox(key="sql-draw").set_value("bars").run()
    assert page.query_params["sql-draw"] == "bars"
    ask(page, "SELECT epoch, max(value) AS v FROM metrics WHERE run = 'lamb' GROUP BY ALL ORDER BY ALL")
    assert page.selectbox(key="sql-draw").value == "lines"
    assert page.query_params["sql-draw"] == "lines"


def test_a_query_that_is_too_long_for_a_link_is_asked_all_the_same(open_page: OpenPage, log: Path):
    page = ask(open_page("sql", log, "lamb"), f"SELECT 1 AS x -- {'long ' * 1000}")
    assert page.dataframe[0].value["x"].tolist() == [1]
    assert "sql" not in page.query_params


def test_every_view_and_macro_is_explained_by_its_own_comment_and_runs_its_example(open_page: OpenPage, log: Path):
    page = settled(open_page("sql", log, "clipped"))
    entries = {entry.label for entry in page.expander}
    assert {name for name in STATEMENTS if not name.startswith("log_")} <= entries
    page.session_state["sql-about-heatmap"] = True
    page.run()
    assert describe("heatmap").text in text(page)
    assert "heatmap(run, first_step, last_step, columns, least_width)" in text(page)
    page.button(key="sql-example-heatmap").click()
    settled(page.run())
    assert "heatmap('clipped', 1, 40, 4)" in page.text_area(key="sql").value
    assert len(page.dataframe[0].value)


def test_a_view_lists_its_columns_with_their_types(open_page: OpenPage, log: Path):
    page = settled(open_page("sql", log, "clipped"))
    page.session_state["sql-about-layers"] = True
    page.run()
    described = connect(log).sql("DESCRIBE layers").to_arrow_table().to_pylist()
    listed = [line.split() for block in page.code for line in block.value.splitlines()]
    for column in described:
        assert [column["column_name"], column["column_type"]] in listed


def test_shares_are_written_as_percentages(open_page: OpenPage, log: Path):
    query = "SELECT layer, upper_rate, first_hit FROM hit_rate_by_layer('clipped', 1, 40)"
    page = ask(open_page("sql", log, "clipped"), query)
    shown = json.loads(page.dataframe[0].proto.columns)
    assert shown["upper_rate"]["type_config"]["format"] == "percent"
    assert set(shown) & {"layer", "first_hit"} == set()  # neither of them has floats
    odd = pd.DataFrame({"rate": [0.5, 2.0], "hit_rate": [0.5, None], "accuracy": ["a", "b"], "rated": [0.1, 0.2]})
    assert answers.shares(odd) == ["hit_rate"]
    rates = pd.DataFrame({"rate": [0.5], "learning_rate": [0.003], "base_learning_rate": [0.003]})
    assert answers.shares(rates) == ["rate"]


def test_floats_have_four_digits_wherever_they_begin_and_whole_numbers_all_of_theirs(open_page: OpenPage, log: Path):
    query = """
    SELECT step, 3.49e-5 * step AS small, 0.5::FLOAT AS half, 1234567.0::DOUBLE AS large, 1e300 AS huge,
        if(step = 1, 'nan', '-inf')::DOUBLE AS odd, NULL::DOUBLE AS none, 1.25::DECIMAL(9, 2) AS exact
    FROM range(1, 3) AS t(step)
    """
    shown = json.loads(ask(open_page("sql", log, "clipped"), query).dataframe[0].proto.columns)
    formats = {name: column["type_config"]["format"] for name, column in shown.items() if "type_config" in column}
    assert formats == {
        "small": "%.4g", "half": "%.4g", "large": "%.7g", "huge": "%.15g", "odd": "%.4g", "none": "%.4g"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "beside"),
    [
        ("SELECT range AS step, 1 / range AS loss FROM range(1, 4)", True),
        ("SELECT repeat('x', 20) || range AS name, 0.5 AS rate FROM range(3)", True),
        ("SELECT repeat('x', 60) || range AS name, 0.5 AS rate FROM range(3)", False),
        ("SELECT range AS a, 1 AS b, 1 AS c, 1 AS d, 1 AS e, 1 AS f FROM range(3)", False),
    ],
)
def test_a_table_too_wide_to_be_read_beside_its_chart_stands_above_it(
    open_page: OpenPage, log: Path, sql: str, beside: bool
):
    page = ask(open_page("sql", log, "lamb"), sql)
    assert "sql-chart" in [element.key for element in page.get("bidi_component")]
    widths = [column.weight for column in page.columns if column.dataframe]
    assert [round(width, 2) for width in widths] == ([0.44] if beside else [])
    assert len(page.dataframe) == 1


def test_an_answer_without_rows_and_one_that_cannot_be_drawn_are_tables(open_page: OpenPage, log: Path):
    page = ask(open_page("sql", log, "lamb"), "FROM trust_ratios WHERE run = 'nobody'")
    assert "The answer has no rows." in text(page)
    assert list(page.dataframe[0].value.columns)[:2] == ["run", "step"]
    page = ask(page, "SELECT config FROM runs")
    assert len(page.dataframe[0].value) == 6
    assert "sql-chart" not in [element.key for element in page.get("bidi_component")]


def test_an_answer_that_is_cut_off_says_so(open_page: OpenPage, log: Path):
    page = ask(open_page("sql", log, "lamb"), "FROM range(1_000_000)")
    assert "Cut off after 200,000 rows" in text(page)


def test_a_hostile_name_is_text(open_page: OpenPage, log: Path):
    page = ask(
        open_page("sql", log, HOSTILE),
        'SELECT run, layer, avg(trust_ratio) AS "<b>mean" FROM trust_ratios GROUP BY ALL',
    )
    assert HOSTILE in set(page.dataframe[0].value["run"])
    drawn = str(figure(page, "sql-chart"))
    assert "<img" not in drawn
    assert "<b>mean" not in drawn


def test_new_rows_are_said_and_seen_when_asked_again(open_page: OpenPage, tmp_path: Path):
    training = Training(tmp_path, "growing", 0.2)
    training.steps(4)
    training.collector.flush()
    page = ask(open_page("sql", tmp_path, "growing"), "SELECT count(*) AS n FROM trust_ratios")
    assert page.dataframe[0].value["n"].tolist() == [24]
    training.steps(4)
    training.collector.flush()
    time.sleep(1.1)  # what the log's folder holds is looked up once a second
    page.run()
    assert page.dataframe[0].value["n"].tolist() == [24]
    assert "the log has grown since" in text(page)
    run_button(page).click()
    settled(page.run())
    assert page.dataframe[0].value["n"].tolist() == [48]
    training.collector.close()


# What strangers try


@pytest.mark.parametrize(
    "attack",
    [
        "FROM read_text('/etc/passwd')",
        "FROM '/etc/passwd'",
        "COPY (SELECT 1) TO '{target}'",
        "WITH x AS (COPY (SELECT 1) TO '{target}') FROM x",
        "ATTACH '{target}'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET memory_limit = '8GB'",
        "PRAGMA enable_profiling",
        "DROP VIEW runs",
        "SELECT 1; SELECT 2",
        "SELECT repeat('x', 3_000_000_000)",
        "",
        "SELEC 1",
    ],
)
def test_an_attack_is_one_calm_sentence_and_the_next_query_is_answered(
    open_page: OpenPage, log: Path, tmp_path: Path, attack: str
):
    target = tmp_path / "written"
    before = {path: path.read_bytes() for path in log.rglob("*") if path.is_file()}
    sql = attack.replace("{target}", str(target))
    page = ask(open_page("sql", log, "lamb"), sql)
    assert not page.exception
    assert len(complaint(page)) > 10
    assert "root:" not in text(page)
    assert page.text_area(key="sql").value == sql
    assert not target.exists()
    assert {path: path.read_bytes() for path in log.rglob("*") if path.is_file()} == before
    ask(page, "SELECT 42 AS x")
    assert not page.warning
    assert page.dataframe[0].value["x"].tolist() == [42]


def test_duckdbs_sentence_is_shown_as_it_is(open_page: OpenPage, log: Path):
    page = ask(open_page("sql", log, "lamb"), "SELECT stepp FROM metrics")
    assert complaint(page) == (
        'Binder Error: Referenced column "stepp" not found in FROM clause! Candidate bindings: "step", "time"'
    )


def test_an_endless_join_is_stopped_and_the_next_query_is_answered(open_page: OpenPage, log: Path):
    page = settled(open_page("sql", log, "lamb"))
    page.text_area(key="sql").set_value(ENDLESS)
    run_button(page).click()
    page.run()
    assert is_running(page)
    page.button(key="sql-stop").click()
    settled(page.run())
    assert "Stopped after" in text(page)
    assert page.text_area(key="sql").value == ENDLESS
    assert ask(page, "SELECT 42 AS x").dataframe[0].value["x"].tolist() == [42]


def test_another_query_stops_an_endless_one(open_page: OpenPage, log: Path):
    page = settled(open_page("sql", log, "lamb"))
    page.text_area(key="sql").set_value(ENDLESS)
    run_button(page).click()
    page.run()
    assert is_running(page)
    assert ask(page, "SELECT 42 AS x").dataframe[0].value["x"].tolist() == [42]
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "inquiry"])


# The processes


@pytest.fixture
def sandboxes() -> Iterator[Sandboxes]:
    sandboxes = Sandboxes(places=2, idle=0.2)
    before = workers()
    yield sandboxes
    wait_until(lambda: workers() <= before)  # each test leaves none behind


def inquire(sandboxes: Sandboxes, log: Path, sql: str, version: str = "1") -> Inquiry:
    return Inquiry(sql, sandboxes, (str(log),), version)


def test_a_query_that_takes_too_long_ends_in_a_sentence(log: Path):
    before = workers()
    inquiry = inquire(Sandboxes(idle=0.2, timeout=1.0), log, ENDLESS)
    assert inquiry.wait(600)
    assert inquiry.error == "the query took longer than 1 s and was stopped: ask for less at once"
    assert inquiry.answer is None
    wait_until(lambda: workers() <= before)


def test_a_query_has_its_share_of_the_memory_and_no_more(log: Path):
    before = workers()
    inquiry = inquire(Sandboxes(idle=0.2), log, "SELECT current_setting('memory_limit') AS memory")
    assert inquiry.wait(600)
    assert inquiry.answer.to_pylist() == [{"memory": "122.0 MiB"}]
    greedy = inquire(Sandboxes(idle=0.2), log, "SELECT list(range) FROM range(100_000_000)")
    assert greedy.wait(600)
    assert greedy.error.startswith("Out of Memory Error")
    wait_until(lambda: workers() <= before)


def test_a_process_is_used_again_and_ends_when_nobody_asks(log: Path):
    sandboxes, before = Sandboxes(idle=5.0), workers()
    first = inquire(sandboxes, log, "SELECT 1 AS x")
    assert first.wait(600)
    (process,) = workers() - before
    second = inquire(sandboxes, log, "SELECT 2 AS x")
    assert second.wait(600)
    assert second.answer.to_pylist() == [{"x": 2}]
    assert workers() - before <= {process}
    wait_until(lambda: workers() <= before)


def test_a_process_that_was_killed_is_replaced(log: Path):
    sandboxes, before = Sandboxes(idle=5.0), workers()
    assert inquire(sandboxes, log, "SELECT 1").wait(600)
    (process,) = workers() - before
    os.kill(process, 9)
    wait_until(lambda: process not in workers())
    inquiry = inquire(sandboxes, log, "SELECT count(*) AS n FROM runs")
    assert inquiry.wait(600)
    assert inquiry.error == ""
    assert inquiry.answer.to_pylist() == [{"n": 6}]
    wait_until(lambda: workers() <= before)


def test_a_newer_log_is_shown_by_a_new_process(tmp_path: Path, sandboxes: Sandboxes):
    training = Training(tmp_path, "growing", 0.2)
    counts = []
    for version in "12":
        training.steps(2)
        training.collector.flush()
        inquiry = inquire(sandboxes, tmp_path, "SELECT count(*) AS n FROM trust_ratios", version)
        assert inquiry.wait(600)
        counts += inquiry.answer.column("n").to_pylist()
    training.collector.close()
    assert counts == [12, 24]


def test_there_are_never_more_processes_than_places_and_those_who_wait_are_answered(sandboxes: Sandboxes, log: Path):
    before, most = workers(), 0
    inquiries = [inquire(sandboxes, log, f"SELECT {number} AS x") for number in range(6)]
    while not all(inquiry.over for inquiry in inquiries):
        most = max(most, len(workers() - before))
        time.sleep(0.01)
    assert [inquiry.answer.to_pylist() for inquiry in inquiries] == [[{"x": number}] for number in range(6)]
    assert most <= 2


def test_stopping_one_query_stops_no_other(log: Path):
    sandboxes, before = Sandboxes(places=2, idle=0.2), workers()
    first, second = inquire(sandboxes, log, ENDLESS), inquire(sandboxes, log, ENDLESS)
    wait_until(lambda: first._sandbox is not None and second._sandbox is not None)
    time.sleep(0.5)
    first.stop()
    assert first.wait(600)
    assert not second.over
    second.stop()
    assert second.wait(600)
    wait_until(lambda: workers() <= before)


def test_a_folder_that_is_gone_is_a_sentence(tmp_path: Path, sandboxes: Sandboxes):
    inquiry = inquire(sandboxes, tmp_path / "nowhere", "SELECT 1")
    assert inquiry.wait(600)
    assert inquiry.error.startswith("there is no folder")


# Questions, files, charts


def test_an_example_is_about_the_runs_that_are_chosen_and_names_are_quoted():
    cast = Names(("it's", "b"), "fc'1", 70)
    example = (
        "FROM compare_layers('demo-clip1', 'demo-clip10') WHERE run = 'demo' AND layer = 'fc.weight' AND step < 1000"
    )
    assert cast.fill_in(example) == (
        "FROM compare_layers('it''s', 'b') WHERE run = 'b' AND layer = 'fc''1' AND step < 70"
    )
    assert cast.fill_in("run IN ('demo', 'demo-clip1', 'demo-clip10')") == "run IN ('it''s', 'b')"


ODD = """
SELECT 1.5::DECIMAL(10, 2) AS d, INTERVAL 1 MONTH AS i, [1, 2] AS l, {'a': 1} AS s, map {'a': 1} AS m, 'x'::BLOB AS b,
    TIMESTAMPTZ '2026-01-02 03:04:05+00' AS t, DATE '2020-01-01' AS dd, TIME '10:00' AS tt, 'a'::ENUM('a', 'b') AS e,
    true AS bo, NULL AS nu, '{"k": 1}'::JSON AS js, '1'::BIT AS bi, 2::HUGEINT AS h, union_value(k := 1) AS un,
    'a,"b"' AS "odd ""name"
"""


def test_values_of_every_kind_are_shown_and_kept(log: Path):
    with connect(log, untrusted=True) as sandbox:
        answer = sandbox.execute(ODD)
    shown = answers.shown(answer).to_pandas().iloc[0]
    assert (shown["i"], shown["s"], shown["m"], shown["un"]) == ("1 month", "{'a': 1}", "{a=1}", "1")
    header, row = answers.csv(answer).decode().splitlines()
    assert header == 'd,i,l,s,m,b,t,dd,tt,e,bo,nu,js,bi,h,un,"odd ""name"'
    assert row.startswith(
        "1.50,1 month,\"[1, 2]\",{'a': 1},{a=1},x,2026-01-02 03:04:05+00,2020-01-01,10:00:00,a,true,,"
    )
    assert row.endswith(',2,1,"a,""b"""')
    kept = pq.read_table(io.BytesIO(answers.parquet(answer)))
    assert kept.column_names == answer.column_names
    assert kept.column("t").to_pylist() == answer.column("t").to_pylist()


def test_a_file_has_all_rows_of_an_answer(log: Path):
    with connect(log, untrusted=True) as sandbox:
        answer = sandbox.execute("SELECT range AS x, 'é' AS y FROM range(30_000)")
    assert pq.read_table(io.BytesIO(answers.parquet(answer))).equals(answer)
    pd.testing.assert_frame_equal(pd.read_csv(io.BytesIO(answers.csv(answer))), answer.to_pandas())


@pytest.mark.parametrize(
    ("sql", "drawing"),
    [
        ("SELECT 'l' || range AS layer, 0.5 AS upper_rate FROM range(5)", Drawing("bars", "layer", "upper_rate", "")),
        ("SELECT range AS step, random() AS loss FROM range(5)", Drawing("lines", "step", "loss", "")),
        (
            "SELECT x.range % 2 || 'r' AS run, range // 2 AS epoch, 0.5 AS v FROM range(6) x ORDER BY ALL",
            Drawing("lines", "epoch", "v", "run"),
        ),
        ("SELECT range % 3 AS step, range % 2 || '' AS l, 0.5 AS f FROM range(9)", Drawing("points", "step", "f", "l")),
        ("SELECT now() + to_seconds(range) AS time, range AS n FROM range(3)", Drawing("lines", "time", "n", "")),
        ("SELECT range AS step, 1 AS rows, 0.5::DECIMAL(9, 3) AS r FROM range(3)", Drawing("lines", "step", "r", "")),
        ("SELECT 'a' AS word, 'b' AS other FROM range(3)", None),
        ("SELECT 1 AS x, 2 AS y", None),
        ("SELECT range AS x FROM range(3)", None),
        ("SELECT 1 AS x, 2 AS y WHERE false", None),
    ],
)  # fmt: skip
def test_an_answer_is_drawn_as_one_would(log_sandbox, sql: str, drawing: Drawing | None):
    frame = answers.drawable(log_sandbox.execute(sql))
    assert first_drawing(frame) == drawing
    if drawing:
        rows, _ = what_is_drawn(frame, drawing)
        assert len(rows) == len(frame)
        assert answer_chart(rows, drawing).data


@pytest.fixture(scope="module")
def log_sandbox(tmp_path_factory):
    with connect(tmp_path_factory.mktemp("empty"), untrusted=True) as sandbox:
        yield sandbox


def test_a_chart_of_many_points_keeps_every_spike_and_says_what_it_left_out():
    values = pd.Series(0.0, index=range(150_000))
    values[77_777], values[99_999] = 5.0, -5.0
    frame = pd.DataFrame({"step": values.index, "v": values})
    rows, sentence = what_is_drawn(frame, Drawing("lines", "step", "v", ""))
    assert len(rows) <= POINTS
    assert rows["x"].is_monotonic_increasing
    assert {77_777, 99_999, 0, 149_999} <= set(rows["x"])
    assert sentence == "Drawn: 20,000 of 150,000 points, the furthest up and down among them."


def test_more_names_and_bars_than_one_can_read_are_not_drawn_and_that_is_said():
    frame = pd.DataFrame({"name": [f"n{place:03}" for place in range(400)], "v": 1.0})
    rows, sentence = what_is_drawn(frame, Drawing("bars", "name", "v", ""))
    assert (len(rows), sentence) == (BARS, "Drawn: the first 300 of 400 bars.")
    rows, sentence = what_is_drawn(frame, Drawing("points", "v", "v", "name"))
    assert rows["colour"].nunique() == SERIES
    assert sentence == "Drawn: the first 14 of 400 values of name."


def test_odd_values_leave_a_chart_that_can_be_drawn():
    frame = pd.DataFrame(
        {"step": [1, 2, 3, 4], "v": [float("nan"), float("inf"), 2.0, None], "c": [None, "a", "<b>", "a"]}
    )
    rows, _ = what_is_drawn(frame, Drawing("points", "step", "v", "c"))
    assert rows.to_numpy().tolist() == [[3, 2.0, "<b>"]]
    drawn = answer_chart(rows, Drawing("points", "step", "v", "c"))
    assert "<b>" in texts(drawn)
    assert drawn.data[0].name == "&lt;b&gt;"


def test_what_has_no_place_along_the_chart_is_left_out_and_counted():
    frame = pd.DataFrame({"upper": [1.0, 100.0, float("inf")], "n": [1, 2, 3]})
    drawing = Drawing("points", "upper", "n", "")
    rows, sentence = what_is_drawn(frame, drawing)
    assert rows[["x", "y"]].to_numpy().tolist() == [[1, 1], [100, 2]]
    assert sentence == "Drawn: 2 of 3 rows, those in which upper and n are finite numbers."
    frame["t"], frame["name"] = pd.to_datetime(["2026-01-01", None, "2026-01-02"]), list("abc")
    _, sentence = what_is_drawn(frame, Drawing("points", "t", "upper", ""))
    assert sentence == "Drawn: 1 of 3 rows, those in which upper is a finite number and t a time."
    for x in ("name", "upper"):
        _, sentence = what_is_drawn(frame, Drawing("points", x, "upper", ""))
        assert sentence == "Drawn: 2 of 3 rows, those in which upper is a finite number."
    assert answer_chart(rows, drawing).layout.xaxis.type == "log"


def test_values_that_go_far_are_drawn_on_a_logarithmic_axis():
    frame = pd.DataFrame({"step": [1, 2, 3], "v": [0.001, 1.0, 10.0]})
    drawing = Drawing("lines", "step", "v", "")
    assert answer_chart(what_is_drawn(frame, drawing)[0], drawing).layout.yaxis.type == "log"
    frame["v"] -= 0.001  # a zero has no logarithm
    assert answer_chart(what_is_drawn(frame, drawing)[0], drawing).layout.yaxis.type is None


@pytest.mark.parametrize("kind", ["lines", "bars"])
@pytest.mark.parametrize("named", [False, True])
def test_small_values_have_exponents_on_their_axis_and_no_prefix_of_a_unit(kind: str, named: bool):
    frame = pd.DataFrame({"x": ["a", "b"] if named else [1, 2], "v": [-1.0e-4, 3.49e-5]})
    drawing = Drawing(kind, "x", "v", "")
    layout = answer_chart(what_is_drawn(frame, drawing)[0], drawing).layout
    axis = layout.xaxis if kind == "bars" and named else layout.yaxis
    assert axis.exponentformat == "e"
    assert answer_chart(what_is_drawn(frame.assign(v=2500.0), drawing)[0], drawing).layout.yaxis.exponentformat is None


def test_a_run_has_the_line_that_it_has_on_other_pages():
    frame = pd.DataFrame({"run": ["b", "b", "a", "a"], "epoch": [1, 2, 1, 2], "v": [1.0, 2, 3, 4]})
    drawing = Drawing("lines", "epoch", "v", "run")
    known = run_lines(["a", "b"])
    chart = answer_chart(what_is_drawn(frame, drawing)[0], drawing, runs=known)
    expected = {run: (LIGHT.runs[line.hue], line.dash) for run, line in known.items()}
    assert {trace.name: (trace.line.color, trace.line.dash) for trace in chart.data} == expected
    assert len(set(expected.values())) == 2


def test_the_same_column_twice_is_two_columns(log_sandbox):
    answer = log_sandbox.execute("SELECT 1 AS a, 2 AS a FROM range(2)")
    assert isinstance(answers.shown(answer), pa.Table)
    assert first_drawing(answers.drawable(answer)) == Drawing("points", "a", "a_1", "")
