"""CUDA tensors on a machine without a GPU: they have no values, and whatever would wait for one raises.

Under `FakeCuda` tensors may say `device="cuda"`; every operation on them is looked at as torch's dispatcher gets it,
and done in shapes alone. Tensors of the CPU are real, and so is what is done to them.
"""

from collections import Counter

import torch
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
NO_LAUNCH = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "device", "detach", "lift_fresh")
"""Operations that run nothing on the device; views, which run nothing either, are told by their schema."""


class WaitsForTheDevice(AssertionError):
    """What a step, a hook or a push must never do."""


class FakeCuda(FakeTensorMode):
    """The mode, and how often each operation of the device was launched under it.

    One of torch's `_foreach_` operations counts once where torch has a kernel for all of its tensors together, although
    it cuts them into launches of some hundred tensors or some million elements; where shapes, strides or dtypes differ
    torch goes through the tensors one by one, and each counts.
    """

    def __init__(self):
        super().__init__(allow_non_fake_inputs=True)
        self.launches = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        if func is aten._pin_memory.default:
            return _pinned(args[0].clone())
        on_device = any(_device(leaf) == "cuda" for leaf in leaves)
        if not on_device and not any(isinstance(leaf, FakeTensor) for leaf in leaves):
            return func(*args, **kwargs)
        _refuse_to_wait(func, args, kwargs)
        name = func.name().split("::")[1].split(".")[0]
        if on_device and not func.is_view and name not in NO_LAUNCH:
            self.launches[name] += _calls(name, args)
        result = super().__torch_dispatch__(func, types, args, kwargs)
        return _pinned(result) if kwargs.get("pin_memory") else result


def _device(leaf):
    if isinstance(leaf, torch.Tensor):
        return leaf.device.type
    return leaf.type if isinstance(leaf, torch.device) else None


def _pinned(tensor):
    tensor.is_in_pinned_memory = True
    return tensor


def _refuse_to_wait(func, args, kwargs):
    """Raise where torch would wait: for a value, or for a copy.

    A copy to the host waits unless it is told not to, and goes to pinned memory; one from the host, unless it is told
    not to. What has a size that depends on values (`nonzero`, a mask as an index) raises by itself.
    """
    if func in (aten._local_scalar_dense.default, aten.equal.default, aten.is_nonzero.default):
        raise WaitsForTheDevice(f"{func} needs a value")
    if func is aten.copy_.default:
        target, source = args[:2]
        at_once = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
        pinned = hasattr(target, "is_in_pinned_memory")
        target = target.device.type
    elif func is aten._to_copy.default:
        source, at_once, pinned = args[0], kwargs.get("non_blocking", False), kwargs.get("pin_memory", False)
        target = torch.device(kwargs.get("device") or source.device).type
    else:
        return
    if source.device.type != target and not (at_once and (target == "cuda" or pinned)):
        raise WaitsForTheDevice(f"{func} from {source.device.type} to {target} waits for the copy")


def _calls(name, args):
    lists = [each for each in args if isinstance(each, list | tuple) and each and isinstance(each[0], torch.Tensor)]
    if not name.startswith("_foreach") or not lists:
        return 1
    together = all(_one_kind(tensors, casts=name == "_foreach_copy_") for tensors in zip(*lists, strict=True))
    return 1 if together else len(lists[0])


def _one_kind(tensors, casts):
    first = tensors[0]
    return all(
        each.shape == first.shape and each.stride() == first.stride() and (casts or each.dtype == first.dtype)
        for each in tensors
    )
