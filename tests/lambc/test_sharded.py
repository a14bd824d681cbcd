"""Layers that lie in parts on several processes take the step that they would take whole.

Every check runs on real processes over gloo, and each process also trains the whole model alone, to compare.
"""

import math
from contextlib import nullcontext
from functools import cache, partial

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, SequenceParallel, parallelize_module

from lambc import LAMBC, LARS
from lambc.bounds import LARC, Deviation, DynamicBound, Quantile, Scheduled
from tests.ranks import Ranks

PATHS = [{"fused": True}, {"foreach": True}, {"foreach": False}]
BOUNDS = [
    None,
    1.0,
    (0.5, 2.0),
    Scheduled(3.0, 0.5, 4),
    DynamicBound(1.0, 0.5),
    Deviation(0.5, 0.5),
    Quantile(0.5, 0.5),
]
SHAPES = [(8, 4), (5, 6), (3,), (1,), (2, 3, 4, 4), (6000,), (7, 2)]
"""Over four processes: even, uneven, and with nothing left for the last."""


@cache
def mesh(*shape, names=None):
    """One mesh of a shape for all: each new one would bring its own process groups, whose threads stay."""
    return init_device_mesh("cpu", shape, mesh_dim_names=names)


# Ways to lay one layer out: None is an ordinary tensor, which every process holds whole.


def ordinary(shape):
    return None


def split(shape):
    return mesh(4), [Shard(0)]


def hybrid(shape):
    return mesh(2, 2), [Replicate(), Shard(0)]


def tensor_parallel(shape):
    return mesh(4), [Shard(len(shape) - 1)]


def replicated(shape):
    return mesh(4), [Replicate()]


def split_twice(shape):
    return mesh(2, 2), [Shard(0), Shard(len(shape) - 1)]


def half_split_half_not(shape):
    """Some layers of a mesh are split along one of its dimensions, others along the other, or along both."""
    kinds = [[Shard(0), Replicate()], [Replicate(), Shard(0)], [Shard(0), Shard(len(shape) - 1)]]
    return mesh(2, 2), kinds[math.prod(shape) % 3]


def on_several_meshes(shape):
    return [ordinary, split, hybrid][math.prod(shape) % 3](shape)


LAYOUTS = [split, hybrid, tensor_parallel, replicated, split_twice, half_split_half_not, on_several_meshes]


def laid_out(tensor, layout):
    placed = layout(tuple(tensor.shape))
    return tensor.clone() if placed is None else distribute_tensor(tensor, *placed, src_data_rank=None)


def whole(tensor):
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def draw(shape, seed, dtype):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def assert_alike(ours, expected, tolerance):
    """Relative to the largest element of a tensor: rounding is."""
    largest = expected.abs().max().item() if expected.numel() else 0.0
    torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance * largest)


def rows_of(optimizer):
    tables = []
    optimizer.register_trust_ratio_hook(lambda record: tables.append(record.table.clone()))
    return tables


def compare_with_whole(kind, options, layout, dtype, tolerance, steps=6):
    """Train layers laid out and whole, on the same gradients, and compare weights, state and records."""
    weights = [draw(shape, number, dtype) for number, shape in enumerate(SHAPES)]
    params = [nn.Parameter(laid_out(weight, layout)) for weight in weights]
    reference = [nn.Parameter(weight.clone()) for weight in weights]
    both = [
        kind([{"params": each[:3]}, {"params": each[3:], "weight_decay": 0.1}], lr=1e-3, **options)
        for each in (params, reference)
    ]
    tables = [rows_of(optimizer) for optimizer in both]
    for step in range(steps):
        for number, (param, other) in enumerate(zip(params, reference, strict=True)):
            other.grad = 10.0 ** (step % 3 - number) * draw(other.shape, 100 * step + number, dtype)
            param.grad = laid_out(other.grad, layout)
        for optimizer in both:
            optimizer.step()
    for param, other in zip(params, reference, strict=True):
        assert_alike(whole(param), other, tolerance)
        for name, value in both[0].state[param].items():
            assert_alike(whole(value), both[1].state[other][name], 10 * tolerance)
    assert len(tables[0]) == len(tables[1]) == steps
    for ours, expected in zip(*tables, strict=True):
        torch.testing.assert_close(ours, expected, rtol=max(10 * tolerance, 1e-6), atol=1e-9)
    return tables[0][-1]


def compare_dtypes(layout, path):
    options = {"clip": 1.0, **path}
    compare_with_whole(LAMBC, options, layout, torch.float64, 1e-12)
    compare_with_whole(LAMBC, options, layout, torch.float32, 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("path", PATHS, ids=str)
def test_a_step_in_parts_is_the_step_of_the_whole_layers(four, layout, path):
    four.run(compare_dtypes, layout, path)


def compare_bounds(layout):
    for clip in BOUNDS:
        compare_with_whole(LAMBC, {"clip": clip}, layout, torch.float64, 1e-12)
    compare_with_whole(LAMBC, {"clip": Deviation(0.5, 0.5, per_layer=False)}, layout, torch.float64, 1e-12)
    for options in ({"clip": None}, {"clip": LARC(), "nesterov": True}, {"clip": Quantile(0.5, 0.5)}):
        compare_with_whole(LARS, options, layout, torch.float64, 1e-12)


@pytest.mark.slow
def test_every_bound_limits_and_learns_from_whole_ratios(four):
    four.run(compare_bounds, on_several_meshes)


def compare_options(layout):
    for options in (
        {"max_grad_norm": 0.5},
        {"decay_in_ratio": False, "maximize": True, "bias_correction": False},
        {"eps_inside_sqrt": True, "phi": (0.1, 2.0), "adapt": False},
    ):
        compare_with_whole(LAMBC, options, layout, torch.float64, 1e-12)
    compare_with_whole(LAMBC, {"master_weights": True}, layout, torch.bfloat16, 1e-2)


@pytest.mark.slow
def test_so_do_the_other_options(four):
    four.run(compare_options, half_split_half_not)


def records_of_this_rank():
    return compare_with_whole(LAMBC, {"clip": Quantile()}, half_split_half_not, torch.float32, 1e-6).tolist()


def test_every_rank_is_shown_the_same_record_to_the_last_bit(four):
    first, *others = four.run(records_of_this_rank)
    assert all(other == first for other in others)


def compare_in_triton():
    from lambc.steps import triton

    assert triton.usable(torch.device("cpu"))
    placed = mesh(2), [Shard(0)]
    params = [nn.Parameter(distribute_tensor(draw(shape, 0, torch.float32), *placed)) for shape in SHAPES[:5]]
    reference = [nn.Parameter(whole(param.detach()).clone()) for param in params]
    options = {"weight_decay": 0.1, "clip": (0.5, 2.0), "max_grad_norm": 1.0}
    optimizer, other = LAMBC(params, fused=True, **options), LAMBC(reference, foreach=False, **options)
    assert optimizer._path(optimizer.param_groups[0], torch.device("cpu")) is triton.PATH
    for step in range(3):
        for number, (param, alone) in enumerate(zip(params, reference, strict=True)):
            alone.grad = draw(param.shape, 10 * step + number, torch.float32)
            param.grad = distribute_tensor(alone.grad, *placed)
        optimizer.step()
        other.step()
    for param, alone in zip(params, reference, strict=True):
        assert_alike(whole(param), alone, 1e-5)


@pytest.mark.slow
def test_the_triton_kernels_take_their_step_in_parts_too():
    pytest.importorskip("triton")
    ranks = Ranks(2, {"TRITON_INTERPRET": "1"})
    try:
        ranks.run(compare_in_triton)
    finally:
        ranks.close()


# Real models, sharded as users shard them.


class Block(nn.Module):
    def __init__(self, width, hidden, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.head_width = width // heads

    def forward(self, hidden):
        normed = self.norm1(hidden)
        query, key, value = (
            layer(normed).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        attended = (query @ key.transpose(2, 3)).softmax(-1) @ value
        hidden = hidden + self.out(attended.transpose(1, 2).flatten(2))
        return hidden + self.down(torch.nn.functional.gelu(self.up(self.norm2(hidden))))


def transformer():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Embedding(7, 6), Block(6, 10, 2), Block(6, 10, 2), nn.LayerNorm(6), nn.Linear(6, 3))
    return model.double()


TENSOR_PARALLEL = {
    **dict.fromkeys(("query", "key", "value", "up"), ColwiseParallel()),
    **dict.fromkeys(("out", "down"), RowwiseParallel()),
}


def fsdp(model):
    for block in (model[1], model[2], model):
        fully_shard(block, mesh=mesh(torch.distributed.get_world_size()))


def hsdp(model):
    for block in (model[1], model[2], model):
        fully_shard(block, mesh=mesh(2, 2, names=("replicate", "shard")))


def tp(model):
    for block in (model[1], model[2]):  # what is left are ordinary parameters
        parallelize_module(block, mesh(2, 2, names=("dp", "tp"))["tp"], TENSOR_PARALLEL)


def fsdp_and_tp(model):
    both = mesh(2, 2, names=("dp", "tp"))
    for block in (model[1], model[2]):
        parallelize_module(block, both["tp"], TENSOR_PARALLEL)
        fully_shard(block, mesh=both["dp"])
    fully_shard(model, mesh=both["dp"])


def train_beside_whole(make_model, shard, draw_batch, steps, **options):
    model, alone = make_model(), make_model()
    shard(model)
    both = [LAMBC(each.named_parameters(), lr=1e-3, weight_decay=0.1, **options) for each in (model, alone)]
    tables = [rows_of(optimizer) for optimizer in both]
    for step in range(steps):
        inputs, labels = draw_batch(step)
        for each, optimizer in zip((model, alone), both, strict=True):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(each(inputs).flatten(0, -2), labels.flatten())
            loss.backward()
            optimizer.step()
    for param, other in zip(model.parameters(), alone.parameters(), strict=True):
        assert_alike(whole(param), other, 1e-9)
    for ours, expected in zip(*tables, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-7)
    assert sum(table[4:6].isfinite().sum().item() for table in tables[0])


def text(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randint(7, (4, 5), generator=generator), torch.randint(3, (4, 5), generator=generator)


@pytest.mark.slow
@pytest.mark.parametrize("shard", [fsdp, hsdp, tp, fsdp_and_tp])
def test_a_transformer_trains_as_on_one_process(four, shard):
    four.run(train_beside_whole, transformer, shard, text, 20)


def narrow_resnet18():
    from torchvision.models.resnet import BasicBlock, ResNet

    class Narrow(ResNet):
        def _make_layer(self, block, planes, *args, **kwargs):
            return super()._make_layer(block, planes // 8, *args, **kwargs)

    torch.manual_seed(1)
    model = Narrow(BasicBlock, [2, 2, 2, 2])
    model.fc = nn.Linear(64, 5)
    return model.double()


def fsdp_whole_model(model):
    fully_shard(model, mesh=mesh(4))


def pictures(step):
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(6, 3, 16, 16, generator=generator, dtype=torch.float64)
    return images, torch.randint(5, (6,), generator=generator)


@pytest.mark.slow
def test_resnet18_trains_as_on_one_process(four):
    four.run(partial(train_beside_whole, clip=Quantile()), narrow_resnet18, fsdp_whole_model, pictures, 20)


# What travels.


def messages_of_a_step(layout, options):
    params = [nn.Parameter(laid_out(draw(shape, 0, torch.float32), layout)) for shape in SHAPES]
    optimizer = LAMBC([{"params": params[:3]}, {"params": params[3:]}], **options)
    for param in params:
        param.grad = param.detach().clone()
    with CommDebugMode() as messages:
        optimizer.step()
    return {str(operation): count for operation, count in messages.get_comm_counts().items()}


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize(
    ("layout", "meshes"), [(ordinary, 0), (replicated, 0), (split, 1), (half_split_half_not, 1), (on_several_meshes, 2)]
)
@pytest.mark.parametrize(("options", "times"), [({}, 1), ({"max_grad_norm": 1.0}, 2)], ids=["", "max_grad_norm"])
def test_one_all_reduce_a_mesh_and_step_and_one_more_for_max_grad_norm(four, path, layout, meshes, options, times):
    for messages in four.run(messages_of_a_step, layout, {**path, **options}):
        assert sum(messages.values()) == meshes * times
        assert all("allreduce" in operation for operation in messages)


def step_with_a_gradient_that_is_not_summed_yet():
    """Under sequence parallelism each process has the gradient that comes from its part of the text."""
    model = nn.Sequential(nn.LayerNorm(6)).double()
    alone = nn.Sequential(nn.LayerNorm(6)).double()
    parallelize_module(model, mesh(4), {"0": SequenceParallel()})
    inputs = draw((2, 8, 6), 0, torch.float64)
    outputs = model(distribute_tensor(inputs, mesh(4), [Shard(1)]))
    (outputs.full_tensor() ** 3).sum().backward()
    (alone(inputs) ** 3).sum().backward()
    assert any(placed.is_partial() for placed in model[0].weight.grad.placements)
    for each in (model, alone):
        LAMBC(each.parameters(), lr=0.1, max_grad_norm=0.1).step()
    for param, other in zip(model.parameters(), alone.parameters(), strict=True):
        assert_alike(whole(param), other, 1e-12)


def test_a_gradient_that_is_not_summed_yet_is_summed_first(four):
    four.run(step_with_a_gradient_that_is_not_summed_yet)


def overflow_on_one_rank(path):
    param = nn.Parameter(laid_out(torch.ones(8, 2), split))
    optimizer = LAMBC([param], lr=0.1, **path)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(torch.ones(()))
    gradient = torch.ones(8, 2)
    gradient[7, 1] = torch.inf
    param.grad = laid_out(gradient, split)
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(whole(param.detach()), torch.ones(8, 2))
    assert scaler.get_scale() == 2.0


@pytest.mark.parametrize("path", [{"fused": True}, {}], ids=str)
def test_an_overflow_in_one_part_skips_the_step_of_all(four, path):
    four.run(overflow_on_one_rank, path)


# Checkpoints.


def sharded_transformer(**options):
    model = transformer()
    fsdp(model)
    return model, LAMBC(model.named_parameters(), lr=1e-3, weight_decay=0.1, clip=Quantile(0.5, 0.5), **options)


def train_on_text(model, optimizer, first, last):
    tables = rows_of(optimizer)
    for step in range(first, last):
        inputs, labels = text(step)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs).flatten(0, -2), labels.flatten()).backward()
        optimizer.step()
    return [table.tolist() for table in tables], [whole(param.detach()).tolist() for param in model.parameters()]


def save_after(steps, folder):
    model, optimizer = sharded_transformer()
    train_on_text(model, optimizer, 0, steps)
    state, optimizer_state = get_state_dict(model, optimizer)
    dcp.save({"model": state, "optimizer": optimizer_state}, checkpoint_id=folder)


def load_and_go_on(first, last, folder, save_to=None):
    model, optimizer = sharded_transformer()
    for param in model.parameters():
        nn.init.zeros_(param)
    state, optimizer_state = get_state_dict(model, optimizer)
    dcp.load({"model": state, "optimizer": optimizer_state}, checkpoint_id=folder)
    set_state_dict(model, optimizer, model_state_dict=state, optim_state_dict=optimizer_state)
    assert optimizer.param_groups[0]["step"] == first
    trained = train_on_text(model, optimizer, first, last)
    if save_to:
        state, optimizer_state = get_state_dict(model, optimizer)
        dcp.save({"model": state, "optimizer": optimizer_state}, checkpoint_id=save_to)
    return trained


@pytest.mark.slow
def test_a_checkpoint_of_four_processes_goes_on_on_two_or_one_and_back_on_four(four, two, one, tmp_path):
    undisturbed = four.run(train_from_start, 8)
    four.run(save_after, 4, tmp_path / "4")
    goes_on = four.run(load_and_go_on, 4, 8, tmp_path / "4")
    assert goes_on == [(tables[4:], weights) for tables, weights in undisturbed]  # to the last bit
    (tables, weights), *_ = undisturbed
    two.run(load_and_go_on, 4, 6, tmp_path / "4", tmp_path / "6")
    for ranks, first, folder in ((one, 4, "4"), (four, 6, "6")):
        for got_tables, got_weights in ranks.run(load_and_go_on, first, 8, tmp_path / folder):
            torch.testing.assert_close(torch.tensor(got_tables), torch.tensor(tables[first:]), rtol=1e-6, atol=1e-9)
            for got, expected in zip(got_weights, weights, strict=True):
                torch.testing.assert_close(torch.tensor(got), torch.tensor(expected), rtol=1e-6, atol=1e-9)


def train_from_start(steps):
    return train_on_text(*sharded_transformer(), 0, steps)


# Data parallelism as it was before DTensors.


def digits_batch(step):
    return draw((8, 5), step, torch.float64), torch.randint(3, (8,), generator=torch.Generator().manual_seed(step))


def small_model():
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def train_ddp_with_accumulation(make_optimizer):
    """Four processes take two batches of one row each: together they are the batch of the process that is alone."""
    model, alone = nn.parallel.DistributedDataParallel(small_model()), small_model()
    optimizer, reference = make_optimizer(model), LAMBC(alone.named_parameters(), lr=1e-2, clip=Quantile(0.5, 0.5))
    rank = torch.distributed.get_rank()
    for step in range(10):
        inputs, labels = digits_batch(step)
        for row in (rank, rank + 4):
            with nullcontext() if row >= 4 else model.no_sync():
                (torch.nn.functional.cross_entropy(model(inputs[row : row + 1]), labels[row : row + 1]) / 2).backward()
        torch.nn.functional.cross_entropy(alone(inputs), labels).backward()
        for each in (optimizer, reference):
            each.step()
            each.zero_grad()
    for param, other in zip(model.parameters(), alone.parameters(), strict=True):
        assert_alike(param.detach(), other.detach(), 1e-9)


def plain(model):
    return LAMBC(model.named_parameters(), lr=1e-2, clip=Quantile(0.5, 0.5))


def zero_redundancy(model):
    return ZeroRedundancyOptimizer(model.parameters(), LAMBC, lr=1e-2, clip=Quantile(0.5, 0.5))


@pytest.mark.parametrize("make_optimizer", [plain, zero_redundancy])
def test_ddp_trains_as_on_one_process_over_accumulated_gradients(four, make_optimizer):
    four.run(train_ddp_with_accumulation, make_optimizer)


# What is refused.


def refuse_fsdp1(use_orig_params):
    model = FullyShardedDataParallel(small_model(), device_id=torch.device("cpu"), use_orig_params=use_orig_params)
    with pytest.raises(ValueError, match=r"FSDP1.*fully_shard \(FSDP2\)"):
        LAMBC(model.parameters())


@pytest.mark.parametrize("use_orig_params", [False, True])
def test_flat_parameters_of_fsdp1_are_refused_since_their_norms_are_no_layers(four, use_orig_params):
    four.run(refuse_fsdp1, use_orig_params)


def refuse_differentiable():
    param = nn.Parameter(laid_out(torch.ones(4), split))
    param.grad = laid_out(torch.ones(4), split)
    with pytest.raises(RuntimeError, match="no differentiable step of a DTensor, but parameter w is one"):
        LAMBC([("w", param)], differentiable=True).step()


def test_autograd_cannot_follow_a_sharded_step(four):
    four.run(refuse_differentiable)
