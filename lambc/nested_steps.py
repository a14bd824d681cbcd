"""Steps within steps: a class whose `step` calls its parent's, around each of which torch calls the hooks."""

import sys

from torch.optim import Optimizer

_HOOKED_STEP = Optimizer.profile_hook_step(lambda optimizer: None).__code__
"""What torch wraps around each class's `step` to call its hooks; a parent's is wrapped once it has had an instance."""


def is_outermost(optimizer: Optimizer) -> bool:
    """Returns whether the calling hook belongs to the outermost `step`, not to a parent's within it.

    Inspects the stack: counting calls would fail, since a step that raises skips its post hook.
    """
    frame, found = sys._getframe(1), 0
    while frame is not None:
        found += frame.f_code is _HOOKED_STEP and frame.f_locals["args"][0] is optimizer
        frame = frame.f_back  # type: ignore[assignment]
    return found < 2
