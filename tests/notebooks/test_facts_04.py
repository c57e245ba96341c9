"""Notebook 04: every number in its prose, its functions against torch, and what its measurements must show.

Times differ from machine to machine and from run to run.  Tested are factors that no machine turns round.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from autograder import build
from autograder.exercise import load_all
from cnnlab import timing

SLUG = "04_vectorised_convolution"
few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def nb(names_of):
    return names_of(SLUG)


# ------------------------------------------------------------------ where the time goes

def test_the_loop_takes_32768_steps_of_144_products(nb):
    assert nb["steps"] == 32_768 and nb["weight"][0].size == 144
    assert nb["operations"] == 2 * 32_768 * 144 and round(nb["operations"] / 1e6, 1) == 9.4
    assert nb["conv2d_loops"](nb["x"], nb["weight"], nb["bias"], 1, 1).size == 32_768


def test_im2col_beats_the_loops_by_a_large_factor(nb):
    layer = nb["x"], nb["weight"], nb["bias"], 1, 1
    loops = timing.median_seconds(nb["conv2d_loops"], *layer, least=2)
    assert loops > 10 * timing.median_seconds(nb["conv2d_gemm"], *layer)
    assert nb["speedup"] > 1 and nb["difference"] < 1e-10


def test_einsum_on_the_view_is_slower_than_copying(nb):
    layer = nb["x"], nb["weight"], nb["bias"]
    view, copy = (timing.median_seconds(nb[f], *layer) for f in ("conv2d_view", "conv2d_gemm"))
    assert view > 2 * copy
    np.testing.assert_allclose(nb["conv2d_view"](*layer), nb["conv2d_gemm"](*layer), atol=1e-10)


# ------------------------------------------------------------------ patches and views

def test_shapes_of_patches_kernels_and_product(nb):
    assert nb["patches"].shape == (180, 27) and nb["kernels"].shape == (27, 4)
    assert 5 * 6 * 6 == 180 and 3 * 3 * 3 == 27


def test_the_animated_patches_are_im2cols(nb):
    x, weight = nb["two_channels"], nb["two_filters"]
    patches = nb["im2col"](x[None].astype(float), (2, 2))
    assert patches[0].tolist() == [*x[0, :2, :2].ravel(), *x[1, :2, :2].ravel()]
    product = patches @ weight.reshape(2, -1).T
    expected = nb["conv2d_gemm"](x[None].astype(float), weight, np.zeros(2))[0].reshape(2, -1).T
    np.testing.assert_array_equal(product, expected)


def test_strides_of_the_small_image(nb):
    assert {name: v.strides for name, v in nb["views"].items()} == {
        "image": (32, 8), "image.T": (8, 32), "image[:, ::2]": (32, 16), "image[1:, 1:]": (32, 8)}
    assert all(np.shares_memory(v, nb["image"]) for v in nb["views"].values())


def test_the_view_copies_nothing_and_its_reshape_does(nb):
    assert nb["view_shares"] is True and nb["rows_share"] is False and nb["same_patches"] is True
    assert nb["windows"].shape == (1, 30, 30, 16, 3, 3) and not nb["windows"].flags.owndata
    assert round(nb["copied"], 1) == 7.9


def test_a_view_that_leaves_its_array_is_refused(nb):
    x = np.zeros((1, 1, 3, 4))
    shape, strides = nb["window_view"](x.shape, x.strides, (2, 2))
    assert nb["strided_view"](x, shape, strides).shape == (1, 2, 3, 1, 2, 2)
    with pytest.raises(ValueError, match="outside"):
        nb["strided_view"](x, (1, 2, 4, 1, 2, 2), strides)
    with pytest.raises(ValueError, match="outside"):
        nb["strided_view"](x, shape, tuple(-s for s in strides))


# ------------------------------------------------------------------ memory

def test_patches_take_about_khkw_over_s2_times_the_input(nb):
    assert [tuple(round(v, 2) for v in pair) for pair in nb["growth"].values()] == [
        (1, 1), (9, 9), (2.25, 2.25), (25, 25), (7.1, 7.56)]
    for (k, s, p, size), claimed in [((3, 2, 1, 64), 2.25), ((5, 1, 2, 32), 25.0)]:
        x = np.zeros((1, 2, size, size))
        assert nb["im2col"](x, (k, k), s, p).nbytes / x.nbytes == claimed


def test_the_second_layer_of_vgg_needs_most(nb):
    layers = nb["vgg"]
    assert len(layers) == 13 and nb["patches_mb"].argmax() == 1
    assert round(nb["patches_mb"][1], 1) == 115.6 and round(nb["maps_mb"][1], 1) == 12.8
    assert 9 * 64 * 224 ** 2 == 28_901_376 and round(64 * nb["patches_mb"][1] / 1000, 1) == 7.4
    assert round(64 * 64 * 9 * 4 / 1e6, 2) == 0.15
    # the thirteen layers, from VGG-16's configuration: the width before each, and the size after the poolings
    widths, size, expected = [3], 224, []
    for block in [[64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3]:
        for width in block:
            expected.append((widths[-1], size))
            widths.append(width)
        size //= 2
    assert layers == expected


def test_tiles_bound_the_peak(nb):
    peaks = nb["peaks"]
    assert list(peaks) == [224, 56, 14, 4]
    assert peaks[224] > 2 * 115.6 and list(peaks.values()) == sorted(peaks.values(), reverse=True)
    padded_and_output = 8 * 64 * (226 ** 2 + 224 ** 2) / 1e6
    assert round(8 * 64 * 226 ** 2 / 1e6) == round(8 * 64 * 224 ** 2 / 1e6) == 26
    assert padded_and_output < peaks[4] < 1.2 * padded_and_output


@pytest.mark.parametrize("rows", [1, 3, 4, 9, 20])
def test_tiles_give_the_same_numbers(nb, rows):
    rng = np.random.default_rng(rows)
    x, weight, bias = rng.normal(size=(2, 3, 9, 7)), rng.normal(size=(4, 3, 3, 3)), rng.normal(size=4)
    np.testing.assert_allclose(nb["conv2d_tiled"](x, weight, bias, rows),
                               nb["conv2d_gemm"](x, weight, bias, 1, 1), atol=1e-12)


# ------------------------------------------------------------------ the way back

def test_there_and_back_counts_the_windows(nb):
    assert np.diag(nb["there_and_back"]).tolist() == [1, 4, 9, 4, 1]
    assert nb["there_and_back"][0].tolist() == [1, 2, 3, 2, 1]
    np.testing.assert_array_equal(nb["there_and_back"], np.outer([1, 2, 3, 2, 1], [1, 2, 3, 2, 1]))
    ones = np.ones((1, 1, 5, 5))
    np.testing.assert_array_equal(nb["overwriting_col2im"](nb["im2col"](ones, (3, 3)), ones.shape, (3, 3), 1), ones)


def test_the_transpose_of_im2col_is_col2im_and_not_its_inverse(nb):
    A, rng = nb["A"], np.random.default_rng(0)
    assert A.shape == (9, 5)
    np.testing.assert_array_equal(A.T @ A, np.diag([1, 2, 3, 2, 1]))
    x, c = rng.normal(size=5), rng.normal(size=9)
    np.testing.assert_array_equal(A @ x, nb["im2col"](x[None, None, None], (1, 3)).ravel())
    np.testing.assert_allclose(A.T @ c, nb["col2im"](c.reshape(3, 3), (1, 1, 1, 5), (1, 3))[0, 0, 0])


def test_the_adjoint_identity_finds_overwriting_only_where_windows_overlap(nb):
    found = nb["mismatches"]
    assert max(found["col2im", 3], found["col2im", 2], found["overwriting_col2im", 2]) < 1e-14
    assert found["overwriting_col2im", 3] > 1e-3


# ------------------------------------------------------------------ intensity and the roof

def test_intensities(nb):
    assert {k: round(v, 2) for k, v in nb["intensity"].items()} == {
        "A": 65.94, "B": 6.43, "C": 7.92, "D": 1.12, "E": 0.25, "F": 14.22}
    assert round(nb["with_patches"]["A"]) == 7 and round(nb["with_patches"]["D"], 1) == 0.1
    assert max(nb["intensity"], key=nb["intensity"].get) == "A"
    assert sorted(nb["intensity"], key=nb["intensity"].get)[:2] == ["E", "D"]


def test_padding_keeps_the_size_in_all_six_layers(nb):
    for _, x_shape, w_shape, padding in nb["layers"].values():
        groups = x_shape[1] // w_shape[1]
        y = F.conv2d(torch.empty(x_shape, device="meta"), torch.empty(w_shape, device="meta"), None, 1, padding,
                     groups=groups)
        assert y.shape[2:] == x_shape[2:]


def test_every_layer_was_measured_and_the_roof_bends_somewhere(nb):
    assert set(nb["ours"]) == set(nb["torchs"]) == set("ABCDEF")
    assert all(rate > 0 for _, rate in [*nb["ours"].values(), *nb["torchs"].values()])
    assert all(nb["torchs"][k][0] == 2 * nb["ours"][k][0] for k in "ABCDEF")
    assert 0.01 < nb["peak"] / nb["bandwidth"] < 1000


def test_layers_by_im2col_are_torchs(nb):
    rng = np.random.default_rng(1)
    for _, x_shape, w_shape, padding in nb["layers"].values():
        x_shape = (*x_shape[:2], *(min(n, 6) for n in x_shape[2:]))
        x, weight = rng.normal(size=x_shape), rng.normal(size=w_shape)
        out = nb["run_layer"](x, weight, padding).reshape(len(x), *x_shape[2:], -1).transpose(0, 3, 1, 2)
        expected = F.conv2d(torch.from_numpy(x), torch.from_numpy(weight), None, 1, padding,
                            groups=x_shape[1] // w_shape[1])
        np.testing.assert_allclose(out, expected, atol=1e-10)


# ------------------------------------------------------------------ which method wins

def test_every_method_was_timed_and_loops_only_where_they_are_short(nb):
    rows = nb["by_image"] + nb["by_kernel"]
    assert all(set(row) == {"loops", "view, einsum", "im2col, GEMM", "FFT", "torch"} for row in rows)
    assert all(row[name] > 0 for row in rows for name in row if name != "loops")
    assert [np.isfinite(row["loops"]) for row in nb["by_image"]] == [True, True, True, False, False]


def test_the_fft_hardly_notices_the_kernel_size_and_wins_for_large_ones(nb):
    def seconds(method, k):
        rng = np.random.default_rng(0)
        x, weight = rng.normal(size=(1, 16, 48, 48)), rng.normal(size=(16, 16, k, k))
        return timing.median_seconds(nb[method], x, weight, np.zeros(16), least=4)

    ffts = [seconds("conv2d_fft", k) for k in (3, 21)]
    assert max(ffts) < 4 * min(ffts)
    assert seconds("conv2d_view", 21) > 2 * seconds("conv2d_view", 3)
    gemms = [seconds("conv2d_gemm", k) for k in (3, 21)]
    assert gemms[0] < ffts[0] and ffts[1] < gemms[1]


def test_the_fft_layer_is_the_same_layer(nb):
    assert nb["fft_error"] < 1e-10
    rng = np.random.default_rng(2)
    x, weight, bias = rng.normal(size=(2, 3, 9, 7)), rng.normal(size=(4, 3, 3, 2)), rng.normal(size=4)
    expected = F.conv2d(*map(torch.from_numpy, (x, weight, bias)))
    np.testing.assert_allclose(nb["conv2d_fft"](x, weight, bias), expected, atol=1e-12)
    np.testing.assert_allclose(nb["conv2d_view"](x, weight, bias), expected, atol=1e-12)


@pytest.mark.parametrize(("dtype", "kernel"), [(torch.float64, "aten::_slow_conv2d_forward"),
                                               (torch.float32, "aten::mkldnn_convolution")])
def test_torch_makes_patches_for_float64_and_calls_a_library_for_float32(dtype, kernel):
    x, weight = torch.ones(1, 64, 56, 56, dtype=dtype), torch.ones(64, 64, 3, 3, dtype=dtype)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        F.conv2d(x, weight)
    assert kernel in {event.key for event in profile.key_averages()}


# ------------------------------------------------------------------ the model answer

def test_the_model_answer(nb):
    p = nb["flops_and_bytes"]((1, 64, 56, 56), (64, 64, 3, 3), 1, 1, itemsize=4)
    q = nb["flops_and_bytes"]((1, 64, 112, 112), (64, 1, 3, 3), 1, 1, itemsize=4)
    assert round(p[0] / 1e6, 1) == 231.2 and round(p[1] / 1e6, 2) == 1.75 and round(p[0] / p[1]) == 132
    assert round(q[0] / 1e6, 1) == 14.5 and round(q[1] / 1e6, 1) == 6.4 and round(q[0] / q[1], 2) == 2.25
    assert round(20 * q[0] / q[1]) == 45 and round(100 * 4 / 45) == 9
    p_patches, q_patches = 2 * 4 * 64 * 9 * 56 ** 2, 2 * 4 * 64 * 9 * 112 ** 2
    assert round(q_patches / 1e6, 1) == 57.8 and round(p[0] / (p[1] + p_patches)) == 14
    q_now = q[0] / (q[1] + q_patches)
    assert round(q_now, 3) == 0.225 and round(20 * q_now, 1) == 4.5


# ------------------------------------------------------------------ while a grader runs it

def test_while_grading_it_is_quick_and_imports_no_torch():
    source = build.source_notebooks({SLUG: load_all()[SLUG]})[SLUG]
    code = "\n\n".join(c.source for c in source.cells if c.cell_type == "code")
    code += "\nimport sys\nassert 'torch' not in sys.modules and peaks and by_image\n"
    done = subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], capture_output=True, text=True,
                          env=os.environ | {"NBGRADER_EXECUTION": "autograde", "MPLBACKEND": "agg"}, timeout=60)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------ against torch, on random layers

@st.composite
def layers(draw):
    """x, weight, bias, stride, padding and groups of a small random layer in which at least one window fits."""
    n, depth, per_group, kh, kw, groups = (draw(st.integers(1, 3)) for _ in range(6))
    stride, padding = (tuple(draw(st.integers(low, 3)) for _ in range(2)) for low in (1, 0))
    h, w = (k - 1 + draw(st.integers(1, 5)) for k in (kh, kw))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shapes = [(n, depth * groups, h, w), (per_group * groups, depth, kh, kw), per_group * groups]
    return *(rng.normal(size=shape) for shape in shapes), stride, padding, groups


@few
@given(layers())
def test_im2col_is_torchs_unfold_transposed(nb, layer):
    x, weight, _, stride, padding, _ = layer
    expected = F.unfold(torch.from_numpy(x), weight.shape[2:], 1, padding, stride).transpose(1, 2).flatten(0, 1)
    patches = nb["im2col"](x, weight.shape[2:], stride, padding)
    np.testing.assert_array_equal(patches, expected)
    c = np.random.default_rng(0).normal(size=patches.shape)
    back = nb["col2im"](c, x.shape, weight.shape[2:], stride, padding)
    folded = F.fold(torch.from_numpy(c).reshape(len(x), -1, c.shape[1]).transpose(1, 2), x.shape[2:],
                    weight.shape[2:], 1, padding, stride)
    np.testing.assert_allclose(back, folded, atol=1e-12)
    assert (patches * c).sum() == pytest.approx((x * back).sum(), abs=1e-9)


@few
@given(layers())
def test_conv2d_gemm_is_torchs(nb, layer):
    x, weight, bias, stride, padding, groups = layer
    one_group = x[:, :weight.shape[1]]
    expected = F.conv2d(*map(torch.from_numpy, (one_group, weight, bias)), stride, padding)
    np.testing.assert_allclose(nb["conv2d_gemm"](one_group, weight, bias, stride, padding), expected, atol=1e-12)
    patches = nb["im2col"](x, weight.shape[2:], stride, padding)
    grouped = F.conv2d(torch.from_numpy(x), torch.from_numpy(weight), None, stride, padding, groups=groups)
    expected = grouped.permute(0, 2, 3, 1).flatten(0, 2)
    np.testing.assert_allclose(nb["grouped_product"](patches, weight, groups), expected, atol=1e-12)


@few
@given(layers(), st.integers(0, 3))
def test_window_view_reads_the_windows_of_any_layout(nb, layer, layout):
    x, weight, _, stride, *_ = layer
    x = [x, x.swapaxes(2, 3).copy().swapaxes(2, 3), np.repeat(x, 2, axis=3)[..., ::2],
         x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)][layout]
    view = as_strided(x, *nb["window_view"](x.shape, x.strides, weight.shape[2:], stride))
    expected = sliding_window_view(x, weight.shape[2:], axis=(2, 3))[:, :, ::stride[0], ::stride[1]]
    np.testing.assert_array_equal(view, expected.transpose(0, 2, 3, 1, 4, 5))


@few
@given(st.integers(1, 5), st.integers(0, 6), st.integers(1, 4), st.data())
def test_im2col_matrix_is_im2col(nb, k, more, stride, data):
    padding = data.draw(st.integers(0, k - 1))
    x = np.random.default_rng(0).normal(size=k + more)
    patches = nb["im2col"](x[None, None, None], (1, k), (1, stride), (0, padding))
    np.testing.assert_array_equal(nb["im2col_matrix"](len(x), k, stride, padding) @ x, patches.ravel())


@few
@given(layers())
def test_flops_and_bytes_count_the_product(nb, layer):
    x, weight, _, stride, padding, groups = layer
    y = F.conv2d(torch.from_numpy(x), torch.from_numpy(weight), None, stride, padding, groups=groups)
    products = y.numel() * weight[0].size
    assert nb["flops_and_bytes"](x.shape, weight.shape, stride, padding, itemsize=4) == (
        2 * products, 4 * (x.size + weight.size + y.numel()))
