"""What the ranks of a job must agree on before they observe layers that each of them holds a part of.

Their sums travel by a collective operation at every recorded step. A rank that has no collector, or records other
steps, would leave the others to wait until their process group's own time is up, which then ends the training.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch

from collector.recording.options import Options
from lambc.sharded import in_parts

SECONDS = 60.0
"""How long the ranks wait for each other."""

SHARDED_LATER = (
    "were sharded after the Collector was made, and only all ranks together can record them so: make it on every rank, "
    "after fully_shard or accelerator.prepare"
)


def share_layers(optimizers: Sequence[Any], *, gradients: bool) -> bool:
    """Whether one that is observed, or asked for gradients' norms, has layers that each process may hold part of."""
    observed = [each for each in optimizers if gradients or not hasattr(each, "register_trust_ratio_hook")]
    return any(in_parts(param) for each in observed for group in each.param_groups for param in group["params"])


def asked_alone(optimizer: Any, asked: Callable[[int], bool], say: Callable[[str, str], None], step: int) -> bool:
    """Returns whether to measure a step's gradients in this process alone; False if it holds only parts."""
    if not asked(step):
        return False
    if sharded := share_layers([optimizer], gradients=True):
        say("has no norms of gradients", f", since the layers of {type(optimizer).__name__} {SHARDED_LATER}")
    return not sharded


class Agreement:
    """Exchanges options between the ranks, once, when the collectors are made; they must be equal.

    process_group: those that train the run; None for all.
    """

    def __init__(self, process_group: Any, options: Options) -> None:
        self._group = process_group
        self._said = {
            "every": options.selection.every,
            "include": options.selection.include,
            "exclude": options.selection.exclude,
            "gradients": options.gradients,
        }
        self.reached = False

    def reach(self, *, last_step: int = 0, moments: Any = None, error: BaseException | None = None) -> tuple[int, Any]:
        """Returns the last step of the log and the moments that run.json has, which rank 0 knows.

        last_step, moments: rank 0's; unused on other ranks. error: why rank 0 could not begin the run.

        Raises RuntimeError if a rank does not come, or if rank 0 could not begin; ValueError if their options differ.
        """
        self.reached = True
        failure = error and f"{type(error).__name__}: {error}"
        answers = self._gather(self._said | {"last_step": last_step, "moments": moments, "failure": failure})
        if error is None and answers[0]["failure"]:
            raise RuntimeError(f"rank 0 could not begin the run ({answers[0]['failure']}), so no rank records")
        for option, value in answers[0].items():
            for rank, answer in enumerate(answers):
                if option in self._said and answer[option] != value:
                    raise ValueError(
                        f"{option}={answer[option]!r} on rank {rank}, and {option}={value!r} on rank 0: sharded layers "
                        "are recorded by all ranks together, so give every Collector the same"
                    )
        return answers[0]["last_step"], answers[0]["moments"]

    def _gather(self, said: dict[str, Any]) -> list[dict[str, Any]]:
        ranks = torch.distributed.get_process_group_ranks(self._group or torch.distributed.group.WORLD)
        answers: list[Any] = [None] * len(ranks)
        try:
            group = torch.distributed.new_group(
                ranks, timedelta(seconds=SECONDS), "gloo", use_local_synchronization=True
            )
            torch.distributed.all_gather_object(answers, said, group=group)  # type: ignore[arg-type]
            torch.distributed.destroy_process_group(group)
        except RuntimeError as trouble:  # of the store or of gloo, in words of their own
            raise RuntimeError(
                f"not every one of the {len(ranks)} ranks made a Collector within {SECONDS:g} s: sharded layers are "
                "recorded by all ranks together, so make it on every rank, at the same place"
            ) from trouble
        return answers
