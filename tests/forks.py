"""Processes that a fork server makes, which has imported what all of them need: seconds of imports for each."""

import multiprocessing
from multiprocessing.context import ForkServerContext

IMPORTED = [
    "collector.recording.collector",
    "lambc.experiments.train",
    "torch._dynamo",  # which torch imports with the first optimizer
    "torch.distributed.checkpoint",
    "torch.distributed.fsdp",
]


def context() -> ForkServerContext:
    """Returns a context whose processes one server of this test worker forks.

    They have the environment that stood when the first of them was started.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context
