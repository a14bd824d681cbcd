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

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

BLOCK = 2048
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
        grads = [grad.to(dtype) for grad in grads]
    blocks, firsts = _blocks(tuple(param.numel() for param in params), device)
    tensors = (params, grads, exp_avgs, exp_avg_sqs, layers.state("step"))
    addresses = _integers(tuple(tensor.data_ptr() for column in tensors for tensor in column), device).view(5, -1)
    sizes = _integers(tuple(param.numel() for param in params), device)
    hyper = _numbers((*group["betas"], group["eps"], group["weight_decay"], -1.0 if group["maximize"] else 1.0), device)
    one = _numbers((1.0,), device)
    shared = (addresses, sizes, blocks, firsts, hyper, len(params))
    options = {
        "BIAS_CORRECTION": group["bias_correction"],
        "EPS_INSIDE_SQRT": group["eps_inside_sqrt"],
        "DTYPE": _TRITON_DTYPES[dtype],
        "W_DTYPE": _TRITON_DTYPES[params[0].dtype],
        "BLOCK": BLOCK,
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


PATH = Path(step, begin)


def _one_layout(layers: Layers) -> bool:
    pairs = zip(layers.params, layers.state("exp_avg"), strict=True)
    return all(param.stride() == m.stride() for param, m in pairs)


@lru_cache(maxsize=64)
def _integers(values: tuple[int, ...], device: torch.device) -> Tensor:
    return _to_device(torch.tensor(values, dtype=torch.int64, device="cpu"), device)


@lru_cache(maxsize=64)
def _numbers(values: tuple[float, ...], device: torch.device) -> Tensor:
    return _to_device(torch.tensor(values, dtype=torch.float64, device="cpu"), device)


@lru_cache(maxsize=64)
def _blocks(sizes: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """The layer of each block, and the first block of each layer, with one more entry for the end."""
    counts = torch.tensor([-(-size // BLOCK) for size in sizes], device="cpu")
    layers = torch.repeat_interleave(torch.arange(len(sizes), device="cpu"), counts)
    firsts = torch.cat([torch.zeros(1, dtype=torch.int64, device="cpu"), counts.cumsum(0)])
    return _to_device(layers, device), _to_device(firsts, device)


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Without a wait, which a copy from ordinary memory would be."""
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


if triton is not None:
    _TRITON_DTYPES = {
        torch.float64: tl.float64,
        torch.float32: tl.float32,
        torch.bfloat16: tl.bfloat16,
        torch.float16: tl.float16,
    }

    @triton.jit
    def _update(
        m, v, w, address_of_step, hyper,
        BIAS_CORRECTION: tl.constexpr, EPS_INSIDE_SQRT: tl.constexpr, DTYPE: tl.constexpr,
    ):  # fmt: skip
        """r of line 12 and r + λw of line 17."""
        eps, decay = tl.load(hyper + 2).to(DTYPE), tl.load(hyper + 3).to(DTYPE)
        if BIAS_CORRECTION:
            t = tl.load(address_of_step.to(tl.pointer_type(tl.float32))).to(tl.float64)
            # In float64: 1 - 0.999 has lost five digits in float32.
            m = m / (1.0 - tl.exp(t * tl.log(tl.load(hyper)))).to(DTYPE)
            v = v / (1.0 - tl.exp(t * tl.log(tl.load(hyper + 1)))).to(DTYPE)
        r = m / tl.sqrt(v + eps) if EPS_INSIDE_SQRT else m / (tl.sqrt(v) + eps)
        return r, r + decay * w

    @triton.jit
    def _block(sizes, blocks, firsts, layer, BLOCK: tl.constexpr):
        """Offsets of this program's elements in its layer, and which of them there are."""
        start = (tl.program_id(0) - tl.load(firsts + layer)).to(tl.int64) * BLOCK
        offsets = start + tl.arange(0, BLOCK)
        return offsets, offsets < tl.load(sizes + layer)

    @triton.jit
    def _moments(
        addresses, sizes, blocks, firsts, hyper, layers, squares, block_count, factor, skipped,
        DECAY_IN_RATIO: tl.constexpr, BIAS_CORRECTION: tl.constexpr, EPS_INSIDE_SQRT: tl.constexpr,
        DTYPE: tl.constexpr, W_DTYPE: tl.constexpr, G_DTYPE: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        """Lines 7 and 8, and the squares of w and of the update summed over one block."""
        layer = tl.load(blocks + tl.program_id(0))
        offsets, inside = _block(sizes, blocks, firsts, layer, BLOCK)
        w_address = tl.load(addresses + layer).to(tl.pointer_type(W_DTYPE))
        g_address = tl.load(addresses + layers + layer).to(tl.pointer_type(G_DTYPE))
        m_address = tl.load(addresses + 2 * layers + layer).to(tl.pointer_type(DTYPE))
        v_address = tl.load(addresses + 3 * layers + layer).to(tl.pointer_type(DTYPE))
        step_address = tl.load(addresses + 4 * layers + layer)
        scale = (tl.load(hyper + 4) * tl.load(factor)).to(DTYPE)
        beta1, beta2 = tl.load(hyper), tl.load(hyper + 1)

        w = tl.load(w_address + offsets, mask=inside, other=0.0).to(DTYPE)
        g = tl.load(g_address + offsets, mask=inside, other=0.0).to(DTYPE) * scale
        m = tl.load(m_address + offsets, mask=inside, other=0.0)
        v = tl.load(v_address + offsets, mask=inside, other=0.0)
        m = beta1.to(DTYPE) * m + (1.0 - beta1).to(DTYPE) * g
        v = beta2.to(DTYPE) * v + (1.0 - beta2).to(DTYPE) * g * g
        taken = tl.where(tl.load(skipped) == 0, inside, False)
        tl.store(m_address + offsets, m, mask=taken)
        tl.store(v_address + offsets, v, mask=taken)

        r, decayed = _update(m, v, w, step_address, hyper, BIAS_CORRECTION, EPS_INSIDE_SQRT, DTYPE)
        update = tl.where(inside, decayed if DECAY_IN_RATIO else r, 0.0)
        tl.store(squares + tl.program_id(0), tl.sum(w * w))
        tl.store(squares + block_count + tl.program_id(0), tl.sum(update * update))

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
    def _apply(
        addresses, sizes, blocks, firsts, hyper, layers, distances, skipped,
        BIAS_CORRECTION: tl.constexpr, EPS_INSIDE_SQRT: tl.constexpr,
        DTYPE: tl.constexpr, W_DTYPE: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        """Line 17 on one block."""
        layer = tl.load(blocks + tl.program_id(0))
        offsets, inside = _block(sizes, blocks, firsts, layer, BLOCK)
        w_address = tl.load(addresses + layer).to(tl.pointer_type(W_DTYPE))
        m_address = tl.load(addresses + 2 * layers + layer).to(tl.pointer_type(DTYPE))
        v_address = tl.load(addresses + 3 * layers + layer).to(tl.pointer_type(DTYPE))
        step_address = tl.load(addresses + 4 * layers + layer)
        w = tl.load(w_address + offsets, mask=inside, other=0.0).to(DTYPE)
        m = tl.load(m_address + offsets, mask=inside, other=0.0)
        v = tl.load(v_address + offsets, mask=inside, other=0.0)
        _, decayed = _update(m, v, w, step_address, hyper, BIAS_CORRECTION, EPS_INSIDE_SQRT, DTYPE)
        taken = tl.where(tl.load(skipped) == 0, inside, False)
        tl.store(w_address + offsets, (w - tl.load(distances + layer) * decayed).to(W_DTYPE), mask=taken)
