"""Notebook 17: every number in its prose, its kernels against torch on drawn shapes, and what its figures rest on."""

from __future__ import annotations

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnlab import report
from cnnlab.calls import Local
from cnnlab.checks import judge
from cnnlab.kernels import tl, triton
from cnnlab.probes import load

SLUG = "17_gpu_convolution"
few = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 10_000)
sizes = st.integers(1, 6)
layouts = st.sampled_from([torch.contiguous_format, torch.channels_last])


@pytest.fixture
def nb(names_of):
    return names_of(SLUG)


def draw(seed, *shape):
    return torch.tensor(np.random.default_rng([seed, *shape]).normal(size=shape), dtype=torch.float32)


# ------------------------------------------------------------------ the kernels, under the watch

@few
@given(seeds, st.integers(1, 3000))
def test_relu_of_any_length(nb, seed, n):
    x = draw(seed, n)
    assert torch.equal(nb["relu"](x), F.relu(x))


@few
@given(seeds, st.integers(1, 20), st.integers(1, 20))
def test_rows_have_mean_zero(nb, seed, rows, columns):
    x = draw(seed, rows, columns)
    torch.testing.assert_close(nb["centre"](x), x - x.mean(1, keepdim=True), atol=1e-5, rtol=0)


@few
@given(seeds, sizes, sizes, sizes, sizes, layouts, st.booleans())
def test_any_layout_becomes_channels_last(nb, seed, N, C, H, W, layout, part):
    x = draw(seed, N, C, H, 2 * W).contiguous(memory_format=layout)
    x = x[:, :, :, ::2] if part else x
    got = nb["to_channels_last"](x)
    assert torch.equal(got, x) and got.is_contiguous(memory_format=torch.channels_last)


@few
@given(seeds, st.integers(1, 70), st.integers(1, 40), st.integers(1, 70), st.booleans())
def test_products_of_any_size(nb, seed, M, K, D, transposed):
    a, b = draw(seed, M, D), draw(seed + 1, K, D).T if transposed else draw(seed + 1, D, K)
    torch.testing.assert_close(nb["matmul"](a, b), a @ b, atol=1e-4, rtol=0)


@few
@given(seeds, st.integers(1, 2), st.integers(1, 20), st.integers(3, 6), st.integers(3, 6), st.integers(1, 20),
       st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), layouts)
def test_the_convolution_is_torchs(nb, seed, N, C, H, W, K, R, S, stride, padding, layout):
    x, weight, bias = draw(seed, N, C, H, W).contiguous(memory_format=layout), draw(seed, K, C, R, S), draw(seed, K)
    got = nb["conv_relu"](x, weight, bias, stride, padding, (32, 16, 16))
    torch.testing.assert_close(got, F.relu(F.conv2d(x, weight, bias, stride, padding)), atol=1e-4, rtol=0)


@few
@given(seeds, st.integers(1, 2), st.integers(1, 20), st.integers(3, 7), st.integers(3, 7), st.integers(2, 3),
       st.integers(1, 3), st.integers(0, 1))
def test_pooling_is_torchs(nb, seed, N, C, H, W, size, stride, padding):
    x = draw(seed, N, C, H, W) - 2
    assert torch.equal(nb["max_pool"](x, size, stride, padding), F.max_pool2d(x, size, stride, padding))


@few
@given(seeds, st.sampled_from([1.0, 1e-20, 3e20]))
def test_rounding_keeps_13_bits_at_zero_and_goes_to_the_nearest(nb, seed, scale):
    x = draw(seed, 50) * scale
    got = nb["round_to_tf32"](x)
    assert not (got.view(torch.int32) & 0x1FFF).any()
    assert ((got - x).abs() <= x.abs() * 2.0**-11).all() and torch.equal(nb["round_to_tf32"](got), got)


def test_a_product_that_is_not_exact_in_float16_is_exact_in_float32(nb):
    a, b = torch.full((3, 4608), 1.0).half(), torch.full((4608, 2), 1.0).half()
    assert torch.equal(nb["matmul"](a, b), torch.full((3, 2), 4608.0))


# ------------------------------------------------------------------ what a check says

@triton.jit
def padding_of_zeros(x, y, M, C, H, W, P, Q, R, S, stride, padding, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr):
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)[:, None]
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    best = tl.full((BLOCK_M, BLOCK_C), float("-inf"), tl.float32)
    for r in range(R):
        for s in range(S):
            h, w = m // Q % P * stride - padding + r, m % Q * stride - padding + s
            inside = (m < M) & (c < C) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
            best = tl.maximum(best, tl.load(x + ((m // (P * Q) * H + h) * W + w) * C + c, inside, other=0.0))
    tl.store(y + m * C + c, best, (m < M) & (c < C))


def test_padding_of_zeros_is_named():
    verdict = judge(load("max_pool_kernel"), Local(padding_of_zeros))
    assert verdict.mistake == "zeros" and "0 beats every negative number" in report.text(verdict)


# ------------------------------------------------------------------ numbers in the prose

def test_the_chip(nb):
    assert nb["ridge"] == pytest.approx(295, abs=0.5)
    assert nb["add_intensity"] / nb["ridge"] == pytest.approx(0.0003, abs=0.00005)
    assert 989 / 67 == pytest.approx(15, abs=0.3)


def test_where_32_bits_end(nb):
    assert 128 * nb["image"] == 2**31 and int(nb["cut"]) == -(2**31)


def test_what_the_layouts_fetch(nb):
    used = {name: [a for a, _ in both] for name, both in nb["coalescing"].items()}
    pieces = {name: [b for _, b in both] for name, both in nb["coalescing"].items()}
    assert used["64 channels, 58×58"] == pytest.approx([0.80, 1], abs=0.005)
    assert 1 / used["the same, stride 2"][0] == pytest.approx(2.7, abs=0.05) and used["the same, stride 2"][1] == 1
    assert pieces["64 channels, 16×16"] == [0.375, 1]
    assert max(used["3 channels, 227×227, stride 4"]) == pytest.approx(0.25, abs=0.01)
    steps = [nb["tile_addresses"]("NHWC", r, s) for r, s in ((0, 0), (0, 1), (1, 0))]
    assert np.unique(np.diff(np.sort(steps[0].ravel()))).tolist() == [1] and steps[0].size == 128
    assert (steps[1] - steps[0]).max() == 16 and (steps[2] - steps[0]).max() == 192


def test_tiles(nb):
    assert nb["tile_intensity"][1, 1] == 0.5 and nb["tile_intensity"][128, 128] == 64
    side = 2 * nb["ridge"]
    assert side == pytest.approx(590, abs=1) and 4 * side**2 > 2**20
    assert [g[:2] for g in nb["grids"].values()] == [(2, 4), (7, 4), (49, 4)]
    assert 49 * 4 == 132 + 64


def test_sums_and_formats(nb):
    assert nb["stuck"] == 2048 and 3 * 3 * 512 == 4608
    assert nb["errors"][4608, "float16"] > 0.05 and nb["errors"][4608, "float32"] < 1e-5
    off = nb["off"]
    assert off["TF32"] == pytest.approx(1e-3, rel=0.3) and off["bfloat16"] / off["TF32"] == pytest.approx(9, abs=0.7)
    assert 0.5 < off["rounded to float16"] / off["TF32"] < 2 and off["float32"] < 1e-5


def test_patches_cost_nine_times_the_layer(nb):
    moved = 2 * nb["patch_bytes"] / nb["BANDWIDTH"]
    assert moved / nb["arithmetic"] == pytest.approx(9, abs=0.3)


def test_lenet_by_own_kernels(nb):
    assert torch.allclose(nb["ours"], nb["theirs"], atol=1e-4)
    assert nb["ours"].argmax(1).tolist() == nb["labels"][:5].tolist()


def test_the_floors(nb):
    intensity = {letter: flops / moved for letter, (flops, moved, _) in nb["floors"].items()}
    assert "".join(letter for letter, value in intensity.items() if value < nb["ridge"]) == "ADGHIJLN"
    for letter, layer in nb["layers"].items():
        N, C, H, W, K, R, S, stride, padding = layer
        x, w = torch.empty(N, C, H, W, device="meta"), torch.empty(K, C, R, S, device="meta")
        y = F.conv2d(x, w, None, stride, padding)
        assert nb["floors"][letter][:2] == (2 * y.numel() * w[0].numel(), 2 * (x.numel() + w.numel() + y.numel()))
        assert nb["output_pixels"](layer) == y.numel() // K


def test_the_predictions(nb):
    patches, relu = nb["with_patches"], nb["with_relu"]
    assert max(patches, key=patches.get) == "N" and round(patches["N"]) == 18
    assert round(patches["D"]) == round(patches["I"]) == 10 and patches["H"] == patches["L"] == 1
    assert min(relu.values()) == pytest.approx(1.13, abs=0.006) and max(relu.values()) == pytest.approx(2.68, abs=0.006)
    assert "".join(sorted(relu, key=relu.get)[-4:][::-1]) in ("GLAN", "GLNA")
    assert {round(nb["asked"][letter]) for letter in "BFM"} == {26, 27} and max(nb["asked"].values()) < 27.5
    assert [letter for letter, v in nb["busy"].items() if v < 0.9] == ["F", "M"]
    assert nb["busy"]["F"] == pytest.approx(0.74, abs=0.005) and 1 / nb["busy"]["F"] == pytest.approx(1.35, abs=0.005)
    assert nb["filled"]["A"] == pytest.approx((0.19, 0.69), abs=0.005)
    assert nb["filled"]["G"] == pytest.approx((0.19, 0.66), abs=0.005)


def test_the_written_answer(nb):
    layers = {"P": (16, 3, 512, 512, 32, 3, 3, 2, 1), "Q": (16, 512, 8, 8, 512, 3, 3, 1, 1)}
    (f, b, floor), (f_q, b_q, floor_q) = (nb["layer_floors"](v, 2, nb["PEAK"], nb["BANDWIDTH"]) for v in layers.values())
    assert (f / 1e9, b / 1e6, f / b, 1e6 * floor) == pytest.approx((1.81, 92.3, 20, 27.5), rel=0.02)
    assert 1e6 * f / nb["PEAK"] == pytest.approx(1.8, abs=0.05)
    assert (f_q / 1e9, b_q / 1e6, f_q / b_q, 1e6 * floor_q) == pytest.approx((4.83, 6.8, 709, 4.9), rel=0.01)
    output = 2 * nb["output_pixels"](layers["P"]) * 32
    assert output / 1e6 == pytest.approx(67, abs=0.2) and 2e6 * output / nb["BANDWIDTH"] == pytest.approx(40, abs=0.1)
    assert nb["tile_grid"](nb["output_pixels"](layers["Q"]), 512, 128, 128)[:2] == (8, 4)
    assert 32 / 132 == pytest.approx(0.24, abs=0.005) and 1e6 * floor_q * 132 / 32 == pytest.approx(20, abs=0.3)
    assert 2 * 2 * 1024 * 512 / nb["BANDWIDTH"] * 1e6 == pytest.approx(0.6, abs=0.05)
    assert 2 * (16 * 512 * 64 + 9 * 512 * 512) / 1e6 == pytest.approx(5.8, abs=0.05)


def test_timing(nb):
    assert nb["naive"] == 5
    watch_ = nb["Stopwatch"]((900.0, 60.0, 30.0, 32.0, 31.0, 210.0, 33.0))
    assert watch_.median_time(2, 5) == 32 + 5


# ------------------------------------------------------------------ what a GPU measured, if one did

def test_a_record_of_the_benchmark_is_drawn(nb, tmp_path, capsys):
    row = {"pass": "forward", "plain_us": 300.0, "ours_us": 100.0, "cudnn_us": 110.0, "arithmetic_floor_us": 27.0,
           "bytes_floor_us": 34.0}
    record = {"layers": [row | {"pass": way} for _ in nb["layers"] for way in ("forward", "grad_input")],
              "geometric_mean_ratio_to_cudnn": {"forward": {"ours": 1.1, "plain": 0.37}},
              "command": "made up", "device": "none", "date": "today"}
    (tmp_path / "record.json").write_text(json.dumps(record))
    nb["draw_record"](tmp_path / "record.json")
    plt.close("all")
    assert "made up; none; today" in capsys.readouterr().out
    nb["draw_record"](tmp_path / "nothing.json")
    assert "no record" in capsys.readouterr().out


def test_the_layers_are_those_of_the_benchmark(nb):
    gpu_conv = pytest.importorskip("benchmarks.gpu_conv")
    assert [tuple(layer) for layer in gpu_conv.LAYERS] == list(nb["sizes"].values())
