"""A log and a collector in the kernel of a notebook, which has no ipywidgets."""

import json

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FIRST_CELL = """
import os
import signal
import torch
from collector import Collector, connect
from tests.collector.emitter import Emitter

def steps(emitter, first, last):
    for step in range(first, last + 1):
        emitter.say(step)

emitter = Emitter(["a", "b"])
"""


def outputs(root, *cells: str) -> list[str]:
    """What each cell answers, as text, in a kernel of its own. Raises CellExecutionError."""
    cells = (FIRST_CELL + f"root = {str(root)!r}", *cells)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    return [
        "".join(output["text"] if "text" in output else output["data"]["text/plain"] for output in cell.outputs)
        for cell in notebook.cells[1:]
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the kernel's client
def test_a_notebook_asks_a_log_and_runs_its_cells_again(tmp_path):
    begin, resume = (f"collector = Collector(emitter, root, 'r', {option}=True)" for option in ("overwrite", "resume"))
    no_name = "unnamed = Collector(emitter, root)"
    interrupted = """
try:
    with Collector(emitter, root, "interrupted") as collector:
        steps(emitter, 1, 2)
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            pass
except KeyboardInterrupt:
    print("interrupted")
"""
    again = "emitter = Emitter(['a', 'b'])\n"
    answers = outputs(
        tmp_path,
        *[f"{again}{begin}\nsteps(emitter, 1, 3)\ncollector.flush()"] * 2,
        *[f"{again}{resume}\nsteps(emitter, 3, 4)\ncollector.flush()"] * 2,
        *[f"{again}{no_name}\nsteps(emitter, 1, 1)"] * 2,
        "del collector, unnamed\nlen(Collector.open_runs())",
        "while Collector.open_runs():\n    Collector.open_runs()[-1].close()",
        again + interrupted,
        "db = connect(root)",
        "db.sql('SELECT status, count(*) AS runs FROM runs GROUP BY status ORDER BY status')",
        "db.sql(\"FROM trust_ratios WHERE run = 'r'\").df()['step'].tolist()",
    )
    *_, still_open, closed, stopped, connected, statuses, steps = answers
    assert answers[:6] == [""] * 6
    assert (still_open, closed, stopped, connected) == ("3", "", "interrupted\n", "")
    assert "interrupted │     1" in statuses
    assert "finished    │     3" in statuses
    assert json.loads(steps) == [1, 2, 3, 4] * 2
    assert len([*(tmp_path / "r" / "superseded").glob("overwritten-*")]) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cell_that_begins_an_open_run_again_is_told_what_to_do(tmp_path):
    begin = "collector = Collector(emitter, root, 'r')"
    with pytest.raises(CellExecutionError, match=r"open in this process: close it \(Collector.open_runs\(\) has it\)"):
        outputs(tmp_path, begin, begin)
