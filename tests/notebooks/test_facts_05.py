"""Notebook 05: every number in its prose, and its functions against torch's autograd and SymPy."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnlab import symbolic
from cnnlab.animation import three_convolutions

SLUG = "05_backpropagation"
few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def nb(names_of):
    return names_of(SLUG)


# ------------------------------------------------------------------ gates, and a value used twice

def test_the_gates_of_the_figure(nb):
    assert nb["values"] == [2, -3, 1, 4, 2 * -3, max(1, 4), -6 + 4, 2 * -2]
    assert nb["gradients"] == [-6, 4, 0, 2, 2, 2, 2, 1]
    f = lambda x, y, z, w: 2 * (x * y + max(z, w))  # noqa: E731
    at = [2, -3, 1, 4]
    changes = [f(*(v + 0.01 * (i == j) for j, v in enumerate(at))) - f(*at) for i in range(4)]
    np.testing.assert_allclose([changes[i] for i in (3, 2, 0)], [0.02, 0, -0.06], atol=1e-12)


def test_the_symptoms_of_the_broken_skip(nb):
    x, h = np.array([-3.0, -1, 0.5, 2, -0.5]), 2 * np.array([-3.0, -1, 0.5, 2, -0.5]) + 1.5
    dy = np.array([1.0, -2, 3, 1, 2])
    measured, broken = nb["measured"], nb["broken"]
    assert (np.abs(measured - broken) > 0.1).all()
    assert (h[:2] < 0).all() and (h[2:] > 0).all() and x[4] < 0
    np.testing.assert_allclose(measured[:2], dy[:2])
    assert not broken[[0, 1, 4]].any() and (broken[2:4] < measured[2:4] - 0.1).all()
    np.testing.assert_allclose(nb["mended"][0], measured, atol=1e-9)
    assert nb["mended"][1] == pytest.approx(nb["measured_a"])


def test_the_first_index_tables_have_six_four_and_one_terms(nb):
    assert len(symbolic.kernel_derivative(nb["kernel_indices"], 1, 0).rows) == 6
    for place, terms in [((1, 2), 4), ((0, 3), 1)]:
        table = symbolic.input_derivative(nb["input_indices"], *place)
        assert len(table.rows) == terms and not table.missing and not table.extra


def test_plus_signs_get_one_term_right():
    table = symbolic.input_derivative(lambda r, c, a, b: ((r + a, c + b), (a, b)), 1, 2, size=(4, 5))
    assert [row for row in table.rows if row[1] == row[2] == 1] == [("dy(1, 2)·k(0, 0)", 1, 1)]
    assert len(table.missing) == len(table.extra) == 3


# ------------------------------------------------------------------ the figures of the duality

def test_the_framed_pixels_and_outputs_are_those_that_meet(nb):
    x, k = torch.zeros(1, 1, 4, 5), torch.rand(1, 1, 2, 2)
    x.requires_grad_()
    y = F.conv2d(x, k)
    assert y.shape[2:] == nb["upstream"].shape == (3, 4) and nb["image"].shape == (4, 5)
    slopes = {(r, c): torch.autograd.grad(y[0, 0, r, c], x, retain_graph=True)[0] for r, c in np.ndindex(3, 4)}
    read = {place for place, slope in slopes.items() if slope[0, 0, 2, 3]}
    (_, _, _, _), _, (row, col, _, _), (top, left, height, width) = nb["touched"]
    assert (row, col) == (2, 3)
    assert read == {(top + i, left + j) for i in range(height) for j in range(width)}
    assert nb["touched"][0] == (1, 0, 3, 4)            # k(1, 0) starts one row down and meets H_out x W_out pixels


def test_the_player_shows_every_product_and_is_quick(monkeypatch):
    start = time.process_time()
    page = three_convolutions(np.ones((3, 4)), np.ones((2, 2)), np.ones((2, 3))).data
    assert page.count("frames[") >= 24 and len(page) < 1.5e6 and time.process_time() - start < 40
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert three_convolutions(np.ones((3, 4)), np.ones((2, 2)), np.ones((2, 3))) is None


# ------------------------------------------------------------------ weights, stamping, collecting, the matrix

def test_the_gradient_of_a_bias_counts_outputs(nb):
    assert nb["ones_bias"][0] == 24 == 2 * 3 * 4


def test_the_symptoms_of_the_broken_stamps(nb):
    assert (nb["all_ones"] == 1).all()
    np.testing.assert_array_equal(nb["input_gradient"](nb["ones"], nb["ones"])[0, 0], np.outer(nb["cover"], nb["cover"
    ""]))
    np.testing.assert_allclose(nb["measured_single"][:3, 1:4], np.arange(1, 10).reshape(3, 3), atol=1e-9)
    assert nb["measured_single"].sum() == pytest.approx(45)
    assert nb["single"][0, 1] == 9 and np.count_nonzero(nb["single"]) == 1


def test_stamping_collecting_and_the_matrix_agree(nb):
    assert nb["two_ways_error"] < 1e-13 and nb["transposed_error"] < 1e-13
    assert nb["stamped"].shape == nb["collected"].shape == (2, 3, 6, 8)
    assert nb["forwards"] == pytest.approx(nb["backwards"], abs=1e-12)
    assert nb["T"].tolist() == [[1, 2, 3, 0, 0], [0, 1, 2, 3, 0], [0, 0, 1, 2, 3]]
    assert nb["T"].T[2].tolist() == [3, 2, 1]          # the rotated kernel, in a row of the transposed matrix
    assert nb["T_2d"].shape == (9, 20)
    assert not np.allclose(nb["T"].T @ nb["T"], np.eye(5))


# ------------------------------------------------------------------ gradient checks

def test_a_right_gradient_agrees_to_fifteen_digits_and_wrong_ones_do_not(nb):
    right, one_element, broken = nb["slope_errors"].values()
    assert right < 1e-13 and 1e-4 < one_element < 1e-2 and broken > 0.1
    assert nb["x"].shape == (2, 3, 6, 8) and nb["claims"]["right"].size == 288


def test_the_error_of_a_check_falls_with_the_step_unless_there_is_a_bend(nb):
    steps = np.array(nb["steps"])
    straight, bent, single = (np.array(nb["errors"][name]) for name in (
        "convolution, float64", "tanh after it, float64", "convolution, float32"))
    assert (straight[steps >= 0.9] < 1e-13).all() and straight[0] > 1e-6
    assert steps[bent.argmin()] in (pytest.approx(1e-6), pytest.approx(1e-5)) and 1e-12 < bent.min() < 1e-8
    assert bent[-1] > 0.1
    assert single.min() > 1e-8 and (single[steps < 2e-8] > 0.1).all()


def test_a_consistent_pair_passes_the_check_and_fails_a_window(nb):
    assert nb["rotating"] < 1e-12
    assert nb["answers"] == [65, -65]


# ------------------------------------------------------------------ padding and stride

def test_five_and_six_pixels_give_the_same_number_of_outputs(nb):
    five, six = nb["strided"].values()
    assert len(five) == len(six) == 2 and not six[:, -1].any() and five.any(axis=0).all()
    row = torch.zeros(1, 1, 6, requires_grad=True)
    F.conv1d(row, torch.rand(1, 1, 3), stride=2).sum().backward()
    assert row.grad[0, 0, -1] == 0


def test_the_symptoms_of_the_broken_stride(nb):
    measured, broken = nb["measured_padded"], nb["broken_padded"]
    np.testing.assert_allclose(broken[1:, 1:], measured[:-1, :-1] * (np.arange(4) < 3), atol=1e-9)
    assert measured[0, 0] == pytest.approx(2) and measured[2, 4] == pytest.approx(6)
    assert nb["broken_shape"] == (1, 1, 5, 7)
    np.testing.assert_allclose(nb["mended_padded"], measured, atol=1e-9)
    assert nb["uncovered"].shape == (6, 8) and not nb["uncovered"][-1].any() and not nb["uncovered"][:, -1].any()


# ------------------------------------------------------------------ the layer at work, the written question

def test_a_hidden_kernel_is_found_upright(nb):
    np.testing.assert_allclose(nb["learner"].weight, nb["vertical_edge"], atol=1e-6)
    assert nb["learner"].bias[0] == pytest.approx(0.5) and nb["losses"][0] > 1 > 1e-9 > nb["losses"][-1]


def test_the_blur_is_partly_undone(nb):
    grey, five, last = (nb["distances"][i] for i in (0, 5, 200))
    assert grey > nb["blurred_distance"] > five > last > 0.5 * nb["blurred_distance"]
    assert five > 0.8 * nb["blurred_distance"]         # "about as blurred as what we know"


def test_the_model_answer_on_unread_rows():
    x = torch.zeros(1, 1, 7, 7, requires_grad=True)
    F.conv2d(x, torch.ones(1, 1, 2, 2), stride=3).sum().backward()
    unread = [i for i in range(7) if not x.grad[0, 0, i].any()]
    assert unread == [2, 5, 6] == [i for i in range(7) if not x.grad[0, 0, :, i].any()]


def test_a_float32_check_with_a_tiny_step_is_mostly_rounding(nb):
    error = np.interp(-5, np.log10(nb["steps"]), nb["errors"]["convolution, float32"])
    assert 1e-3 < error < 0.3                          # the question says 3 %


# ------------------------------------------------------------------ against torch, on random layers

@st.composite
def layers(draw, strided=True):
    """x, weight, bias, a random upstream gradient, and the stride and padding of a small layer."""
    n, c, o, kh, kw = (draw(st.integers(1, 3)) for _ in range(5))
    stride = tuple(draw(st.integers(1, 3)) for _ in range(2)) if strided else (1, 1)
    padding = tuple(draw(st.integers(0, k - 1)) for k in (kh, kw)) if strided else (0, 0)
    h, w = (max(1, k - 2 * p) + draw(st.integers(0, 5)) for k, p in zip((kh, kw), padding))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x, weight, bias = (rng.normal(size=shape) for shape in [(n, c, h, w), (o, c, kh, kw), o])
    y = F.conv2d(*map(torch.from_numpy, (x, weight)), stride=stride, padding=padding)
    return x, weight, bias, rng.normal(size=y.shape), stride, padding


def gradients(x, weight, bias, dy, stride, padding):
    leaves = [torch.tensor(v, requires_grad=True) for v in (x, weight, bias)]
    y = F.conv2d(*leaves, stride=stride, padding=padding)
    y.backward(torch.from_numpy(dy))
    return y.detach().numpy(), *(v.grad.numpy() for v in leaves)


@few
@given(layers(strided=False))
def test_the_stride_1_functions_are_torchs(nb, layer):
    x, weight, _, dy, *_ = layer
    y, dx, grad_weight, grad_bias = gradients(*layer)
    got_weight, got_bias = nb["weight_gradient"](x, dy)
    np.testing.assert_allclose(got_weight, grad_weight, atol=1e-12)
    np.testing.assert_allclose(got_bias, grad_bias, atol=1e-12)
    np.testing.assert_allclose(nb["input_gradient"](weight, dy), dx, atol=1e-12)
    np.testing.assert_allclose(nb["correlate"](*nb["full_convolution"](weight, dy)), dx, atol=1e-12)


@few
@given(layers())
def test_the_strided_gradient_is_torchs(nb, layer):
    x, weight, _, dy, stride, padding = layer
    got = nb["strided_input_gradient"](weight, dy, x.shape[2:], stride, padding)
    np.testing.assert_allclose(got, gradients(*layer)[1], atol=1e-12)


@few
@given(layers(), layers())
def test_the_layer_is_torchs_at_every_call(nb, first, second):
    for again in (first, second, first):
        x, weight, bias, dy, stride, padding = again
        layer = nb["Conv2d"](weight, bias, stride, padding)
        for factor in (1.0, -2.0):                       # a second call replaces the gradients of the first
            y, dx, grad_weight, grad_bias = gradients(factor * x, *again[1:])
            np.testing.assert_allclose(layer.forward(factor * x), y, atol=1e-11)
            np.testing.assert_allclose(layer.backward(dy), dx, atol=1e-11)
            np.testing.assert_allclose(layer.grad_weight, grad_weight, atol=1e-11)
            np.testing.assert_allclose(layer.grad_bias, grad_bias, atol=1e-11)


@few
@given(layers(strided=False), st.floats(0.01, 100))
def test_for_half_squares_any_step_measures_the_slope(nb, layer, step):
    x, weight, _, target, *_ = layer
    rng = np.random.default_rng(0)
    direction = rng.normal(size=x.shape)
    claim = nb["input_gradient"](weight, nb["correlate"](x, weight) - target)
    measured, claimed = nb["two_slopes"](x, weight, target, claim, direction, step)
    size = nb["half_squares"](np.abs(x) + step * np.abs(direction), np.abs(weight), -np.abs(target)) / step
    assert abs(measured - claimed) <= 1e-12 * (1 + size)


@few
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=6), st.floats(-2, 2), st.floats(-2, 2))
def test_the_skip_is_torchs(nb, values, a, b):
    x = np.array(values)
    dy = np.random.default_rng(len(values)).normal(size=x.shape)
    leaves = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (x, a, b)]
    (leaves[0] + torch.relu(leaves[1] * leaves[0] + leaves[2])).backward(torch.from_numpy(dy))
    for got, leaf in zip(nb["skip_backward"](x, a, b, dy), leaves):
        np.testing.assert_allclose(got, leaf.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("place", list(np.ndindex(4, 5)))
def test_the_index_formulas_are_sympys_at_every_pixel(nb, place):
    table = symbolic.input_derivative(nb["input_indices"], *place, size=(4, 5), kernel_size=(2, 3))
    assert not table.missing and not table.extra
    if place[0] < 2 and place[1] < 3:
        table = symbolic.kernel_derivative(nb["kernel_indices"], *place, size=(4, 5), kernel_size=(2, 3))
        assert not table.missing and not table.extra
