"""Epochs that are given after their steps, and so hold for the steps of the next one."""


class LateEpochs:
    """Notices that `log` is given epochs after their steps alone: given at each step, they are late for one."""

    def __init__(self) -> None:
        self._steps: int | None = None  # that were seen when `log` was first given an epoch; 0 where all is well

    def set(self) -> None:
        """An epoch was set apart from any metrics, which is done before its steps."""
        self._steps = 0

    def logged(self, before: int, epoch: int, steps: int) -> str:
        """What is wrong with a run whose `log` was given an epoch after so many steps in all; '' if nothing is."""
        if self._steps is None:
            self._steps = steps
        elif self._steps and steps > self._steps:
            self._steps = 0
            if epoch > before:
                return (
                    f"has the rows of epoch {epoch} under epoch {before}, since log(epoch={epoch}) came after their "
                    f"steps: set collector.epoch = {epoch} before the first step of the epoch"
                )
        return ""
