"""Notebook 15: every number in its prose, its functions against torch, and what its runs must show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

from cnnlab import modules, report
from cnnlab.calls import Local
from cnnlab.checks import judge
from cnnlab.probes import load

SLUG = "15_fully_convolutional"
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 10_000)
layers = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2)), max_size=4).map(tuple)


@pytest.fixture
def nb(names_of):
    return names_of(SLUG)


def draw(seed, *shape):
    return torch.tensor(np.random.default_rng([seed, *shape]).normal(size=shape), dtype=torch.float32)


# ------------------------------------------------------------------ a classifier as convolutions

def test_one_layer_ties_lenet_to_a_size(nb):
    maps = nb["classifier"][:6](nb["page"])
    assert tuple(maps.shape) == (1, 16, 22, 57) and maps.numel() == 20_064
    with pytest.raises(RuntimeError):
        nb["classifier"](nb["page"])


@few
@given(seeds, st.integers(1, 4), st.tuples(*[st.integers(1, 4)] * 3))
def test_a_convolution_gives_what_the_linear_layer_gives(nb, seed, out, shape):
    linear, x = nn.Linear(int(np.prod(shape)), out), draw(seed, 2, *shape)
    layer = nb["as_convolution"](linear.weight.detach(), linear.bias.detach(), shape)
    torch.testing.assert_close(layer(x)[:, :, 0, 0], linear(x.flatten(1)))
    wider = draw(seed, 2, shape[0], shape[1] + 1, shape[2] + 2)
    window = wider[:, :, 1:, 2:]
    torch.testing.assert_close(layer(wider)[:, :, 1, 2], linear(window.flatten(1)))


def test_the_converted_lenet_is_the_same_network(nb):
    assert nb["parameters"] == [61_706, 61_706] and nb["largest"] < 1e-4
    assert nb["right"] > 0.9 and nb["by_convolution"].shape == (1797, 10, 1, 1)
    assert tuple(nb["scores"].shape) == (1, 10, 18, 53)


def test_what_lenet_says_of_the_page(nb):
    assert len(nb["nearest"]) == 9 and all(label == said for label, said, _ in nb["nearest"])
    assert nb["nearest"][-1][2] == min(p for *_, p in nb["nearest"]) == pytest.approx(0.34, abs=0.01)
    assert {5, 7} <= set(nb["name"][nb["sure"]].tolist()) and int(nb["sure"].sum()) > 60
    assert nb["empty"].indices.item() == 1 and nb["empty"].values.item() == pytest.approx(0.46, abs=0.006)


# ------------------------------------------------------------------ which window

@few
@given(layers, st.integers(60, 70))
def test_map_geometry_is_what_a_gradient_sees(nb, stack, size):
    count, stride, window, start = nb["map_geometry"](size, stack)
    assume(count >= 1)
    x = torch.ones(1, 1, size, dtype=torch.float64, requires_grad=True)
    y = x
    for k, s, p in stack:
        y = F.conv1d(y, torch.ones(1, 1, k, dtype=torch.float64), stride=s, padding=p)
    assert y.shape[2] == count
    for i in {0, count // 2, count - 1}:
        seen = torch.autograd.grad(y[0, 0, i], x, retain_graph=True)[0][0, 0].nonzero()[:, 0].tolist()
        first, last = start + i * stride, start + i * stride + window - 1
        assert all(first <= pixel <= last for pixel in seen)
        if seen and 0 <= first and last < size:
            assert (seen[0], seen[-1]) == (first, last)


def test_the_windows_of_lenet_and_vgg(nb):
    assert nb["geometry"] == {"LeNet": (53, 4, 32, 0), "VGG-16, 224 pixels": (1, 32, 404, -90),
                              "VGG-16, 512 pixels": (10, 32, 404, -90)}
    assert sum(layer[0] == 3 for layer in nb["VGG_LAYERS"]) == 13


# ------------------------------------------------------------------ sliding and unrolled

def test_sliding_gives_the_same_map_and_takes_longer(nb):
    assert nb["apart"] < 1e-4 and 18 * 53 == 954
    assert torch.equal(nb["one_by_one"](nb["as_in_mnist"](nb["page"]))[:3].argmax(1), nb["slid"][:, 0, :3].argmax(0))
    seconds = nb["seconds"]
    assert seconds["one_by_one"] > 20 * seconds["unrolled"] and seconds["in_one_batch"] > 5 * seconds["unrolled"]


def test_what_is_saved_in_multiply_adds(nb):
    by_hand = 6 * 25 * 28 * 28 + 16 * 150 * 100 + 400 * 120 + 120 * 84 + 840
    assert nb["per_window"] == by_hand == 416_520
    page = 150 * 96 * 236 + 2400 * 44 * 114 + 18 * 53 * (48_000 + 10_080 + 840)
    assert nb["for_page"] == page and 954 * by_hand / page == pytest.approx(5.5, abs=0.06)
    assert nb["again"] == {"C1": 49, "C3": 25, "C5": 1}
    assert 18 * 53 * 48_000 > page / 2
    assert nb["front_work"] == pytest.approx(117_600 / 416_520) and nb["front_share"] > 0.5


def test_how_often_a_weight_is_used(nb):
    assert nb["sharing"]["LeNet"] == pytest.approx(6.8, abs=0.05)
    assert nb["sharing"]["VGG-16"] == pytest.approx(111.8, abs=0.1)
    assert sum(p.numel() for p in nb["large_net"].parameters()) == 138_357_544
    linear = (25_088 + 1000) * 4096 + 4096**2                  # at VGG's own stride 32 only these are never shared
    assert 30 < 15_470_264_320 / ((15_470_264_320 - linear) / 49 + linear) < 40
    assert round((10_000 - 220) / 4) == 2445


def test_shifted_copies_interlaced_are_the_map_at_every_pixel(nb):
    x = draw(0, 1, 1, 40, 42)
    whole = torch.zeros(1, 10, 9, 11)
    for i, j in np.ndindex(4, 4):
        part = nb["net"](x[:, :, i:, j:])
        whole[:, :, i::4, j::4] = part[:, :, :len(range(i, 9, 4)), :len(range(j, 11, 4))]
    slid = nb["classifier"](nb["cut_windows"](x, 32, 1)).reshape(9, 11, 10).permute(2, 0, 1)
    torch.testing.assert_close(whole[0], slid, atol=1e-4, rtol=1e-4)


def test_dilation_in_place_of_strides_is_the_map_at_every_pixel(nb):
    x, net = draw(1, 1, 1, 36, 37), nb["net"]
    y = F.max_pool2d(net.c1(x).relu(), 2, 1)
    y = F.max_pool2d(F.conv2d(y, net.c3.weight, net.c3.bias, dilation=2).relu(), 2, 1, dilation=2)
    y = net.out(net.f6(F.conv2d(y, net.c5.weight, net.c5.bias, dilation=4).relu()).relu())
    slid = nb["classifier"](nb["cut_windows"](x, 32, 1)).reshape(5, 6, 10).permute(2, 0, 1)
    torch.testing.assert_close(y[0], slid, atol=1e-4, rtol=1e-4)


def test_padding_spoils_the_equality(nb):
    assert nb["gaps"][0] < 1e-5 and nb["gaps"][1] > 0.1


# ------------------------------------------------------------------ segmentation

def test_scenes(nb):
    pictures, classes = nb["scenes"](40, np.arange(50), seed=3)
    assert pictures.shape == (40, 1, nb["SIDE"], nb["SIDE"]) and 0 <= classes.min() and classes.max() <= 10
    again, _ = nb["scenes"](40, np.arange(50), seed=3)
    assert torch.equal(pictures, again) and not set(nb["order"][:1437]) & set(nb["order"][1437:])
    ink = [(c > 0).flatten() for c in classes]
    assert min(p.flatten()[i].min() for p, i in zip(pictures, ink) if i.any()) > -0.3


@few
@given(seeds, st.integers(2, 6), st.integers(1, 4))
def test_mean_iou_is_that_of_the_confusion_matrix(nb, seed, classes, among):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, min(among, classes), (2, 3, 4))
    predicted = rng.integers(0, classes, labels.shape)
    labels[rng.random(labels.shape) < 0.2] = 255
    labels[0, 0, 0] = 0
    ious = []
    for k in range(classes):
        a, b = (predicted == k) & (labels != 255), labels == k
        if (a | b).any():
            ious.append((a & b).sum() / (a | b).sum())
    got = nb["mean_iou"](torch.from_numpy(predicted), torch.from_numpy(labels), classes)
    assert got == pytest.approx(np.mean(ious))


def test_background_everywhere(nb):
    assert nb["nothing"] == pytest.approx(nb["background"] / 11)
    assert nb["background"] == pytest.approx(0.868, abs=0.005)


# ------------------------------------------------------------------ up-sampling

@few
@given(seeds, st.tuples(*[st.integers(1, 4)] * 4), st.integers(1, 6))
def test_bilinear_up_sampling_is_torchs(nb, seed, shape, factor):
    x = draw(seed, *shape)
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear")
    torch.testing.assert_close(nb["upsample_bilinear"](x, factor), expected)


def test_two_conventions(nb):
    assert nb["by_torch"] == 0 or nb["by_torch"] < 1e-5
    areas, corners = (nb["enlarged"][kind][0, 0, 0] for kind in ("areas", "corners"))
    assert areas[4] == 12 and corners.max() < 12 and corners[0] == 0 and corners[-1] == 6


@few
@given(seeds, st.tuples(*[st.integers(1, 3)] * 3), st.tuples(*[st.integers(2, 4)] * 4), st.integers(1, 3),
       st.integers(0, 1))
def test_transposed_convolution_is_torchs(nb, seed, channels, sizes, stride, padding):
    (n, c_in, c_out), (h, w, kh, kw) = channels, sizes
    x, weight = draw(seed, n, c_in, h, w), draw(seed, c_in, c_out, kh, kw)
    for extra in range(stride):
        expected = F.conv_transpose2d(x, weight, stride=stride, padding=padding, output_padding=extra)
        torch.testing.assert_close(nb["conv_transpose"](x, weight, stride, padding, extra), expected)


def test_sizes_and_checkerboards(nb):
    assert nb["into_four"] == [7, 8] and nb["from_torch"] < 1e-5
    three, four = nb["ones"][3], nb["ones"][4]
    assert set(three[1:-1, 1:-1].flat) == {1, 2, 4} and set(four[2:-2, 2:-2].flat) == {4}


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 7])
def test_the_bilinear_kernel_interpolates_inside(nb, factor):
    kernel, x = nb["bilinear_kernel"](factor), draw(factor, 1, 1, 4, 5)
    k = len(kernel)
    assert kernel.sum().item() == pytest.approx(factor**2, rel=1e-5) and (kernel > 0).all()
    stamped = F.conv_transpose2d(x, kernel[None, None], stride=factor, padding=(k - factor) // 2)
    exact = F.interpolate(x, scale_factor=factor, mode="bilinear")
    inside = slice(factor // 2, -(factor // 2) or None)
    torch.testing.assert_close(stamped[..., inside, inside], exact[..., inside, inside])
    even = F.conv_transpose2d(torch.ones(1, 1, 5, 5), kernel[None, None], stride=factor, padding=(k - factor) // 2)
    torch.testing.assert_close(even[..., factor:-factor, factor:-factor], torch.ones(1, 1, 3 * factor, 3 * factor))


def test_where_stamping_and_interpolation_differ(nb):
    off = nb["off"]
    assert off.any() and not off[2:-2, 2:-2].any() and off.shape == (12, 16)


# ------------------------------------------------------------------ skips

def test_the_published_crops(nb):
    assert (nb["skip4"], nb["skip3"]) == (5, 9)
    assert nb["whole"] == {"FCN-32s": -19, "FCN-16s": -27, "FCN-8s": -31}
    assert len(nb["FCN_VGG"]) == 18 and [nb["FCN_VGG"][i] for i in (9, 13, 17)] == [(2, 2, 0)] * 3


@few
@given(layers, st.integers(1, 8), st.integers(0, 2))
def test_crop_offset_is_the_centre_of_gravity(nb, stack, kernel_size, padding):
    """A ramp in the skip's map, averaged by the layers and enlarged evenly, stays the ramp, shifted by the offset."""
    stride = int(np.prod([s for _, s, _ in stack]))
    middle = 0.0
    for k, s, p in reversed(stack):
        middle = middle * s - p + (k - 1) / 2
    offset = middle - (kernel_size - 1) / 2 + padding
    assume(offset == int(offset) and stride > 0)
    assert nb["crop_offset"](stack, kernel_size, padding) == offset


@few
@given(seeds, st.integers(1, 4), st.integers(1, 3), st.integers(0, 1), st.integers(0, 3))
def test_fuse_skip_by_formula(nb, seed, c_skip, classes, padding, offset):
    fuse = nb["FuseSkip"](c_skip, classes, padding, offset)
    modules.set_weights(fuse, seed)
    scores, skip = draw(seed, 2, classes, 2, 3).double(), draw(seed, 2, c_skip, 12, 13).double()
    up = F.conv_transpose2d(scores, fuse.up.weight, stride=2, padding=padding)
    scored = F.conv2d(skip, fuse.score.weight, fuse.score.bias)
    expected = up + scored[:, :, offset:offset + up.shape[2], offset:offset + up.shape[3]]
    torch.testing.assert_close(fuse(scores, skip), expected)


def test_fusing_keeps_places(nb):
    """Through VGG's last part, up again and cropped by 5, a bright square lies on itself."""
    fuse = nb["FuseSkip"](1, 1, padding=0, offset=nb["skip4"])
    nb["bilinear_start"](fuse.up)
    ramp = torch.arange(40.0).expand(1, 1, 40, 40).clone()
    deep = ramp
    for k, s, p in (*nb["FCN_VGG"][14:], (7, 1, 0)):
        deep = F.avg_pool2d(deep, k, s, p, count_include_pad=False)
    with torch.no_grad():
        fuse.score.weight.fill_(-1)
        fuse.score.bias.zero_()
        inside = fuse(deep, ramp)[0, 0, 8:-8, 8:-8]
    assert inside.numel() and inside.abs().max() < 1e-4


def test_segmenters(nb):
    quality = nb["quality"]
    assert list(quality) == ["stride 4", "stride 4, learned", "stride 2", "stride 1"]
    coarse, learned, two, one = quality.values()
    assert nb["nothing"] < coarse < learned - 0.05 and learned < two - 0.05 and two < one - 0.05
    assert one > 0.65
    where, what = zip(*nb["errors"].values())
    assert where[0] == pytest.approx(0.1, abs=0.015) and where[0] > where[1] > where[2] > where[3] and where[3] < 0.02
    assert all(0.004 < w < 0.02 for w in what[1:]) and what[3] > what[0]
    counts = [sum(p.numel() for p in nb["Segmenter"](*v).parameters()) for v in nb["VERSIONS"].values()]
    assert counts[0] < counts[2] < counts[3] < counts[1]
    net = nb["Segmenter"](2)
    assert net(torch.zeros(1, 1, 64, 96)).shape == (1, 11, 64, 96)


def test_u_net(nb):
    assert nb["size"] == 388 and nb["cropped"] == [(64, 56), (136, 104), (280, 200), (568, 392)]


# ------------------------------------------------------------------ what a student is told

def test_the_lock_on_interpolation_is_explained():
    def upsample_bilinear(x, factor):
        return F.interpolate(x, scale_factor=factor, mode="bilinear")

    shipped = load("upsample_bilinear")
    verdict = judge(shipped, Local(upsample_bilinear))
    assert verdict.score == 0 and "torch.nn.functional" in report.text(verdict)
