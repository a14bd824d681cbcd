"""Epochs that are given after their steps, and so hold for the steps of the next one."""

MANY = 0.1
"""Of an epoch's steps: where fewer stand under the one before, that is how often `log` is called, and no mistake."""


class LateEpochs:
    """Notices that `log` is given epochs after their steps alone: given at each step, they are late for one."""

    def __init__(self, optimizers: int) -> None:
        self._optimizers = optimizers
        self._watches = True
        self._first = self._last = (
            0  # steps that were seen when `log` was given an epoch for the first and the last time
        )

    def set(self) -> None:
        """An epoch was set apart from any metrics, which is done before its steps."""
        self._watches = False

    def logged(self, before: int, epoch: float, steps: int) -> str:
        """What is wrong with a run whose `log` was given an epoch after so many steps of all optimizers; '' if nothing.

        before: the epoch that held until then.
        """
        if not self._watches or (self._first and steps == self._last):
            return ""
        since, self._last = steps - self._last, steps
        if not self._first:
            self._first = steps
            self._watches = steps > 0 and epoch == int(epoch)  # else it is before its steps, or says how far one is
        elif epoch != int(epoch) or since <= self._optimizers or since > 2 * self._first:
            self._watches = False  # at each step; or before its steps, of which some came before the first epoch
        elif epoch > before:
            self._watches = False
            if since > MANY * steps:
                return (
                    f"has rows of epoch {epoch:g} under epoch {before}, since log(epoch={epoch:g}) came after their "
                    f"steps: set collector.epoch = {epoch:g} before the first step of the epoch"
                )
        return ""
