"""EfficientNet and NASNet are the papers': scaling, blocks, cells, and what is left out in training."""

import math

import pytest
import torch
from torch import nn

from solutions.gpu.models import create, efficientnet
from solutions.gpu.models.efficientnet import SCALES, MBConv, SqueezeExcitation, StochasticDepth, scale_channels

# EfficientNet


def on_meta(name):
    with torch.device("meta"):
        return create(name)


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
