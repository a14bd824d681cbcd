"""The step in Triton, two passes over memory and no temporary of the model's size: 40 bytes a float32 parameter.

The first pass reads g, m, v, w, writes m and v, and sums the squares of w and of the update; the second reads m, v, w,
forms the update anew, and writes w. Layers of any size share one launch: a program takes a block of one layer, which it
finds through a table of addresses.

`TRITON_INTERPRET=1` runs the kernels on a CPU, to check them, not to train.
"""

from functools import lru_cache

import torch
from torch import Tensor

from lambc.steps import Layers, Move, Path, foreach, fused_adam, trust_ratios, working_dtype
from lambc.steps.together import cast, to_device

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

BLOCK, WARPS = 2048, 16
"""Elements of a program, and its warps: a thread has 4 elements of a float32 tensor, in one access of 128 bits."""

ALIGNED = 16
"""Bytes that every address of a layer must be a multiple of for such an access; those of a flat buffer may not be."""

INTERPRETED = triton is not None and triton.knobs.runtime.interpret


def usable(device: torch.device) -> bool:
    """Whether the kernels run on `device` here."""
    return triton is not None and (device.type == "cuda" or INTERPRETED)


@torch.compiler.disable
def step(layers: Layers, group: dict, lower: Tensor, upper: Tensor, found_inf: Tensor | None = None) -> Tensor:
    """Algorithm 1, lines 7 to 17, for all layers together."""
    if not _one_layout(layers):
        if group["eps_inside_sqrt"] or not fused_adam.AVAILABLE:
            return foreach.step(layers, group, lower, upper)
        return fused_adam.step(layers, group, lower, upper, found_inf, scratch=fused_adam.Scratch())
    norms, move = begin(layers, group, found_inf)
    ratios = trust_ratios(norms, group, lower, upper)
    move(ratios[3] * group["lr"])
    return ratios


@torch.compiler.disable
def begin(layers: Layers, group: dict, found_inf: Tensor | None = None) -> tuple[Tensor, Move]:
    """Lines 7 to 12 of layers that are here in part, and line 17."""
    if not _one_layout(layers):
        path = foreach if group["eps_inside_sqrt"] or not fused_adam.AVAILABLE else fused_adam
        return path.begin(layers, group, found_inf)
    params, exp_avgs, exp_avg_sqs = layers.params, layers.state("exp_avg"), layers.state("exp_avg_sq")
    # The kernels walk memory, not indices: all of a layer's tensors need the one layout.
    grads = [
        grad if grad.stride() == m.stride() else torch.empty_like(m, dtype=grad.dtype).copy_(grad)
        for grad, m in zip(layers.grads, exp_avgs, strict=True)
    ]
    device, dtype = params[0].device, working_dtype(params[0])
    if any(grad.dtype != grads[0].dtype for grad in grads):
        grads = cast(grads, dtype)
    blocks, firsts = _blocks(tuple(param.numel() for param in params), device)
    tensors = (params, grads, exp_avgs, exp_avg_sqs)
    places = [[tensor.data_ptr() for tensor in column] for column in tensors]
    aligned = [int(all(place % ALIGNED == 0 for place in layer)) for layer in zip(*places, strict=True)]
    sizes = [param.numel() for param in params]
    table = _integers((*(place for column in places for place in column), *sizes, *aligned), device)
    beta1, beta2 = group["betas"]
    sign = -1.0 if group["maximize"] else 1.0
    hyper = _numbers((beta1, 1 - beta1, beta2, 1 - beta2, group["eps"], group["weight_decay"], sign), device, dtype)
    one = _numbers((1.0,), device, dtype)
    corrections = _corrections_of(layers, group, device, dtype)
    shared = (table, blocks, firsts, hyper, corrections, len(params))
    options = {
        "EPS_INSIDE_SQRT": group["eps_inside_sqrt"],
        "DTYPE": _TRITON_DTYPES[dtype],
        "W_DTYPE": _TRITON_DTYPES[params[0].dtype],
        "BLOCK": BLOCK,
        "num_warps": WARPS,
    }
    squares = torch.empty(2, len(blocks), dtype=dtype, device=device)
    skipped = one.new_zeros(()) if found_inf is None else found_inf
    factor = one if layers.grad_factor is None else layers.grad_factor

    if len(blocks):
        _moments[(len(blocks),)](
            *shared, squares, len(blocks), factor, skipped,
            DECAY_IN_RATIO=group["decay_in_ratio"], G_DTYPE=_TRITON_DTYPES[grads[0].dtype], **options,
        )  # fmt: skip
    norms = torch.empty(2, len(params), dtype=dtype, device=device)
    _norms[(len(params), 2)](squares, len(blocks), firsts, norms, len(params), BLOCK=1024)

    def move(distances: Tensor) -> None:
        if len(blocks):
            _apply[(len(blocks),)](*shared, distances, skipped, **options)

    return norms, move


def _corrections_of(layers: Layers, group: dict, device: torch.device, dtype: torch.dtype) -> Tensor:
    """1/(1 - β1^t) and 1/(1 - β2^t) of each layer, [2, layers]: two numbers a layer, made once a step."""
    count = len(layers.params)
    if not group["bias_correction"]:
        return _numbers((1.0,) * 2 * count, device, dtype)
    steps = _integers(tuple(step.data_ptr() for step in layers.state("step")), device)
    corrections = torch.empty(2, count, dtype=dtype, device=device)
    betas = _numbers(tuple(group["betas"]), device, torch.float64)
    _corrections[(triton.cdiv(count, 128),)](steps, betas, corrections, count, BLOCK=128)
    return corrections


PATH = Path(step, begin)


def _one_layout(layers: Layers) -> bool:
    pairs = zip(layers.params, layers.state("exp_avg"), strict=True)
    return all(param.stride() == m.stride() for param, m in pairs)


@lru_cache(maxsize=64)
def _integers(values: tuple[int, ...], device: torch.device) -> Tensor:
    return to_device(torch.tensor(values, dtype=torch.int64, device="cpu"), device)


@lru_cache(maxsize=64)
def _numbers(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    return to_device(torch.tensor(values, dtype=dtype, device="cpu"), device)


@lru_cache(maxsize=64)
def _blocks(sizes: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """The layer of each block, and the first block of each layer, with one more entry for the end."""
    counts = torch.tensor([-(-size // BLOCK) for size in sizes], device="cpu")
    layers = torch.repeat_interleave(torch.arange(len(sizes), device="cpu"), counts)
    firsts = torch.cat([torch.zeros(1, dtype=torch.int64, device="cpu"), counts.cumsum(0)])
    return to_device(layers, device), to_device(firsts, device)


if triton is not None:
    _TRITON_DTYPES = {
        torch.float64: tl.float64,
        torch.float32: tl.float32,
        torch.bfloat16: tl.bfloat16,
        torch.float16: tl.float16,
    }

    @triton.jit
    def _corrections(steps, betas, corrections, layers, BLOCK: tl.constexpr):
        """The bias corrections of some layers, in float64: 1 - 0.999 has lost five digits in float32."""
        layer = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        inside = layer < layers
        address = tl.load(steps + layer, mask=inside, other=0).to(tl.pointer_type(tl.float32))
        t = tl.load(address, mask=inside, other=1.0).to(tl.float64)
        for which in tl.static_range(2):
            correction = 1.0 / (1.0 - tl.exp(t * tl.log(tl.load(betas + which))))
            tl.store(corrections + which * layers + layer, correction, mask=inside)

    @triton.jit
    def _load(table, layers, layer, which, offsets, inside, DTYPE: tl.constexpr, WHOLE: tl.constexpr):
        """A block of w, g, m or v (`which`): in accesses of 128 bits if it is whole, else element by element."""
        address = tl.load(table + which * layers + layer).to(tl.pointer_type(DTYPE))
        if WHOLE:
            return tl.load(tl.multiple_of(address, 16) + offsets)
        return tl.load(address + offsets, mask=inside, other=0.0)

    @triton.jit
    def _store(table, layers, layer, which, offsets, inside, value, DTYPE: tl.constexpr, WHOLE: tl.constexpr):
        address = tl.load(table + which * layers + layer).to(tl.pointer_type(DTYPE))
        if WHOLE:
            tl.store(tl.multiple_of(address, 16) + offsets, value.to(DTYPE))
        else:
            tl.store(address + offsets, value.to(DTYPE), mask=inside)

    @triton.jit
    def _place(table, blocks, firsts, layers, BLOCK: tl.constexpr):
        """This program's layer, its elements there, which of them there are, and whether it is whole and aligned."""
        layer = tl.load(blocks + tl.program_id(0))
        start = (tl.program_id(0) - tl.load(firsts + layer)).to(tl.int64) * BLOCK
        size, aligned = tl.load(table + 4 * layers + layer), tl.load(table + 5 * layers + layer)
        offsets = start + tl.arange(0, BLOCK)
        return layer, offsets, offsets < size, (aligned != 0) & (start + BLOCK <= size)

    @triton.jit
    def _update(m, v, w, correction1, correction2, eps, decay, EPS_INSIDE_SQRT: tl.constexpr):
        """r of line 12 and r + λw of line 17."""
        m, v = m * correction1, v * correction2
        r = m / tl.sqrt(v + eps) if EPS_INSIDE_SQRT else m / (tl.sqrt(v) + eps)
        return r, r + decay * w

    @triton.jit
    def _moments_of_block(
        table, layers, layer, offsets, inside, skipped, beta1, rest1, beta2, rest2, scale,
        correction1, correction2, eps, decay,
        DECAY_IN_RATIO: tl.constexpr, EPS_INSIDE_SQRT: tl.constexpr,
        DTYPE: tl.constexpr, W_DTYPE: tl.constexpr, G_DTYPE: tl.constexpr, WHOLE: tl.constexpr,
    ):  # fmt: skip
        w = _load(table, layers, layer, 0, offsets, inside, W_DTYPE, WHOLE).to(DTYPE)
        g = _load(table, layers, layer, 1, offsets, inside, G_DTYPE, WHOLE).to(DTYPE) * scale
        m = beta1 * _load(table, layers, layer, 2, offsets, inside, DTYPE, WHOLE) + rest1 * g
        v = beta2 * _load(table, layers, layer, 3, offsets, inside, DTYPE, WHOLE) + rest2 * g * g
        if not skipped:
            _store(table, layers, layer, 2, offsets, inside, m, DTYPE, WHOLE)
            _store(table, layers, layer, 3, offsets, inside, v, DTYPE, WHOLE)
        r, decayed = _update(m, v, w, correction1, correction2, eps, decay, EPS_INSIDE_SQRT)
        update = decayed if DECAY_IN_RATIO else r
        if not WHOLE:
            update = tl.where(inside, update, 0.0)
        return tl.sum(w * w), tl.sum(update * update)

    @triton.jit
    def _moments(
        table, blocks, firsts, hyper, corrections, layers, squares, block_count, factor, skip,
        DECAY_IN_RATIO: tl.constexpr, EPS_INSIDE_SQRT: tl.constexpr,
        DTYPE: tl.constexpr, W_DTYPE: tl.constexpr, G_DTYPE: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        """Lines 7 and 8, and the squares of w and of the update summed over one block."""
        layer, offsets, inside, whole = _place(table, blocks, firsts, layers, BLOCK)
        beta1, rest1, beta2, rest2 = tl.load(hyper), tl.load(hyper + 1), tl.load(hyper + 2), tl.load(hyper + 3)
        eps, decay, scale = tl.load(hyper + 4), tl.load(hyper + 5), tl.load(hyper + 6) * tl.load(factor).to(DTYPE)
        correction1, correction2 = tl.load(corrections + layer), tl.load(corrections + layers + layer)
        skipped = tl.load(skip) != 0
        if whole:
            ww, uu = _moments_of_block(
                table, layers, layer, offsets, inside, skipped, beta1, rest1, beta2, rest2, scale,
                correction1, correction2, eps, decay, DECAY_IN_RATIO, EPS_INSIDE_SQRT, DTYPE, W_DTYPE, G_DTYPE, True,
            )  # fmt: skip
        else:
            ww, uu = _moments_of_block(
                table, layers, layer, offsets, inside, skipped, beta1, rest1, beta2, rest2, scale,
                correction1, correction2, eps, decay, DECAY_IN_RATIO, EPS_INSIDE_SQRT, DTYPE, W_DTYPE, G_DTYPE, False,
            )  # fmt: skip
        tl.store(squares + tl.program_id(0), ww)
        tl.store(squares + block_count + tl.program_id(0), uu)

    @triton.jit
    def _norms(squares, block_count, firsts, norms, layers, BLOCK: tl.constexpr):
        """The norm of one layer, of w (program 0 of its second axis) or of the update, from its blocks' squares."""
        layer, which = tl.program_id(0), tl.program_id(1)
        first, last = tl.load(firsts + layer), tl.load(firsts + layer + 1)
        total = tl.zeros((BLOCK,), tl.float64)
        for start in range(first, last, BLOCK):
            offsets = start + tl.arange(0, BLOCK)
            total += tl.load(squares + which * block_count + offsets, mask=offsets < last, other=0.0).to(tl.float64)
        tl.store(norms + which * layers + layer, tl.sqrt(tl.sum(total)))

    @triton.jit
    def _apply_to_block(
        table, layers, layer, offsets, inside, distance, correction1, correction2, eps, decay,
        EPS_INSIDE_SQRT: tl.constexpr, DTYPE: tl.constexpr, W_DTYPE: tl.constexpr, WHOLE: tl.constexpr,
    ):  # fmt: skip
        w = _load(table, layers, layer, 0, offsets, inside, W_DTYPE, WHOLE).to(DTYPE)
        m = _load(table, layers, layer, 2, offsets, inside, DTYPE, WHOLE)
        v = _load(table, layers, layer, 3, offsets, inside, DTYPE, WHOLE)
        _, decayed = _update(m, v, w, correction1, correction2, eps, decay, EPS_INSIDE_SQRT)
        _store(table, layers, layer, 0, offsets, inside, w - distance * decayed, W_DTYPE, WHOLE)

    @triton.jit
    def _apply(
        table, blocks, firsts, hyper, corrections, layers, distances, skip,
        EPS_INSIDE_SQRT: tl.constexpr, DTYPE: tl.constexpr, W_DTYPE: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        """Line 17 on one block."""
        layer, offsets, inside, whole = _place(table, blocks, firsts, layers, BLOCK)
        eps, decay, distance = tl.load(hyper + 4), tl.load(hyper + 5), tl.load(distances + layer)
        correction1, correction2 = tl.load(corrections + layer), tl.load(corrections + layers + layer)
        if tl.load(skip) == 0:
            if whole:
                _apply_to_block(
                    table, layers, layer, offsets, inside, distance, correction1, correction2, eps, decay,
                    EPS_INSIDE_SQRT, DTYPE, W_DTYPE, True,
                )  # fmt: skip
            else:
                _apply_to_block(
                    table, layers, layer, offsets, inside, distance, correction1, correction2, eps, decay,
                    EPS_INSIDE_SQRT, DTYPE, W_DTYPE, False,
                )  # fmt: skip
