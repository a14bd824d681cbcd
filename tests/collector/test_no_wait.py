"""Recording never waits for the device: shown without a GPU, by tensors that have no values."""

from contextlib import nullcontext

import pytest
import torch

from collector.recording.names import LayerNames
from collector.recording.observer import Observer
from collector.recording.recorder import Recorder
from collector.recording.selection import Selection
from lambc import LAMBC
from tests.fake_cuda import FakeCuda, WaitsForTheDevice


class Stream(nullcontext):
    """In the place of CUDA's, of which there is none without a driver."""

    def record_event(self):
        return None


@pytest.fixture
def cuda(monkeypatch):
    stream = Stream()
    monkeypatch.setattr(torch.accelerator, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    with FakeCuda() as mode:
        yield mode


def make_params(dtype=torch.float32):
    params = [torch.nn.Parameter(torch.ones(shape, dtype=dtype, device="cuda")) for shape in ((5, 4), (4,), ())]
    for param in params:
        param.grad = torch.ones_like(param)
    return params


def make_recorder(optimizer, **selection):
    recorder = Recorder(
        [optimizer], [], LayerNames([], [optimizer]), Selection(**selection),
        resumed_after=None, memory_limit=2**20, waits=False,
    )  # fmt: skip
    [(_, hook, _)] = recorder.hooks()
    optimizer.register_trust_ratio_hook(hook)
    return recorder


@pytest.mark.parametrize("selection", [{}, {"every": 2}, {"include": ["0.0", "0.2"]}], ids=str)
def test_neither_a_step_nor_a_metric_nor_taking_them_waits(cuda, selection):
    params = make_params()
    optimizer = LAMBC(params, foreach=True)
    recorder = make_recorder(optimizer, **selection)
    for _ in range(5):
        optimizer.step()
        norm = torch.nn.utils.get_total_norm([param.grad for param in params])
        recorder.log({"loss": params[2].grad, "gradient": norm, "lr": 0.1}, None, None)
    steps, metrics = recorder.take()
    assert steps.steps == ([1, 2, 4] if "every" in selection else [1, 2, 3, 4, 5])
    assert metrics.count == 15
    assert recorder.lost_rows == 0


def test_a_full_ring_does_not_wait_either(cuda):
    optimizer = LAMBC(make_params(), foreach=True)
    recorder = make_recorder(optimizer)
    optimizer.step()
    [source] = recorder._sources
    source.ring._each = source.ring._each[:3]
    for _ in range(7):
        optimizer.step()
    assert [block.steps for block in recorder.take()] == [[1, 2, 3], [4, 5, 6], [7, 8]]


def test_a_wait_in_a_hook_beside_it_is_found(cuda):
    optimizer = LAMBC(make_params(), foreach=True)
    make_recorder(optimizer)
    optimizer.register_trust_ratio_hook(lambda record: record.table[0, 0].item())
    with pytest.raises(WaitsForTheDevice):
        optimizer.step()


OBSERVED = {
    "AdamW": lambda params: torch.optim.AdamW(params, foreach=True),
    "AdamW(fused)": lambda params: torch.optim.AdamW(params, fused=True),
    "AdamW(capturable)": lambda params: torch.optim.AdamW(params, capturable=True),
    "Adam(amsgrad)": lambda params: torch.optim.Adam(params, amsgrad=True, weight_decay=0.1),
    "SGD": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
}


@pytest.mark.parametrize(
    ("kind", "dtype", "every"),
    [*((kind, torch.float32, 1) for kind in OBSERVED), ("AdamW", torch.bfloat16, 1), ("AdamW", torch.float32, 3)],
    ids=str,
)
def test_an_observed_step_never_waits(cuda, kind, dtype, every):
    params = make_params(dtype)
    optimizer = OBSERVED[kind](params)
    if "capturable" in kind:  # by a scheduler; torch looks at one that it is given at first
        optimizer.param_groups[0]["lr"] = torch.full((), 0.1, device="cuda")
    recorder = make_recorder(Observer(optimizer, Selection(every)), every=every)
    for step in range(4):
        params[1].grad = None if step == 1 else torch.ones_like(params[1])
        optimizer.step()
    [block] = recorder.take()
    assert block.steps == ([1, 2, 3, 4] if every == 1 else [1, 3])


def test_neither_does_one_that_a_scaler_takes_nor_one_of_a_layer_without_moments(cuda):
    params = make_params()
    optimizer = torch.optim.AdamW(params, fused=True)
    optimizer.grad_scale, optimizer.found_inf = (torch.ones((), device="cuda") for _ in range(2))
    recorder = make_recorder(Observer(optimizer, Selection()))
    params[1].grad = None
    optimizer.step(lambda: None)  # which may compute gradients, so that all layers are looked at
    [block] = recorder.take()
    assert block.steps == [1]
