"""Notebook 02: the numbers in its prose, the facts of its syllabus section, its functions against SciPy."""

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cnnlab.plots import area

SLUG = "02_convolution"
ONE_TO_NINE = np.arange(1.0, 10).reshape(3, 3)


@pytest.fixture
def nb(names_of):
    return names_of(SLUG)


def test_a_box_convolved_with_itself_is_a_triangle(nb):
    assert nb["triangle_error"] < 1e-9
    assert [area(nb["box"], nb["box"], t, (-2, 2)) for t in (-1, -0.75, 0, 0.5, 1)] == pytest.approx(
        [0, 0.25, 1, 0.5, 0], abs=2e-3)


def test_the_reflected_ramp_leads_with_its_low_end(nb):
    entering = area(nb["box"], nb["ramp"], -0.25, (-2, 3))   # a quarter of the ramp is inside: 1/32
    leaving = area(nb["box"], nb["ramp"], 1.25, (-2, 3))     # a quarter, the high end, is left: 7/32
    assert [entering, leaving] == pytest.approx([1 / 32, 7 / 32], abs=2e-3)


def test_discrete_convolution_follows_the_table(nb):
    x, h = np.array([2.0, 3, 5, 7]), np.array([11.0, 13, 17, 19])
    table = [h[0] * x[0], h[1] * x[0] + h[0] * x[1], h[2] * x[0] + h[1] * x[1] + h[0] * x[2],
             h[3] * x[0] + h[2] * x[1] + h[1] * x[2] + h[0] * x[3]]
    y = nb["convolve1d"](x, h)
    assert list(y[:4]) == table
    assert len(y) == 7 and y[6] == h[3] * x[3]


def test_two_dice_make_seven_most_often(nb):
    assert nb["most_likely"] == 7
    assert nb["two_dice"].max() == pytest.approx(6 / 36)


def test_the_impulse_tells_the_two_apart(nb):
    assert list(nb["answer_convolution"]) == [0, 1, 2, 3, 0]
    assert list(nb["answer_correlation"]) == [0, 3, 2, 1, 0]


def test_the_worked_window_gives_65(nb):
    assert nb["response"] == 65
    assert (nb["vertical_edge"] == -nb["sobel_x"]).all()
    assert (nb["vertical_edge"] == nb["rotate180"](nb["sobel_x"])).all()


def test_a_2x2_kernel_on_4_rows_and_5_columns_gives_3x4(nb):
    assert nb["small_image"].shape == (4, 5) and nb["step_right"].shape == (2, 2)
    assert nb["cross_correlate2d"](nb["small_image"], nb["step_right"]).shape == (3, 4)


def test_two_of_three_ways_to_write_it_are_convolution(nb):
    assert nb["over_image"] == nb["over_kernel"] != nb["from_corner"]


def test_one_to_nine_rotates_to_nine_to_one(nb):
    assert nb["rotate180"](ONE_TO_NINE).tolist() == [[9, 8, 7], [6, 5, 4], [3, 2, 1]]


def test_convolution_returns_the_kernel_upright_and_correlation_rotated(nb):
    assert (nb["delta_convolved"] == ONE_TO_NINE).all()
    assert (nb["delta_correlated"] == ONE_TO_NINE[::-1, ::-1]).all()


def test_libraries_compute_what_the_summary_says(nb):
    def by_torch(x, k):
        return torch.nn.functional.conv2d(torch.tensor(x)[None, None], torch.tensor(k)[None, None])[0, 0]

    delta, rotated = nb["delta"], ONE_TO_NINE[::-1, ::-1]
    assert (by_torch(delta, ONE_TO_NINE).numpy() == rotated).all()
    assert (scipy.signal.convolve2d(delta, ONE_TO_NINE, mode="valid") == ONE_TO_NINE).all()
    assert (scipy.signal.convolve(delta, ONE_TO_NINE, mode="valid", method="direct") == ONE_TO_NINE).all()
    assert list(np.convolve(nb["impulse"], nb["kernel"], mode="valid")) == list(nb["answer_convolution"])
    assert list(np.correlate(nb["impulse"], nb["kernel"], mode="valid")) == list(nb["answer_correlation"])


def test_a_learned_cross_correlation_finds_the_rotated_kernel(nb):
    assert nb["learned"] == pytest.approx(ONE_TO_NINE[::-1, ::-1])
    assert nb["learning_error"] < 1e-10


def test_convolution_commutes_and_associates_and_cross_correlation_does_neither(nb):
    u, v, w, conv, corr = (nb[name] for name in ("u", "v", "w", "convolve1d", "correlate1d"))
    assert (conv(u, v) == conv(v, u)).all()
    assert (conv(conv(u, v), w) == conv(u, conv(v, w))).all()
    assert (corr(u, v) != corr(v, u)).any()
    assert (corr(u, v) == corr(v, u)[::-1]).all()
    assert (corr(corr(u, v), w) != corr(u, corr(v, w))).any()
    assert (corr(corr(u, v), w) == corr(u, conv(v, w))).all()


def test_two_3x3_filters_are_one_5x5(nb):
    assert nb["combined"].shape == (5, 5)
    assert nb["combined"] == pytest.approx(scipy.signal.convolve2d(nb["h"], nb["g"]))
    assert nb["mixed_law_error"] < 1e-10


def test_the_classical_filters_keep_or_erase_the_brightness(nb):
    assert nb["box_blur"].shape == (5, 5) and (nb["box_blur"] == 0.04).all()
    assert nb["edges"].tolist() == [[0, -0.25, 0], [-0.25, 1, -0.25], [0, -0.25, 0]]
    assert [nb[name].sum() for name in ("box_blur", "neighbours", "edges")] == pytest.approx([1, 1, 0])
    assert not nb["on_flat"].any() and not nb["on_slope"].any()
    assert nb["on_jump"].tolist() == [0, 0, -2, 2, 0, 0]


def test_losing_the_mean_is_minus_a_quarter_of_the_laplacian(nb):
    from scipy.ndimage import laplace
    x = nb["tower"]
    assert nb["cross_correlate2d"](x, nb["edges"]) == pytest.approx(-laplace(x)[1:-1, 1:-1] / 4)


def test_the_box_and_the_gaussian_have_the_same_spread(nb):
    offsets = np.arange(-3, 4)
    assert (nb["box7"] * offsets ** 2).sum() == pytest.approx(2.0 ** 2)


def test_four_boxes_are_nearly_a_gaussian(nb):
    assert len(nb["lines"]) == 4 and len(nb["lines"][3]) == 17
    variance = (nb["lines"][3] * (np.arange(17) - 8) ** 2).sum()
    assert variance == pytest.approx(8)
    assert nb["four_boxes_error"] < 0.01


def test_the_left_side_of_the_flower_is_white_in_gx(nb):
    left, right = nb["gx"][60:120, :20], nb["gx"][60:120, -20:]
    assert left.max() > -left.min() and -right.min() > right.max()


def test_which_kernels_are_separable(nb):
    assert nb["ranks"] == {"box": 1, "Gaussian": 1, "Sobel": 1, "edge detector": 2}


def test_what_two_passes_save(nb):
    assert nb["saving_15"] == pytest.approx(7.42, abs=0.005)
    assert nb["saving"][0] < 1                         # k = 1: the second pass only adds work
    assert nb["saving"][1:] == pytest.approx(nb["widths"][1:] / 2, rel=0.05)
    assert nb["separable_cost"](3, 4, 2, 3) == (24, 28)


def test_only_the_plain_response_misses_the_template(nb):
    cut = (nb["top"], nb["left"])
    assert nb["places"]["response"] != cut
    assert nb["places"]["template minus its mean"] == nb["places"]["cosine"] == cut == (42, 44)
    assert nb["cosine"].max() == pytest.approx(1)
    assert np.sort(nb["cosine"], axis=None)[-2] < 0.99
    row, column = nb["places"]["response"]
    assert row < 20                                                      # the cap, above the face
    assert nb["lengths"][row, column] > 1.5 * nb["lengths"][cut]


def test_too_short_a_transform_wraps_around(nb):
    assert nb["results"][3].tolist() == [-2, -14, 8]
    assert nb["results"][4].tolist() == [6, -14, 8, -8]


def test_fft_and_loops_agree(nb):
    assert nb["fft_error"] < 1e-10


def test_the_sizes_of_the_timing_have_small_prime_factors(nb):
    def largest_factor(n):
        factors = [p for p in range(2, n + 1) if n % p == 0 and all(p % q for q in range(2, p))]
        return max(factors)

    assert max(largest_factor(250 + k - 1) for k in nb["ks"]) <= 23


def test_from_some_kernel_size_on_the_fft_wins(nb):
    assert nb["time_ratios"][-1] > 2                   # 51x51; about 100 on an idle machine


def test_transforms_of_the_images_size_are_enough_for_the_valid_outputs(nb):
    x, k = np.random.default_rng(0).normal(size=(8, 8)), ONE_TO_NINE
    circular = np.fft.ifft2(np.fft.fft2(x) * np.fft.fft2(k, s=x.shape)).real
    assert circular[2:, 2:] == pytest.approx(nb["convolve2d"](x, k))


def test_the_fft_saves_multiplications_in_a_layer_only(nb):
    assert max(nb["ratios"][1, 1, 1]) < 1
    assert min(nb["ratios"][128, 64, 64]) > 1


numbers = st.floats(-100, 100, allow_subnormal=False)


@st.composite
def image_and_kernel(draw):
    kernel = draw(arrays(float, st.tuples(st.integers(1, 4), st.integers(1, 4)), elements=numbers))
    shape = tuple(n + draw(st.integers(0, 4)) for n in kernel.shape)
    return draw(arrays(float, shape, elements=numbers)), kernel


def test_the_2d_functions_agree_with_scipy(nb):
    @given(image_and_kernel())
    def agree(pair):
        from scipy.signal import convolve2d, correlate2d
        for function, reference in [
                (nb["cross_correlate2d"], correlate2d(*pair, "valid")),
                (nb["convolve2d"], convolve2d(*pair, "valid")), (nb["fft_convolve2d"], convolve2d(*pair))]:
            np.testing.assert_allclose(function(*pair), reference, rtol=1e-9, atol=1e-7)

    agree()


def test_the_1d_functions_agree_with_numpy(nb):
    sequences = arrays(float, st.integers(1, 8), elements=numbers)

    @given(sequences, sequences)
    def agree(x, h):
        np.testing.assert_allclose(nb["convolve1d"](x, h), np.convolve(x, h), rtol=1e-9, atol=1e-7)
        if len(h) <= len(x):
            np.testing.assert_allclose(nb["cross_correlate1d"](x, h), np.correlate(x, h, "valid"),
                                       rtol=1e-9, atol=1e-7)

    agree()


def test_two_passes_agree_with_the_outer_product(nb):
    vectors = arrays(float, st.integers(1, 4), elements=numbers)

    @given(arrays(float, (5, 6), elements=numbers), vectors, vectors)
    def agree(x, column, row):
        np.testing.assert_allclose(nb["separable_filter"](x, column, row),
                                   scipy.signal.correlate2d(x, np.outer(column, row), "valid"),
                                   rtol=1e-9, atol=1e-4)

    agree()


@pytest.mark.parametrize("size", range(1, 9))
def test_a_gaussian_kernel_sums_to_one_and_is_its_own_rotation(nb, size):
    kernel = nb["gaussian_kernel"](size, 1.3)
    assert kernel.sum() == pytest.approx(1)
    assert kernel == pytest.approx(nb["rotate180"](kernel))
