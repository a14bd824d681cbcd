"""What all tests share: scikit-learn's digits, processes of one group, and no look at the Hugging Face Hub."""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lambc.experiments.data import sources as data
from tests.ranks import Ranks

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported, by whatever test

# A shell that starts the tests in the background has them, and every process that they start, ignore Ctrl-C; nohup has
# them ignore the end of a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_xdist_auto_num_workers() -> int | None:
    """Half as many workers again as processors: a third of its time a test waits for a browser, a process or a disk."""
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else (os.cpu_count() or 1) * 3 // 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, the browser's first: no worker should be alone with one at the end."""
    slow = {item.path for item in items if "slow" in item.keywords}
    items.sort(key=lambda item: ("browser" not in item.keywords, item.path not in slow))


def pytest_collection_finish() -> None:
    """Spare every later collection of garbage what is imported by now: a million objects take a quarter of a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def forget_open_runs() -> Iterator[None]:
    """Forget the collectors that a test could not close: while one is open SIGTERM is the collector's."""
    yield
    if open_runs := sys.modules.get("collector.recording.open_runs"):
        for collector in open_runs.all_open():
            open_runs.remove(collector)


@pytest.fixture(scope="session")
def digits():
    return data.digits()


@pytest.fixture(scope="session")
def few_digits(digits):
    """70 digits to train on and 30 to test with."""
    return replace(
        digits,
        train_images=digits.train_images[:70],
        train_labels=digits.train_labels[:70],
        test_images=digits.test_images[:30],
        test_labels=digits.test_labels[:30],
    )


def _ranks(count: int) -> Iterator[Ranks]:
    ranks = Ranks(count)
    yield ranks
    ranks.close()


@pytest.fixture(scope="module")
def one() -> Iterator[Ranks]:
    yield from _ranks(1)


@pytest.fixture(scope="module")
def two() -> Iterator[Ranks]:
    yield from _ranks(2)


@pytest.fixture(scope="module")
def four() -> Iterator[Ranks]:
    yield from _ranks(4)
