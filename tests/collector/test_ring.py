"""From the device to the host."""

import pytest
import torch

from collector import Collector, connect
from collector.recording.ring import Ring

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no accelerator")


def test_what_was_taken_is_not_overwritten_by_what_follows():
    ring = Ring((2,), torch.float32, torch.device("cpu"))
    ring.write(0, torch.tensor([1.0, 2.0]))
    taken = ring.take(1)
    ring.write(0, torch.tensor([3.0, 4.0]))
    assert taken.wait().tolist() == [[1.0, 2.0]]
    assert ring.take(1).wait().tolist() == [[3.0, 4.0]]


def test_a_ring_of_large_tensors_has_few_slots_and_gives_as_many_as_are_asked_for():
    ring = Ring((10**6,), torch.float32, torch.device("cpu"))
    assert len(ring) == 16
    assert ring.take(3).wait().shape == (3, 10**6)


def test_the_default_device_and_dtype_change_nothing():
    torch.set_default_device("meta")
    try:
        ring = Ring((2,), torch.float32, torch.device("cpu"))
        ring.write(0, torch.tensor([1.0, 2.0], device="cpu"))
        assert ring.take(1).wait().tolist() == [[1.0, 2.0]]
    finally:
        torch.set_default_device(None)


@pytest.mark.gpu
@needs_gpu
def test_on_a_gpu_no_step_waits_for_it_and_every_value_arrives(tmp_path):
    from lambc import LAMBC

    model = torch.nn.Linear(64, 64, device="cuda")
    optimizer = LAMBC(model.named_parameters())
    said = []
    optimizer.register_trust_ratio_hook(lambda record: said.append(record.table.clone()))
    loss = model(torch.randn(8, 64, device="cuda")).square().mean()
    loss.backward()
    optimizer.step()
    with Collector(optimizer, tmp_path, name="r", flush_seconds=0.05) as collector:
        torch.cuda.set_sync_debug_mode("error")
        for _ in range(300):
            optimizer.step()
            collector.log({"loss": loss})
        torch.cuda.set_sync_debug_mode("default")
    con = connect(tmp_path)
    found = con.sql("SELECT update_norm FROM trust_ratios WHERE layer = 'weight' ORDER BY step").fetchall()
    assert found == [(table[1, 0].item(),) for table in said[1:]]
    assert con.sql("SELECT DISTINCT value FROM metrics").fetchall() == [(loss.item(),)]
