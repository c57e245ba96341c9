"""Notebook 03: every number in its prose, and its functions against torch."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnlab.animation import sliding_window

SLUG = "03_padding_stride_channels"
# The notebook's names are the same for every example, so the fixture need not be made afresh.
few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def nb(names_of):
    return names_of(SLUG)


# ------------------------------------------------------------------ where the windows lie

def test_a_kernel_of_3_on_7_pixels_gives_5_3_and_a_size_that_does_not_fit(nb):
    assert [round(w, 2) for w in nb["by_formula"].values()] == [5, 3, 2.33]
    assert [nb["output_size"](7, 3, stride) for stride in (1, 2, 3)] == [5, 3, 2]
    assert nb["padded_fit"] == nb["output_size"](7, 3, stride=3, padding=1) == 3


def test_the_first_figure_shows_5_3_7_and_3_windows(nb):
    assert [nb["output_size"](7, 3, **setting) for setting in nb["settings"]] == [5, 3, 7, 3]


def test_valid_5x5_layers_shrink_32_to_4_in_seven_steps(nb):
    assert nb["valid"] == [32, 28, 24, 20, 16, 12, 8, 4]
    assert len(nb["valid"]) - 1 == 7


def test_a_valid_output_is_h_minus_k_plus_1(nb):
    assert all(nb["output_size"](h, k) == h - k + 1 for h in range(5, 9) for k in range(1, 6))


# ------------------------------------------------------------------ which pixels are read

def test_unread_pixels(nb):
    assert list(nb["unread"].values()) == [0, 13, 9, 16]
    assert nb["output_size"](5, 2, stride=3) == (5 - 2) / 3 + 1 == 2
    skipped = nb["coverage_map"](5, 2, 3) == 0
    assert skipped[2].all() and skipped[:, 2].all() and skipped.sum() == 9
    lost = nb["coverage_map"](5, 3, 3) == 0
    assert lost[3:].all() and lost[:, 3:].all() and lost.sum() == 16


def test_at_stride_1_the_middle_is_read_nine_times_and_a_corner_once(nb):
    counts = nb["coverage_map"](7, 3)
    assert counts[3, 3] == counts.max() == 9 and counts[0, 0] == counts.min() == 1


def test_no_padding_makes_stride_2_fit_a_5x5_kernel_on_32_pixels(nb):
    assert all((32 + 2 * padding - 5) % 2 for padding in range(20))
    # "With stride 2 an odd kernel fits odd sizes only."
    for size in range(9, 30):
        for kernel_size in (1, 3, 5, 7):
            fits = {(size + 2 * padding - kernel_size) % 2 == 0 for padding in range(5)}
            assert fits == {size % 2 == 1}


def test_the_first_layer_of_resnet_loses_one_row_of_padding_only(nb):
    assert nb["stem_remainder"] == 1 and nb["stem_size"] == 112
    assert nb["stem_counts"].min() == 2                # rows; columns follow the same rule
    assert torch.nn.Conv2d(3, 1, 7, stride=2, padding=3)(torch.zeros(1, 3, 224, 224)).shape[2:] == (112, 112)


@few
@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 5), st.data())
def test_a_remainder_costs_real_pixels_only_where_it_exceeds_the_padding(nb, size, stride, kernel_size, data):
    padding = data.draw(st.integers(0, kernel_size - 1))
    if size + 2 * padding < kernel_size:
        return
    remainder = (size + 2 * padding - kernel_size) % stride
    counts = nb["coverage"](size, kernel_size, stride, padding)
    lost_at_the_end = len(counts) - 1 - max(np.flatnonzero(counts), default=-1)
    assert lost_at_the_end == max(0, remainder - padding)


# ------------------------------------------------------------------ padding

def test_same_padding_of_3_5_and_7_is_1_2_and_3(nb):
    assert [nb["same"][k] for k in (3, 5, 7)] == [(1, 1), (2, 2), (3, 3)]
    assert nb["same"][4] == (1, 2) and nb["same"][1] == (0, 0)
    assert all(nb["same_padding"](k) == ((k - 1) // 2,) * 2 for k in (1, 3, 5, 7, 9))
    assert nb["kept"] == 7


def test_a_corner_window_with_padding_1_has_five_zeros():
    assert (np.pad(np.ones((4, 4)), 1)[:3, :3] == 0).sum() == 5


def test_zero_padding_darkens_the_border(nb):
    averaged = nb["averaged"]
    assert averaged[0, 0] == pytest.approx(4 / 9) == pytest.approx(0.444, abs=1e-3)
    assert averaged[0, 2] == pytest.approx(6 / 9) == pytest.approx(0.667, abs=1e-3)
    assert averaged[2, 2] == 1
    kernel = torch.full((1, 1, 3, 3), 1 / 9, dtype=torch.float64)
    blurred = F.conv2d(torch.ones(1, 1, 6, 6, dtype=torch.float64), kernel, padding=1)
    np.testing.assert_allclose(blurred[0, 0], averaged)


def test_the_four_modes_pad_a_row_as_the_table_says(nb):
    a, b, c, d = row = [1.0, 2, 3, 4]
    table = {"zeros": [0, 0, *row, 0, 0], "reflect": [c, b, *row, c, b],
             "replicate": [a, a, *row, d, d], "circular": [c, d, *row, a, b]}
    for mode, expected in table.items():
        assert nb["pad2d"](np.array([[[row]]]), (0, 2), mode).ravel().tolist() == expected


# ------------------------------------------------------------------ channels and the layer

def test_a_5x5_filter_on_colour_is_a_dot_product_of_75(nb):
    assert nb["products"] == 75 and nb["kernel"].shape == (3, 5, 5)
    assert nb["response"] == pytest.approx(nb["as_dot_product"])
    assert nb["image"].shape == (3, 32, 32) and nb["feature_map"].shape == (28, 28)
    assert nb["six_maps"].shape == (1, 6, 28, 28)


def test_the_printed_filter_slice_is_the_filter_times_90(nb):
    np.testing.assert_allclose(nb["vertical"][0] * 90, [[-1, -2, 0, 2, 1]] * 5)


def test_bright_means_dark_on_the_left_and_bright_on_the_right(nb):
    ramp = np.tile(np.linspace(0, 1, 8), (3, 8, 1))
    assert nb["correlate_volume"](ramp, nb["vertical"], 0.0).min() > 0


def test_stride_2_subsamples_stride_1_for_a_quarter_of_the_outputs(nb):
    assert nb["stride_subsamples"] is True
    assert nb["stride_1"].shape == (1, 6, 28, 28) and nb["stride_2"].shape == (1, 6, 14, 14)
    assert nb["stride_2"].size * 4 == nb["stride_1"].size


def test_worked_layers_have_760_and_460_parameters(nb):
    assert nb["first_shape"] == (1, 10, 32, 32) and nb["first_count"] == 760 == 10 * 76
    assert nb["second_shape"] == (1, 10, 16, 16) and nb["second_count"] == 460 == 10 * 46
    for count, layer in [(760, torch.nn.Conv2d(3, 10, 5)), (460, torch.nn.Conv2d(5, 10, 3))]:
        assert sum(p.numel() for p in layer.parameters()) == count


def test_common_settings(nb):
    assert nb["common_sizes"] == [32, 32, 14, 16, 32]


# ------------------------------------------------------------------ 1x1, dilation, groups, counts

def test_64x56x56_through_32_filters_of_1x1(nb):
    assert nb["narrower"].shape == (1, 32, 56, 56) and nb["dot_length"] == 64
    assert nb["grey_is_pointwise"] is True


def test_dilation_2_reaches_5_pixels_with_9_weights(nb):
    assert nb["receptive_field"](((3, 1, 2),)) == 5
    assert nb["parameter_count"](1, 1, 3, bias=False) == 9


def test_dilated_maps_are_smaller_by_twice_the_dilation(nb):
    assert nb["china"].shape == (107, 160)
    assert {d: tuple(np.subtract(nb["china"].shape, m.shape)) for d, m in nb["scales"].items()} == {
        1: (2, 2), 4: (8, 8), 12: (24, 24)}


def test_a_dilated_vertical_edge_appears_twice_24_pixels_apart(nb):
    line = np.zeros((1, 1, 60, 80))
    line[..., 40] = 1
    row = nb["conv2d_dilated"](line, nb["sobel"], np.zeros(1), dilation=12)[0, 0, 0]
    assert np.flatnonzero(row).tolist() == [16, 40] and row[16] == -row[40] > 0


def test_parameter_counts_of_the_list(nb):
    assert list(nb["counts"].values()) == [112, 760, 460, 2080, 36928, 18496, 640, 4160]
    assert nb["separable"] == 640 + 4160 == 4800 and round(nb["saving"], 1) == 7.7
    assert nb["parameter_count"](64, 64, 3, groups=2) > 36928 / 2


def test_shapes_in_the_comments_of_the_figures(nb):
    assert nb["petals"].shape == nb["mixed"].shape == (1, 3, 214, 320)
    assert nb["coloured"].shape == (1, 3, 107, 160) and nb["depthwise"].shape == (1, 3, 83, 136)
    assert nb["flower"].shape == (1, 3, 240, 320) and nb["weight"].shape == (6, 3, 5, 5)


# ------------------------------------------------------------------ receptive fields, the written question

def test_receptive_fields(nb):
    assert nb["fields"]["stride 1"] == [3, 5, 7, 9, 11, 13, 15, 17]
    assert nb["fields"]["stride 2"] == nb["fields"]["dilation 1, 2, 4, …"]
    assert nb["fields"]["stride 2"][-1] == 511


def test_the_figure_of_stacks_shows_5_7_and_11_pixels(nb):
    stacks = [(3, 1, 1)] * 2, [(3, 1, 1)] * 3, [(3, 2, 1), (3, 1, 1), (3, 1, 1)]
    assert [nb["receptive_field"](tuple(stack)) for stack in stacks] == [5, 7, 11]


def test_the_model_answer(nb):
    count, reach = nb["parameter_count"], nb["receptive_field"]
    assert (count(64, 64, 5), 2 * count(64, 64, 3), count(64, 64, 3)) == (102464, 73856, 36928)
    assert reach(((5, 1, 1),)) == reach(((3, 1, 1),) * 2) == reach(((3, 1, 2),)) == 5
    assert [nb["same_padding"](*layer) for layer in [(5,), (3,), (3, 2)]] == [(2, 2), (1, 1), (2, 2)]
    read = np.zeros((5, 6), bool), np.zeros((5, 6), bool)  # by two outputs of C, side by side
    read[0][::2, 0:5:2] = read[1][::2, 1:6:2] = True
    assert read[0].sum() == 9 and not (read[0] & read[1]).any()


# ------------------------------------------------------------------ animations

@pytest.mark.parametrize("settings", [{"padding": 1}, {"stride": 2}, {"dilation": 2},
                                      {"stride": (2, 1), "padding": (0, 1), "dilation": (1, 2)}])
def test_animations_are_small_and_quick(settings):
    x, start = np.arange(49.0).reshape(7, 7) % 5, time.process_time()
    page = sliding_window(x[:4, :4] if settings == {"padding": 1} else x, np.ones((3, 3)), **settings).data
    assert len(page) < 1.5e6 and time.process_time() - start < 10  # 3 s on an idle machine


def test_nothing_is_animated_while_grading(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert sliding_window(np.ones((3, 3)), np.ones((2, 2))) is None


# ------------------------------------------------------------------ against torch, on random layers

@st.composite
def layers(draw):
    """x, weight, bias and the settings of a small random layer in which at least one window fits."""
    n, c, o, kh, kw = (draw(st.integers(1, 3)) for _ in range(5))
    stride, padding, dilation = (tuple(draw(st.integers(low, 3)) for _ in range(2)) for low in (1, 0, 1))
    h, w = (d * (k - 1) + draw(st.integers(1, 5)) for d, k in zip(dilation, (kh, kw)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    arrays = [rng.normal(size=shape) for shape in [(n, c, h, w), (o, c, kh, kw), o]]
    return *arrays, stride, padding, dilation


def torch_conv(x, weight, bias, **settings):
    return F.conv2d(*map(torch.from_numpy, (x, weight, bias)), **settings).numpy()


@few
@given(layers())
def test_conv2d_is_torchs(nb, layer):
    x, weight, bias, stride, padding, _ = layer
    expected = torch_conv(*layer[:3], stride=stride, padding=padding)
    np.testing.assert_allclose(nb["conv2d"](x, weight, bias, stride, padding), expected, atol=1e-12)
    np.testing.assert_allclose(nb["conv2d"](x, weight, bias, stride[0], padding[0]),
                               torch_conv(x, weight, bias, stride=stride[0], padding=padding[0]), atol=1e-12)


@few
@given(layers())
def test_conv2d_dilated_is_torchs(nb, layer):
    *arrays, _, _, dilation = layer
    np.testing.assert_allclose(nb["conv2d_dilated"](*arrays, dilation),
                               torch_conv(*arrays, dilation=dilation), atol=1e-12)


@few
@given(layers(), st.integers(1, 3))
def test_conv2d_grouped_is_torchs(nb, layer, groups):
    x, weight, bias, *_ = layer
    x, weight, bias = np.tile(x, (1, groups, 1, 1)), np.concatenate([weight] * groups), np.tile(bias, groups)
    x += np.arange(x.shape[1])[:, None, None]  # so that the groups differ
    np.testing.assert_allclose(nb["conv2d_grouped"](x, weight, bias, groups),
                               torch_conv(x, weight, bias, groups=groups), atol=1e-12)


@few
@given(layers())
def test_sizes_coverage_and_one_filter_agree_with_torch(nb, layer):
    x, weight, bias, (stride, _), (padding, _), (dilation, _) = layer
    size, k = x.shape[2], weight.shape[2]
    line = torch.ones(1, 1, size, dtype=torch.float64, requires_grad=True)
    kernel = torch.ones(1, 1, k, dtype=torch.float64)
    out = F.conv1d(line, kernel, None, stride, padding, dilation)
    assert nb["output_size"](size, k, stride, padding, dilation) == out.shape[-1]
    F.conv1d(line, kernel, None, stride, padding).sum().backward()
    np.testing.assert_array_equal(nb["coverage"](size, k, stride, padding), line.grad[0, 0])
    np.testing.assert_allclose(nb["correlate_volume"](x[0], weight[0], bias[0]),
                               torch_conv(x[:1], weight[:1], bias[:1])[0, 0], atol=1e-12)


@few
@given(layers())
def test_pointwise_is_torchs(nb, layer):
    x, weight, bias, *_ = layer
    np.testing.assert_allclose(nb["pointwise"](x, weight[:, :, :1, :1], bias),
                               torch_conv(x, weight[:, :, :1, :1], bias), atol=1e-12)


@few
@given(layers(), st.sampled_from(["constant", "reflect", "replicate", "circular"]))
def test_pad2d_is_torchs(nb, layer, mode):
    x, *_, (ph, pw), _ = layer
    ph, pw = min(ph, x.shape[2] - 1), min(pw, x.shape[3] - 1)
    expected = F.pad(torch.from_numpy(x), (pw, pw, ph, ph), mode).numpy()
    np.testing.assert_array_equal(nb["pad2d"](x, (ph, pw), mode.replace("constant", "zeros")), expected)


@few
@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 20))
def test_same_padding_keeps_every_size(nb, kernel_size, dilation, size):
    before, after = nb["same_padding"](kernel_size, dilation)
    assert 0 <= after - before <= 1
    assert nb["output_size"](size + before + after, kernel_size, dilation=dilation) == size


@few
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=4))
def test_receptive_field_is_what_the_gradient_reaches(nb, stack):
    x = torch.ones(1, 1, 1500, dtype=torch.float64, requires_grad=True)
    y = x
    for kernel_size, stride, dilation in stack:
        y = F.conv1d(y, torch.ones(1, 1, kernel_size, dtype=torch.float64), None, stride, 0, dilation)
    y[0, 0, 0].backward()
    assert nb["receptive_field"](tuple(stack)) == int(x.grad.nonzero()[:, 2].max()) + 1
