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
    """For processes whose environment is that of the first of them: a test worker has one server."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context
