"""The C++ step does what the loop does, with every option; and where it is not built, nothing is missing."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from lambc import LAMBC
from lambc.steps import compiled, fused_adam
from tests.lambc.algorithm1 import Algorithm1
from tests.lambc.test_algorithm1 import COMBINATIONS, GRADIENTS, MANY_ELEMENTS, WEIGHTS, assert_close, train

needs_compiler = pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A folder in which the library has been built."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        compiled.build()
        compiled.library.cache_clear()
    return folder


@pytest.fixture
def built(cache, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    compiled.library.cache_clear()
    yield cache
    compiled.library.cache_clear()


@pytest.fixture
def not_built(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled.library.cache_clear()
    yield tmp_path
    compiled.library.cache_clear()


def step_function(optimizer):
    return getattr(optimizer._path(optimizer.param_groups[0], torch.device("cpu")).step, "func", None)


@needs_compiler
@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda options: "-".join(str(v) for v in options.values()))
def test_every_combination_of_options_follows_algorithm_1(built, options):
    options = {"lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-6, **options}
    reference = [Algorithm1(weight, **options) for weight in WEIGHTS]
    expected = np.array(
        [np.transpose([layer.step(g) for layer, g in zip(reference, each, strict=True)]) for each in GRADIENTS]
    )
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        weights, records = train(dtype, **options)
        for got, layer in zip(weights, reference, strict=True):
            assert_close(got, layer.w, tolerance)
        shown = slice(None) if dtype == torch.float64 else MANY_ELEMENTS
        assert_close(records[..., shown], expected[..., shown], max(tolerance, 1e-6), axis=0)


@needs_compiler
def test_it_is_the_default_where_it_is_built_and_leaves_what_was_asked_for_to_others(built):
    taken = {
        str(options): step_function(LAMBC([torch.zeros(3, requires_grad=True)], **options)) is compiled.step
        for options in ({}, {"fused": True}, {"fused": False}, {"foreach": True}, {"differentiable": True})
    }
    assert list(taken.values()) == [True, True, False, False, False]


def test_where_it_is_not_built_torchs_kernel_takes_the_steps_and_nothing_is_built(not_built):
    param = torch.ones(3, requires_grad=True)
    param.grad = torch.ones(3)
    optimizer = LAMBC([param])
    assert step_function(optimizer) is fused_adam.step
    optimizer.step()
    assert not list(not_built.iterdir())


@needs_compiler
def test_a_library_that_is_damaged_is_as_one_that_is_not_there(not_built):
    compiled.place().parent.mkdir()
    compiled.place().write_bytes(b"no library")
    assert compiled.library() is None
    compiled.build()
    assert compiled.library() is not None


@needs_compiler
@pytest.mark.parametrize("size", [511, 513, 8191, 8193, 1_100_000])
@pytest.mark.parametrize("value", [0.1, 1 / 3])
def test_norms_are_within_a_millionth_also_where_all_elements_round_the_same_way(built, size, value):
    param = torch.full((size,), value, requires_grad=True)
    param.grad = torch.full((size,), 0.7)
    optimizer = LAMBC([param])
    seen = []
    optimizer.register_trust_ratio_hook(lambda record: seen.append(record.table[:2, 0].double().tolist()))
    expected = [param[0].double().item() * size**0.5, size**0.5 * (0.7 / (0.7 + 1e-6))]
    optimizer.step()
    assert seen[0] == pytest.approx(expected, rel=1e-6)


@needs_compiler
def test_the_number_of_threads_changes_no_bit(built):
    results = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            torch.manual_seed(0)
            params = [torch.randn(size, requires_grad=True) for size in (30_000, 7, 1_200_000)]
            optimizer = LAMBC(params, weight_decay=0.1)
            for _ in range(3):
                for param in params:
                    param.grad = torch.randn_like(param)
                optimizer.step()
            results.append(params)
    finally:
        torch.set_num_threads(threads)
    for others in results[1:]:
        assert all(map(torch.equal, results[0], others))


def ragged(dtype, gaps):
    """Gradients in another layout than their parameter, and a parameter with gaps, which the function cannot walk."""
    torch.manual_seed(0)
    params = [torch.randn(3, 4, 5, 5, dtype=dtype), torch.randn(4, 6, dtype=dtype), torch.randn(8, 6, dtype=dtype)]
    params[0] = params[0].contiguous(memory_format=torch.channels_last)
    if gaps:
        params[2] = params[2][:, ::2]
    for param in params:
        param.grad = torch.randn(param.shape, dtype=dtype)
    return params


@needs_compiler
@pytest.mark.parametrize("gaps", [False, True], ids=["dense", "gaps"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("options", [{}, {"master_weights": True}, {"max_grad_norm": 0.1, "maximize": True}], ids=str)
def test_layouts_half_precision_and_a_limited_gradient_give_the_steps_of_the_loop(built, dtype, options, gaps):
    params, reference = ragged(dtype, gaps), ragged(dtype, gaps)
    for each, path in ((params, {}), (reference, {"foreach": False})):
        optimizer = LAMBC(each, weight_decay=0.1, **path, **options)
        for _ in range(3):
            optimizer.step()
    tolerance = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 1e-2}[dtype]
    torch.testing.assert_close(params, reference, rtol=tolerance, atol=tolerance)


@needs_compiler
def test_bad_elements_spoil_no_others_and_a_skipped_step_moves_nothing(built):
    param = torch.tensor([1.0, 2.0, torch.inf], requires_grad=True)
    param.grad = torch.tensor([1.0, torch.nan, 1.0])
    LAMBC([param], lr=0.1).step()
    assert param[0].item() == pytest.approx(0.9)
    assert param[1].isnan()
    assert param[2] == torch.inf
    skipped = torch.ones(2, requires_grad=True)
    skipped.grad = torch.ones(2)
    optimizer = LAMBC([skipped], fused=True)
    optimizer.found_inf, optimizer.grad_scale = torch.ones(()), torch.ones(())
    optimizer.step()
    assert skipped.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("compiler", "said"), [("false", "cannot build cpu.cpp"), ("", "no C++ compiler was found")], ids=["fails", "none"]
)
def test_without_a_compiler_to_build_it_says_so_in_a_sentence(tmp_path, compiler, said):
    environment = {**os.environ, "CXX": compiler, "XDG_CACHE_HOME": str(tmp_path)}
    if not compiler:
        environment["PATH"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "lambc.steps.compiled"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.so"))
