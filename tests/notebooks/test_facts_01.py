"""Notebook 01: every number in its prose, and its functions against torch and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.linalg import toeplitz
from scipy.signal import correlate2d

SLUG = "01_why_convolution"
# The notebook's names are the same for every example, so the fixture need not be made afresh.
few = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def nb(names_of):
    return names_of(SLUG)


# ------------------------------------------------------------------ a layer that reads everything

def test_the_first_unit_reads_pixel_0_and_adds_10_the_second_adds_up(nb):
    assert nb["first_outputs"].tolist() == [0 + 10, 0 + 1 + 2 + 3 + 4 + 5]


def test_a_dense_layer_on_a_megapixel_has_hundreds_of_millions_of_parameters(nb):
    million = 1024 * 1024
    assert nb["dense"] == {1: million + 1, 256: million * 256 + 256, million: million * million + million}
    assert round(nb["dense"][256] / 1e6) == 268 and 4 * nb["dense"][256] > 1e9
    assert 1e12 < nb["dense"][million] < 1.2e12


# ------------------------------------------------------------------ what photographs are like

def test_neighbours_are_almost_equal_and_the_relation_fades(nb):
    for name in ("china", "flower", "hopper"):
        values = nb["decay"][name]
        assert values[0] > 0.94 and values[-1] < 0.5
        assert np.polyfit(np.log2(nb["distances"]), values, 1)[0] < -0.05
    assert nb["distances"][-1] == 128


def test_shuffled_pixels_tell_nothing_of_each_other(nb):
    assert np.abs(nb["decay"]["shuffled"]).max() < 0.02
    np.testing.assert_array_equal(np.sort(nb["shuffled_china"].ravel()), np.sort(nb["china"].ravel()))


def test_the_rim_of_the_flower_recurs(nb):
    places, windows, side = nb["places"], nb["windows"], nb["side"]
    assert len(set(places)) == 7 and places[0] == (nb["top"], nb["left"])
    for i, (r, c) in enumerate(places):
        assert all(abs(r - p) >= side or abs(c - q) >= side for p, q in places[:i])
        assert np.corrcoef(windows[r, c].ravel(), windows[places[0]].ravel())[0, 1] > 0.85
    assert max(c for _, c in places) > 280 and sum(r > 180 for r, _ in places) >= 4  # on the other flowers


# ------------------------------------------------------------------ the three ideas

def test_a_2x3_window_has_4_and_5_places_on_5_rows_and_7_columns(nb):
    assert (nb["down"], nb["across"], len(nb["starts"])) == (4, 5, 20) == (5 - 2 + 1, 7 - 3 + 1, 4 * 5)


def test_the_drawn_layers_have_40_20_and_4_parameters(nb):
    assert nb["dense_parameters"](1, 7, 5) == 40 == 35 + 5
    assert nb["window_parameters"](1, 7, 1, 3, 1)[:2] == (20, 4) == (15 + 5, 3 + 1)


def test_tied_weights_give_6_on_the_step_and_0_elsewhere(nb):
    assert nb["stepped"].tolist() == [[0, 6, 6, 0], [6, 6, 0, 0], [6, 0, 0, 0]]


def test_only_the_output_of_the_convolution_moves_along(nb):
    assert nb["moves_along"] == {"dense": False, "locally connected": False, "convolution": True}
    assert nb["sizes"] == {"dense": 60_480, "locally connected": 1_944, "convolution": 9}
    for name, layer in nb["layers"].items():
        assert layer(nb["here"]).shape == (12, 18), name


def test_the_maps_of_an_80x80_picture_are_78x78_and_the_sky_is_0(nb):
    assert nb["tower"].shape == (80, 80)
    for name, feature_map in nb["maps"].items():
        assert feature_map.shape == (78, 78)
        assert np.abs(feature_map[:8, :20]).max() < 0.2 * np.abs(feature_map).max(), name


def test_each_idea_saves_as_said(nb):
    assert list(nb["costs"].values()) == [1_090_939_510_800, 27_050_400, 26, 1_664]
    assert nb["costs"]["64 features"] == 64 * 26
    assert nb["fewer"] == {"receptive fields": pytest.approx(40_000, rel=0.02), "sharing": pytest.approx(1e6, rel=0.05)}
    assert nb["window_parameters"](200, 300, 5, 5, 64)[1:] == (26, 1664)  # the size of the image does not matter


def test_the_layers_need_65_10_and_1_examples(nb):
    assert nb["enough"] == {"dense": 65, "locally connected": 10, "convolution": 1}
    for layer, error in nb["errors"].items():
        enough = nb["examples"].index(nb["enough"][layer])
        assert (error[enough:] < 1e-6).all() and (error[:enough] > 1).all()
    assert nb["errors"]["dense"][0] > 100 and nb["errors"]["locally connected"][0] > 100
    assert nb["seen"].shape == (100, 8, 8) and nb["seen_y"].shape == (100, 36) == (100, 6 * 6)


# ------------------------------------------------------------------ matrices

def test_the_three_matrices_have_120_30_and_3_different_weights(nb):
    assert nb["different"] == {"dense": 120, "locally connected": 30, "convolution": 3}
    assert nb["matrices"]["convolution"].shape == (10, 12) == (12 - 3 + 1, 12)


def test_the_matrix_of_a_2x3_kernel_on_4x5_pixels(nb):
    T = nb["T"]
    assert T.shape == (9, 20) and nb["all_agree"] is True
    assert np.flatnonzero(T[0]).tolist() == [0, 1, 2, 5, 6, 7]            # two runs of three, five apart
    first = [np.flatnonzero(row)[0] for row in T]
    assert np.diff(first).tolist() == [1, 1, 3, 1, 1, 3, 1, 1]            # by three at the end of a row
    blocks = T.reshape(3, 3, 4, 5).transpose(0, 2, 1, 3)                  # blocks of 3x5
    for i, j in np.ndindex(3, 4):
        expected = nb["toeplitz_matrix"](nb["T"][0, 5 * (j - i):5 * (j - i) + 3], 5) if j - i in (0, 1) else 0
        np.testing.assert_array_equal(blocks[i, j], expected)


def test_the_matrix_is_nearly_all_zeros(nb):
    assert nb["small"].shape == (676, 784)
    assert f"{nb['zeros'][28]:.4%}" == "98.8520%" and f"{nb['zeros'][1024]:.4%}" == "99.9991%"
    assert nb["stored"] == pytest.approx(8.76, abs=0.01)


# ------------------------------------------------------------------ shuffled pixels

def test_a_dense_layer_does_not_care_about_a_fixed_shuffling(nb):
    assert nb["dense_agrees"] is True
    before, after = nb["convolution"](nb["here"], nb["edge"]), nb["convolution"](nb["shuffled"], nb["edge"])
    assert not np.allclose(np.sort(before.ravel()), np.sort(after.ravel()))


def test_shuffling_changes_the_convolutions_accuracy_and_not_the_dense_layers(nb):
    dense, convolution = np.array(nb["scores"]["dense"]), np.array(nb["scores"]["convolution"])
    assert len(dense) == len(convolution) == 6 and (dense == dense[0]).all()
    assert convolution[0] - dense[0] > 0.08                               # much better on the originals
    assert (convolution[1:] < convolution[0]).all() and (convolution[1:] > dense[0]).all()
    assert nb["wrong_after"] / nb["wrong_before"] > 2
    assert len(nb["images"]) - 1200 == 597


# ------------------------------------------------------------------ simple and complex cells

def test_a_simple_cell_wants_one_orientation_and_one_place(nb):
    turning = dict(zip(nb["angles"].tolist(), nb["turning"]))
    assert turning[0] == pytest.approx(1) and max(turning.values()) == turning[0]
    assert all(answer < 0.05 for angle, answer in turning.items() if abs(angle) >= 50)
    simple = dict(zip(nb["shifts"].tolist(), nb["moving"]["simple"]))
    assert simple[0] == pytest.approx(1) and all(a == 0 for s, a in simple.items() if abs(s) >= 2)


def test_a_complex_cell_answers_all_the_same_over_13_pixels(nb):
    full = [s for s, a in zip(nb["shifts"].tolist(), nb["moving"]["complex"]) if a == pytest.approx(1)]
    assert full == list(range(-6, 7)) and len(full) == 13
    assert nb["simple"](nb["bar"](0)).shape == (13,) and nb["stripe"].sum() == pytest.approx(0)


# ------------------------------------------------------------------ against torch and SciPy, on random layers

@st.composite
def pictures(draw):
    """An image, and a kernel that fits into it."""
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(2))
    size = tuple(k + draw(st.integers(0, 4)) for k in kernel)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return rng.normal(size=size), rng.normal(size=kernel), rng


@few
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50))
def test_dense_parameters_are_torchs(nb, height, width, units):
    layer = torch.nn.Linear(height * width, units, device="meta")
    assert nb["dense_parameters"](height, width, units) == sum(p.numel() for p in layer.parameters())


@few
@given(pictures(), st.integers(1, 9))
def test_window_parameters_are_torchs(nb, picture, features):
    x, kernel, _ = picture
    local, shared, several = nb["window_parameters"](*x.shape, *kernel.shape, features)
    sizes = [sum(p.numel() for p in torch.nn.Conv2d(1, n, kernel.shape).parameters()) for n in (1, features)]
    weight, bias = nb["tied_weights"](kernel, 0.0, *x.shape)
    assert [shared, several] == sizes and local == weight.size + bias.size


@few
@given(pictures(), st.floats(-2, 2))
def test_tied_weights_matrix_and_torchs_convolution_agree(nb, picture, bias):
    x, kernel, _ = picture
    expected = F.conv2d(torch.from_numpy(x)[None, None], torch.from_numpy(kernel)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(correlate2d(x, kernel, "valid"), expected, atol=1e-12)
    np.testing.assert_allclose(nb["convolution"](x, kernel, bias), expected + bias, atol=1e-12)
    T = nb["convolution_matrix"](kernel, *x.shape)
    np.testing.assert_allclose((T @ x.ravel()).reshape(expected.shape), expected, atol=1e-12)
    assert np.count_nonzero(T) == kernel.size * expected.size


@few
@given(pictures())
def test_a_locally_connected_layer_is_a_dense_one_with_zeros(nb, picture):
    x, kernel, rng = picture
    weight, bias = nb["tied_weights"](kernel, 0.0, *x.shape)
    weight, bias = rng.normal(size=weight.shape), rng.normal(size=bias.shape)
    full = np.zeros((*bias.shape, *x.shape))
    for r, c in np.ndindex(bias.shape):
        full[r, c, r:r + kernel.shape[0], c:c + kernel.shape[1]] = weight[r, c]
    expected = full.reshape(bias.size, x.size) @ x.ravel() + bias.ravel()
    np.testing.assert_allclose(nb["locally_connected"](x, weight, bias).ravel(), expected, atol=1e-12)


@few
@given(st.integers(1, 5), st.integers(0, 6), st.integers(0, 2**32))
def test_toeplitz_matrix_is_scipys_and_slides(nb, k, more, seed):
    rng = np.random.default_rng(seed)
    kernel, x = rng.normal(size=k), rng.normal(size=k + more)
    T = nb["toeplitz_matrix"](kernel, len(x))
    np.testing.assert_array_equal(T, toeplitz(np.r_[kernel[0], [0] * more], np.r_[kernel, [0] * more]))
    np.testing.assert_allclose(T @ x, np.correlate(x, kernel, "valid"), atol=1e-12)


@few
@given(st.integers(1, 5), st.integers(1, 12), st.integers(0, 2**32))
def test_weights_for_shuffled_images_give_the_old_answers(nb, units, pixels, seed):
    rng = np.random.default_rng(seed)
    weight, x, order = rng.normal(size=(units, pixels)), rng.normal(size=pixels), rng.permutation(pixels)
    new = nb["weights_for_shuffled"](weight, order)
    np.testing.assert_allclose(new @ x[order], weight @ x, atol=1e-12)
    assert not np.shares_memory(new, weight)
