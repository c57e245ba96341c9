"""Notebook 06: every number in its prose, and its functions against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

SLUG = "06_pooling"
# The notebook's names are the same for every example, so the fixture need not be made afresh.
few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def nb(names_of):
    return names_of(SLUG)


# ------------------------------------------------------------------ why pool, and how large

def test_the_eye_is_found_wherever_the_face_is(nb):
    assert {right: peak[1] for right, peak in nb["peaks"].items()} == {0: 20, 4: 24, 12: 32}
    assert nb["brightest"] == {0: (0, 1), 4: (0, 1), 12: (0, 2)}
    assert nb["blocks"][0].max() == pytest.approx(nb["blocks"][4].max())


def test_the_window_has_maximum_200_and_mean_90(nb):
    assert nb["window"].tolist() == [[200, 150, 150], [100, 50, 100], [25, 25, 10]]
    assert nb["window_max"] == 200 and nb["window_mean"] == 90
    x = nb["window"][None, None]
    assert nb["max_pool2d"](x, 3).item() == 200 and nb["avg_pool2d"](x, 3).item() == pytest.approx(90)


def test_64_maps_of_224_become_112_a_quarter_of_the_numbers(nb):
    assert nb["pooled_side"] == 112 and nb["left_over"] == 0.25 and nb["overlapping_side"] == 111
    assert nb["max_pool2d"](np.zeros((1, 64, 224, 224)), 2).shape == (1, 64, 112, 112)
    assert (224 - 3) % 2 == 1  # one row and one column are left over
    assert not list(torch.nn.MaxPool2d(2).parameters())


def test_the_nine_is_in_all_four_windows(nb):
    assert nb["four"].tolist() == [[9, 9], [9, 9]]


def test_padding_is_at_most_half_the_kernel_so_every_window_has_a_real_value(nb):
    with pytest.raises(RuntimeError, match="half"):
        F.max_pool2d(torch.zeros(1, 1, 5, 5), 3, padding=2)
    for kernel_size in range(1, 6):
        for size in range(1, 8):
            if size + 2 * (kernel_size // 2) >= kernel_size:
                out = nb["max_pool2d"](np.zeros((1, 1, size, size)), kernel_size, 1, kernel_size // 2)
                assert np.isfinite(out).all()


def test_zeros_around_a_negative_map_win_everywhere_but_in_the_middle(nb):
    assert (nb["with_zeros"] == 0).sum() == 8 and nb["with_zeros"][1, 1] == nb["with_infinity"][1, 1] == -1
    assert (nb["with_infinity"] < 0).all() and not (nb["below_zero"] == 0).any()


# ------------------------------------------------------------------ the kinds of pooling

def test_pooled_edges(nb):
    assert round(nb["survives"], 2) == 0.36 and round(nb["unseen"], 2) == 0.48
    assert nb["china"].shape == (200, 200) and nb["edges"].shape == (198, 200)
    assert {p.shape for p in nb["pooled"].values()} == {(39, 40)}
    slope = np.s_[11, 12:17]  # of the top roof, on the left
    strongest = -nb["smallest"][slope]
    assert (strongest > np.quantile(np.abs(nb["edges"]), 0.98)).all()
    assert (nb["pooled"]["max"][slope] < 0.5 * strongest).all()  # a faint grey


def test_two_kernels_a_quarter_apart_have_constant_energy(nb):
    assert nb["responses"].shape == (33, 2)
    np.testing.assert_allclose(nb["energy"], 1, atol=0.005)
    np.testing.assert_allclose(np.abs(nb["responses"]).max(axis=0), 1, atol=0.005)
    for mine, other in ((0, 1), (1, 0)):
        largest = np.abs(nb["responses"][:, mine]).argmax()
        assert abs(nb["responses"][largest, other]) < 1e-9


# ------------------------------------------------------------------ backward

def test_the_six_gets_70_and_the_upper_seven_30(nb):
    gradient = nb["tied_gradient"]
    assert gradient[2, 2] == 70 and gradient[3, 1] == 30 and gradient.sum() == 100
    assert nb["tied"][3, 1] == nb["tied"][4, 0] == 7


def test_ties_in_the_digits(nb):
    assert round(nb["tied_share"], 2) == 0.41 and round(nb["empty_share"] / nb["tied_share"], 2) == 0.66
    assert nb["scans"].max() == 16 and (nb["scans"] == nb["scans"].round()).all()


def test_what_reaches_the_digit(nb):
    assert nb["by_max"].sum() == 16 and nb["by_average"].sum() == pytest.approx(121 / 9)
    assert nb["by_max"].max() > 1
    reads = np.array([1, 2, 1, 2, 1, 2, 1, 1])  # of a row: windows of 3 at stride 2, padding 1
    np.testing.assert_allclose(nb["by_average"] * 9, np.outer(reads, reads))


def test_gradient_checks_agree_without_ties_and_say_a_half_at_a_tie(nb):
    assert max(nb["disagreement"].values()) < 1e-9
    np.testing.assert_allclose(nb["at_a_tie"], [[0.5, 0.5], [0, 0]])
    x, dy, layer = np.array([[[[1.0, 1 + 1.5e-3], [0, 0]]]]), np.ones((1, 1, 1, 1)), nb["MaxPool2d"](2)
    assert nb["numerical_gradient"](layer, x, dy)[0, 0, 0] == pytest.approx([0, 1])  # further apart than the step
    x[0, 0, 0, 1] = 1 + 0.5e-3
    assert nb["numerical_gradient"](layer, x, dy)[0, 0, 0, 0] > 0.1                  # closer: a right program is blamed
    tie = np.array([[[[3.0, 3], [1, 0]]]])
    assert nb["max_pool2d_backward"](np.ones((1, 1, 1, 1)), tie, 2).tolist() == [[[[1, 0], [0, 0]]]]


# ------------------------------------------------------------------ what a unit sees

def test_a_unit_after_kxk_and_fxf_sees_f_plus_k_minus_1(nb):
    for k in range(1, 8):
        for f in range(1, 5):
            first, last = nb["seen_by"](3, ((k, 1, 0), (f, f, 0)))
            assert last - first + 1 == f + k - 1


def test_lenets_units_see_6_then_16_pixels(nb):
    def spans(layers):
        return [nb["seen_by"](unit, layers) for unit in range(2)]

    for depth, size, apart in ((2, 6, 2), (4, 16, 4)):
        (a, b), (c, _) = spans(nb["lenet_front"][:depth])
        assert (b - a + 1, c - a) == (size, apart)
    assert spans(((5, 1, 0), (5, 1, 0)))[0] == (0, 8)  # 9 pixels by convolutions alone


# ------------------------------------------------------------------ equivariance and invariance

def test_a_circular_convolution_is_equivariant_and_not_invariant(nb):
    assert nb["errors_at_3"][0] < 1e-12 and nb["errors_at_3"][1] > 1


def test_strides_are_exact_for_their_multiples_only(nb):
    for (_, errors), step in zip(nb["errors"].items(), (1, 2, 4)):
        exact = tuple(d for d, error in enumerate(errors) if error < 1e-12)
        assert exact == nb["exact_shifts"]((step,), 8)
        assert all(error > 0.3 for d, error in enumerate(errors) if d % step)


def test_vgg_is_exact_for_one_shift_in_32(nb):
    assert nb["vgg_exact"] == (0, 32, 64)


def test_zhangs_example(nb):
    assert nb["zhang"] == {"max": [[0, 1, 0, 1], [1, 1, 1, 1]],
                           "blurred": [[0.5, 1, 0.5, 1], [0.75, 0.75, 0.75, 0.75]]}


def test_errors_at_a_shift_of_one(nb):
    at_one = {name: round(error, 2) for name, error in nb["at_one"].items()}
    assert at_one["max, blur, stride"] == 0.15 and at_one["max 2×2"] == 0.34
    assert at_one["max, blur, stride"] < at_one["max 2×2"] / 2
    assert max(at_one, key=at_one.get) == "strided convolution" and at_one["max 3×3"] < at_one["max 2×2"]


def test_blur_pool_is_a_maximum_a_binomial_blur_and_a_stride(nb):
    y = torch.randn(2, 3, 6, 8, dtype=torch.float64)
    wide = F.max_pool2d(F.pad(y, (0, 1, 0, 1), "circular"), 2, 1)
    kernel = torch.outer(*[torch.tensor([1.0, 2, 1], dtype=torch.float64) / 4] * 2).expand(3, 1, 3, 3)
    expected = F.conv2d(F.pad(wide, (1, 1, 1, 1), "circular"), kernel, stride=2, groups=3)
    np.testing.assert_allclose(nb["blur_pool"](y.numpy()), expected)


def test_zero_padding_breaks_a_frame_that_grows_with_depth(nb):
    for depth, (everywhere, inside) in nb["border_errors"].items():
        assert everywhere > 0.5 and inside < 1e-12
        assert nb["seen_by"](0, ((3, 1, 1),) * depth) == (-depth, depth)
        assert [nb["seen_by"](unit, ((3, 1, 1),) * depth)[0] < 0 for unit in range(9)] == [u < depth for u in range(9)]
        exact = (64 - 3 - 2 * depth) * (64 - 5 - 2 * depth) / 64**2  # new rows and columns, and a frame
        assert nb["differs"][depth] == pytest.approx(1 - exact, abs=0.005)
    assert 0.4 < nb["differs"][6] < 0.5
    y, y_moved = (nb["padded_stack"](nb[name], 6) for name in ("crop", "crop_moved"))
    y = np.roll(y, (3, 5), axis=(2, 3))
    specks = (np.abs(y - y_moved).max(axis=1) <= 1e-9)[0]
    specks[9:58, 11:58] = False                                           # the inside, where all agree
    assert 0 < specks.sum() < 10 and (y[0, :, specks] == 0).all() and (y_moved[0, :, specks] == 0).all()


def test_how_much_a_shift_by_one_changes(nb):
    one = {name: round(values[1], 2) for name, values in nb["changes"].items()}
    assert one == {"image": 0.31, "convolution": 0.73, "convolution, max 2×2": 0.48, "convolution, max 8×8": 0.17,
                   "three blocks with max 2×2": 0.34, "convolution, global average": 0}
    assert max(nb["changes"]["convolution, global average"]) < 1e-12
    assert nb["changes"]["three blocks with max 2×2"][1] / nb["changes"]["convolution, max 8×8"][1] > 2
    pooled = nb["changes"]["convolution, max 2×2"], nb["changes"]["convolution, max 8×8"]
    for shift in range(1, 9):
        assert nb["changes"]["convolution"][shift] > pooled[0][shift] > pooled[1][shift]
    assert all((np.diff(values) > 0).all() for values in pooled)  # more with every pixel


def test_average_pooling_is_a_convolution_and_a_learned_one_has_36928_parameters(nb):
    assert nb["average_is_convolution"] is True
    layer = torch.nn.Conv2d(64, 64, 3, stride=2)
    assert nb["strided_parameters"] == sum(p.numel() for p in layer.parameters()) == 36928


def test_the_model_answer(nb):
    assert nb["exact_shifts"]((1, 2) * 4, 40) == (0, 16, 32)


# ------------------------------------------------------------------ against torch, on random layers

@st.composite
def poolings(draw):
    """x with many ties, and the settings of a pooling in which at least one window fits."""
    n, c = (draw(st.integers(1, 3)) for _ in range(2))
    kernel_size, stride = (tuple(draw(st.integers(1, 4)) for _ in range(2)) for _ in range(2))
    stride = draw(st.sampled_from([stride, None, stride[0]]))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel_size)
    h, w = (draw(st.integers(1, 7)) for _ in range(2))
    assume(h + 2 * padding[0] >= kernel_size[0] and w + 2 * padding[1] >= kernel_size[1])
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return rng.integers(-3, 1, (n, c, h, w)) * 1.0, kernel_size, stride, padding, rng


@few
@given(poolings())
def test_max_pooling_and_its_gradient_are_torchs_ties_included(nb, pooling):
    x, *setting, rng = pooling
    t = torch.tensor(x, requires_grad=True)
    y = F.max_pool2d(t, *setting)
    np.testing.assert_array_equal(nb["max_pool2d"](x, *setting), y.detach())
    dy = rng.normal(size=y.shape)
    y.backward(torch.tensor(dy))
    np.testing.assert_allclose(nb["max_pool2d_backward"](dy, x, *setting), t.grad, atol=1e-12)
    layer = nb["MaxPool2d"](*setting)
    layer.forward(x)
    np.testing.assert_allclose(layer.backward(dy), t.grad, atol=1e-12)


@few
@given(poolings(), st.booleans())
def test_average_pooling_and_its_gradient_are_torchs(nb, pooling, count):
    x, *setting, rng = pooling
    t = torch.tensor(x, requires_grad=True)
    np.testing.assert_allclose(nb["avg_pool2d"](x, *setting, count),
                               F.avg_pool2d(t.detach(), *setting, count_include_pad=count), atol=1e-12)
    y = F.avg_pool2d(t, *setting)
    dy = rng.normal(size=y.shape)
    y.backward(torch.tensor(dy))
    np.testing.assert_allclose(nb["avg_pool2d_backward"](dy, x.shape, *setting), t.grad, atol=1e-12)
    layer = nb["AvgPool2d"](*setting)
    layer.forward(x)
    np.testing.assert_allclose(layer.backward(dy), t.grad, atol=1e-12)


@few
@given(poolings(), st.integers(1, 3))
def test_l2_pooling_is_torchs(nb, pooling, size):
    x, kernel_size, stride, _, _ = pooling
    assume(all(n >= k for n, k in zip(x.shape[2:], kernel_size)))
    np.testing.assert_allclose(nb["l2_pool2d"](x, kernel_size, stride),
                               F.lp_pool2d(torch.tensor(x), 2.0, kernel_size, stride), atol=1e-12)
    x = np.concatenate([x] * size, axis=1)
    groups = torch.tensor(x).reshape(len(x), -1, size, *x.shape[2:])
    np.testing.assert_allclose(nb["l2_pool_features"](x, size), torch.linalg.vector_norm(groups, dim=2), atol=1e-12)


@few
@given(st.integers(0, 6), st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2)), min_size=1,
                                   max_size=3))
def test_the_pixels_a_unit_sees_are_those_its_gradient_reaches(nb, unit, layers):
    assume(all(p <= k // 2 for k, _, p in layers))
    first, last = nb["seen_by"](unit, tuple(layers))
    x = torch.ones(1, 1, 400, dtype=torch.float64, requires_grad=True)
    y = x
    for k, s, p in layers:
        y = F.conv1d(y, torch.ones(1, 1, k, dtype=torch.float64), None, s, p)
    y[0, 0, unit].backward()
    seen = x.grad[0, 0].nonzero()[:, 0]
    assert seen.max() == last
    assert seen.min() == first if first >= 0 else seen.min() >= 0


@few
@given(st.integers(0, 2**32), st.tuples(st.integers(-9, 9), st.integers(-9, 9)), st.integers(0, 2))
def test_the_equivariance_error_of_a_moved_map_is_zero_and_of_noise_is_its_size(nb, seed, shift, margin):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(2, 3, 6, 7))
    moved = np.roll(y, shift, axis=(2, 3))
    assert nb["equivariance_error"](y, moved, shift, margin) == 0
    assert nb["equivariance_error"](y, 1.25 * moved, shift, margin) == pytest.approx(0.25)
