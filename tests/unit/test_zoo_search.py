"""EfficientNet and NASNet are the papers': scaling, blocks, cells, and what is left out in training."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from solutions.gpu.models import create, efficientnet
from solutions.gpu.models.efficientnet import SCALES, MBConv, SqueezeExcitation, StochasticDepth, scale_channels
from solutions.gpu.models.nasnet import Cell, Halve, NASNet


def on_meta(name):
    with torch.device("meta"):
        return create(name)


# EfficientNet


def blocks_of(name):
    return [m for m in on_meta(name).modules() if isinstance(m, MBConv)]


def test_depth_width_and_resolution_grow_together_about_as_equation_3_says():
    assert 1.2 * 1.1**2 * 1.15**2 == pytest.approx(2, abs=0.1)
    for number, (width, depth, resolution, _) in enumerate(SCALES):
        phi = math.log(depth, 1.2), math.log(width, 1.1), math.log(resolution / 224, 1.15)
        assert phi == pytest.approx([(0, 0.4, 1, 2, 3.5, 4.8, 5.8, 6.8)[number]] * 3, abs=0.6), number
    assert phi == pytest.approx((6.2, 7.3, 7.0), abs=0.05)  # of B7, as the docstring says


def test_the_layers_of_b0_and_b7():
    assert len(blocks_of("efficientnet_b0")) == 1 + 2 + 2 + 3 + 3 + 4 + 1
    assert [len(stage) for stage in on_meta("efficientnet_b1").features[1:-1]] == [2, 3, 3, 4, 4, 5, 2]


@pytest.mark.parametrize(("channels", "width", "scaled"), [
    (32, 1.0, 32), (16, 1.1, 16), (24, 1.1, 24), (40, 1.1, 48), (320, 1.1, 352), (24, 1.2, 32), (40, 1.2, 48),
    (112, 1.4, 160), (320, 2.0, 640), (10, 1.0, 16), (1, 1.0, 8)])
def test_channels_are_multiples_of_8_near_the_scaled_number(channels, width, scaled):
    assert scale_channels(channels, width) == scaled


def test_channels_never_lose_more_than_a_tenth():
    for channels in range(8, 700):
        assert scale_channels(channels, 1.0) >= 0.9 * channels and abs(scale_channels(channels, 1.0) - channels) < 8


def test_only_a_block_that_keeps_the_shape_adds_its_input():
    for name in ("efficientnet_b0", "efficientnet_b4"):
        for stage in on_meta(name).features[1:-1]:  # the first block of each changes the number of channels
            assert [block.drop is not None for block in stage] == [False] + [True] * (len(stage) - 1)


def test_a_block_whose_last_scale_is_0_passes_its_input_on():
    block = MBConv(8, 8, 3, 1, 6, 0.5, nn.BatchNorm2d)
    nn.init.zeros_(block.block[-1][1].weight)
    x = torch.randn(2, 8, 5, 4)
    assert block(x).equal(x) and block.eval()(x).equal(x)


def test_squeeze_and_excitation_multiplies_each_channel_by_one_number():
    torch.manual_seed(0)
    layer, x = SqueezeExcitation(6, 2), torch.rand(3, 6, 4, 5) + 0.1
    gates = layer(x) / x
    assert gates.std(dim=(2, 3)).max() < 1e-6 and 0 < gates.min() < gates.max() < 1
    shuffled = x.flatten(2)[:, :, torch.randperm(20)].view_as(x)  # only the means of the channels matter
    torch.testing.assert_close(layer(shuffled) / shuffled, gates)


def test_stochastic_depth_leaves_out_whole_images_and_keeps_the_mean():
    torch.manual_seed(0)
    layer, x = StochasticDepth(0.2), torch.ones(4000, 2, 3, 3)
    y = layer(x)
    assert set(y.unique().tolist()) == {0.0, 1.25} and (y.flatten(1).std(dim=1) == 0).all()
    assert y.mean().item() == pytest.approx(1, abs=0.03)
    assert layer.eval()(x).equal(x) and StochasticDepth(0)(x).equal(x)


def test_later_blocks_are_left_out_more_often():
    rates = [0.2 * i / 16 for i in range(16)]
    for rate, block in zip(rates, blocks_of("efficientnet_b0"), strict=True):
        assert block.drop is None or block.drop.rate == pytest.approx(rate)


def test_there_is_no_b8():
    with pytest.raises(ValueError, match="number is 8; the paper has B0 to B7"):
        efficientnet.efficientnet(8)


# NASNet


def plain(cell):
    """The cell with identities in place of its separable convolutions and of what brings its inputs to F channels."""
    cell.fit_last = cell.fit_before = nn.Identity()
    for block in cell.blocks:
        for i, operation in enumerate(block):
            if isinstance(operation, nn.Sequential):
                block[i] = nn.Identity()
    return cell


def kernels(block):
    """The kernel sizes of a block's operations, and what they are made of."""
    return [(type(op[1]), op[1].kernel_size[0], op[1].stride[0]) if isinstance(op, nn.Sequential) else
            (type(op), getattr(op, "kernel_size", 0), getattr(op, "stride", 0)) for op in block]


def test_the_normal_cell_is_that_of_figure_4():
    cell = Cell(6, 6, 6, reduction=False, halve=False)
    conv, pool, same = nn.Conv2d, (nn.AvgPool2d, 3, 1), (nn.Identity, 0, 0)
    assert [kernels(block) for block in cell.blocks] == [
        [(conv, 5, 1), (conv, 3, 1)], [(conv, 5, 1), (conv, 3, 1)], [pool, same], [pool, pool], [(conv, 3, 1), same]]
    h0, h1 = torch.randn(2, 2, 6, 5, 4)
    mean = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    expected = [h1, h0 + h1, h1 + h1, mean(h0) + h1, mean(h1) + mean(h1), h0 + h0]
    torch.testing.assert_close(plain(cell)(h0, h1), torch.cat(expected, dim=1))


def test_the_reduction_cell_is_that_of_figure_4():
    cell = Cell(6, 6, 6, reduction=True, halve=False)
    conv, largest, mean, same = nn.Conv2d, (nn.MaxPool2d, 3, 2), (nn.AvgPool2d, 3, 2), (nn.Identity, 0, 0)
    assert [kernels(block) for block in cell.blocks] == [
        [(conv, 5, 2), (conv, 7, 2)], [largest, (conv, 7, 2)], [mean, (conv, 5, 2)], [same, (nn.AvgPool2d, 3, 1)],
        [(conv, 3, 1), largest]]
    for block in cell.blocks:
        for i, (_, _, stride) in enumerate(kernels(block)):
            if stride == 2:
                block[i] = nn.AvgPool2d(1, 2)  # every second pixel
    h0, h1 = torch.randn(2, 2, 6, 7, 6)
    a, b = h0[:, :, ::2, ::2], h1[:, :, ::2, ::2]
    b2 = a + b
    around = F.avg_pool2d(b2, 3, 1, 1, count_include_pad=False)
    torch.testing.assert_close(plain(cell)(h0, h1), torch.cat([a + b, a + b, a + b + around, b2 + a], dim=1))


def test_a_separable_convolution_is_applied_twice_behind_relu():
    layers = Cell(6, 8, 4, reduction=True, halve=False).blocks[0][1]
    assert [type(layer) for layer in layers] == 2 * [nn.ReLU, nn.Conv2d, nn.Conv2d, nn.BatchNorm2d]
    convs = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    assert [(c.kernel_size[0], c.stride[0], c.groups) for c in convs] == [(7, 2, 4), (1, 1, 1), (7, 1, 4), (1, 1, 1)]


def test_halving_looks_at_pixels_of_even_rows_and_columns_and_of_odd_ones():
    layer = Halve(1, 2).eval()
    nn.init.ones_(layer.even.weight)
    nn.init.ones_(layer.odd.weight)
    for H, W in ((4, 6), (5, 6), (3, 3)):
        x = torch.rand(1, 1, H, W)
        y = layer(x) * (1 + layer.bn.eps) ** 0.5
        torch.testing.assert_close(y[0, 0], x[0, 0, ::2, ::2])
        odd = x[0, 0, 1::2, 1::2]
        torch.testing.assert_close(y[0, 1, :odd.shape[0], :odd.shape[1]], odd)
        assert y[0, 1, odd.shape[0]:].eq(0).all() and y[0, 1, :, odd.shape[1]:].eq(0).all()


@pytest.mark.parametrize(("name", "sizes"), [
    ("nasnet_mobile", [(44, 56), (88, 28)] + 4 * [(264, 28)] + [(352, 14)] + 4 * [(528, 14)] + [(704, 7)]
     + 4 * [(1056, 7)]),
    ("nasnet_cifar", 6 * [(192, 32)] + [(256, 16)] + 6 * [(384, 16)] + [(512, 8)] + 6 * [(768, 8)])])
def test_a_nasnet_is_a_pile_of_cells(name, sizes):
    model, seen = on_meta(name).eval(), []
    for cell in model.cells:
        cell.register_forward_hook(lambda m, _, y: seen.append((y.shape[1], y.shape[2])))
    size = 32 if name == "nasnet_cifar" else 224
    model(torch.empty(1, 3, size, size, device="meta"))
    assert seen == sizes


def test_a_cell_gets_the_outputs_of_the_two_before_it():
    model, got, gave = NASNet(2, 48, 8, False, 0.0, num_classes=3).eval(), [], []
    model.stem.register_forward_hook(lambda m, _, y: gave.extend([y, y]))
    for cell in model.cells:
        cell.register_forward_pre_hook(lambda m, x: got.append(x))
        cell.register_forward_hook(lambda m, _, y: gave.append(y))
    model(torch.randn(1, 3, 8, 8))
    assert len(got) == 8 and len(gave) == 10
    for i, (last, before) in enumerate(got):
        assert last is gave[i + 1] and before is gave[i]


def test_widths_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="penultimate is 1000; it is a multiple of 24"):
        NASNet(4, 1000, 32, True, 0.5)
