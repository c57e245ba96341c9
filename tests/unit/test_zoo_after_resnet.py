"""Wide ResNet, ResNeXt, SENet, DenseNet and MobileNet are the papers': what is new in each, and what it costs."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from solutions.gpu.models import NETWORKS, create
from solutions.gpu.models.densenet import DenseLayer, cifar_densenet, densenet
from solutions.gpu.models.mobilenet_v1 import MobileNetV1
from solutions.gpu.models.mobilenet_v2 import InvertedResidual, MobileNetV2
from solutions.gpu.models.network import count_multiply_adds, count_parameters
from solutions.gpu.models.residual import Bottleneck
from solutions.gpu.models.resnext import resnext
from solutions.gpu.models.senet import SEBottleneck, SqueezeExcitation, se_resnet
from solutions.gpu.models.wide_resnet import PreActivationBlock, cifar_wide_resnet, wide_resnet


def on_meta(name):
    with torch.device("meta"):
        return create(name).eval()


def parts(model, kind):
    return [m for m in model.modules() if isinstance(m, kind)]


def with_statistics(model):
    """The model in evaluation mode with batch norms that do something."""
    for norm in parts(model, nn.BatchNorm2d):
        for tensor in (norm.running_mean, norm.bias.data):
            tensor.normal_()
        for tensor in (norm.running_var, norm.weight.data):
            tensor.uniform_(0.5, 1.5)
    return model.eval()


def cost(name):
    """(parameters, multiply-adds) of a network of the zoo."""
    model = on_meta(name)
    return count_parameters(model), count_multiply_adds(model, NETWORKS[name].input)


# Wide ResNet


@pytest.mark.parametrize("name", [name for name in NETWORKS if name.startswith("cifar_wide_resnet")])
def test_the_depth_of_a_wide_resnet_counts_its_convolutions(name):
    depth, widening = map(int, name.removeprefix("cifar_wide_resnet").split("_"))
    assert len(parts(on_meta(name), nn.Conv2d)) == depth - (widening == 1)  # the first stage then needs no shortcut


def test_k_times_as_wide_costs_about_k_squared_as_much():
    (parameters, operations), (more_parameters, more_operations) = map(cost, ("cifar_wide_resnet40_1",
                                                                              "cifar_wide_resnet40_4"))
    assert more_parameters / parameters == pytest.approx(16, rel=0.03)
    assert more_operations / operations == pytest.approx(16, rel=0.03)


def test_nothing_stands_between_the_sums_of_a_wide_resnet():
    torch.manual_seed(0)
    block, x = PreActivationBlock(4, 4, 1), torch.randn(2, 4, 5, 6)
    nn.init.zeros_(block.conv2.weight)
    assert block(x).equal(x)
    block = with_statistics(PreActivationBlock(4, 8, 2))
    nn.init.zeros_(block.conv2.weight)
    torch.testing.assert_close(block(x), F.conv2d(F.relu(block.bn1(x)), block.shortcut.weight, stride=2))


def test_a_wide_bottleneck_is_twice_as_wide_inside_and_the_same_outside():
    for wide, narrow in zip(parts(on_meta("wide_resnet101_2"), Bottleneck), parts(on_meta("resnet101"), Bottleneck),
                            strict=True):
        assert wide.conv2.weight.shape[:2] == tuple(2 * n for n in narrow.conv2.weight.shape[:2])
        assert wide.conv3.weight.shape[0] == narrow.conv3.weight.shape[0]


# ResNeXt


def test_a_bottleneck_in_groups_adds_up_small_transformations():
    # Figure 3(a): each of the eight has its own 1×1, 3×3 and 1×1 convolution; their results are added.
    torch.manual_seed(0)
    block = with_statistics(Bottleneck(6, 32, 2, "B", stride_on="3x3", widening=2, groups=8))
    x, total = torch.randn(2, 6, 7, 8), 0

    def norm(layer, y, part):
        return F.batch_norm(y, layer.running_mean[part], layer.running_var[part], layer.weight[part], layer.bias[part])

    for i in range(8):
        part = slice(2 * i, 2 * i + 2)
        y = norm(block.bn1, F.conv2d(x, block.conv1.weight[part]), part).relu()
        y = norm(block.bn2, F.conv2d(y, block.conv2.weight[part], stride=2, padding=1), part).relu()
        total = total + F.conv2d(y, block.conv3.weight[:, part])
    torch.testing.assert_close(block(x), F.relu(block.bn3(total) + block.shortcut(x)), rtol=1e-4, atol=1e-4)


def test_groups_pay_for_the_width():
    (parameters, operations), (plain, plain_operations) = map(cost, ("resnext50_32x4d", "resnet50_v1_5"))
    assert 0.97 < parameters / plain < 1 and 1 < operations / plain_operations < 1.04
    widths = [block.conv2.weight.shape for block in parts(on_meta("resnext50_32x4d"), Bottleneck)]
    assert sorted(set(widths)) == [(128, 4, 3, 3), (256, 8, 3, 3), (512, 16, 3, 3), (1024, 32, 3, 3)]
    assert parts(on_meta("resnext101_64x4d"), Bottleneck)[0].conv2.weight.shape == (256, 4, 3, 3)


# SENet


def test_a_block_of_senet_is_resnets_with_each_map_times_one_number():
    torch.manual_seed(0)
    block, x = with_statistics(SEBottleneck(8, 32, 2, "B")), torch.randn(3, 8, 6, 6)
    maps = Bottleneck.residual(block, x)
    means = maps.mean(dim=(2, 3))                                  # (N, C)
    first, second = block.se.fc1, block.se.fc2
    gates = (F.linear(F.linear(means, first.weight[..., 0, 0], first.bias).relu(), second.weight[..., 0, 0],
                      second.bias)).sigmoid()
    torch.testing.assert_close(block(x), F.relu(maps * gates[..., None, None] + block.shortcut(x)))
    assert first.weight.shape[0] == 2 and 0 < gates.min() < gates.max() < 1


@pytest.mark.parametrize("depth", [50, 101, 152])
def test_squeeze_and_excitation_costs_little(depth):
    channels = [block.fc1.in_channels for block in parts(on_meta(f"se_resnet{depth}"), SqueezeExcitation)]
    weights = sum(2 * C * C // 16 for C in channels)
    biases = sum(C // 16 + C for C in channels)
    (parameters, operations), (plain, plain_operations) = map(cost, (f"se_resnet{depth}", f"resnet{depth}"))
    assert parameters - plain == weights + biases and operations - plain_operations == weights
    assert depth != 50 or round(weights / 1e6, 1) == 2.5           # section 4: about 2.5 million more, about 10 %
    # What the paper counts beyond is no more than one operation each to pool, to scale and to add every value.
    values = sum(C * (56 * 256 // C)**2 for C in channels)
    published = NETWORKS[f"se_resnet{depth}"].multiply_adds
    assert operations < published.value - published.step / 2 and published.value < operations + 3 * values


# DenseNet


def test_a_dense_layer_keeps_what_it_was_given():
    torch.manual_seed(0)
    for bottleneck in (False, True):
        layer, x = with_statistics(DenseLayer(6, 4, bottleneck)), torch.randn(2, 6, 5, 7)
        y = layer(x)
        assert y.shape == (2, 10, 5, 7) and y[:, :6].equal(x)
        new = layer.conv1(F.relu(layer.norm1(x)))
        if bottleneck:
            assert new.shape[1] == 16
            new = layer.conv2(F.relu(layer.norm2(new)))
        torch.testing.assert_close(y[:, 6:], new)


def test_every_layer_of_a_dense_block_sees_all_before_it():
    for name, k in (("densenet169", 32), ("densenet161", 48), ("cifar_densenet40_12", 12)):
        for block_name, block in on_meta(name).features.named_children():
            if "denseblock" in block_name:
                seen = [layer.norm1.num_features for layer in block]
                assert seen == [seen[0] + k * i for i in range(len(block))], (name, block_name)


def test_only_bottlenecks_come_with_compression():
    for name, kept in (("densenet201", 0.5), ("cifar_densenet_bc100_12", 0.5), ("cifar_densenet40_12", 1)):
        convs = [layer.conv for key, layer in on_meta(name).features.named_children() if "transition" in key]
        assert convs and all(conv.out_channels == kept * conv.in_channels for conv in convs), name


# MobileNet


def test_the_layers_of_mobilenet_cost_what_table_2_says():
    # Per cent of multiply-adds and of parameters.  The paper prints 1.19 for 1.91; its column adds up to 99.29 so.
    table = {"1x1": (94.86, 74.59), "depthwise": (3.06, 1.06), "3x3": (1.91, 0.02), "linear": (0.18, 24.33)}
    model = on_meta("mobilenet_v1")
    sums, hooks = {key: [0, 0] for key in table}, []

    def add(layer, _, y):
        kind = ("linear" if isinstance(layer, nn.Linear) else "depthwise" if layer.groups > 1
                else "1x1" if layer.kernel_size == (1, 1) else "3x3")
        sums[kind][0] += layer.weight[0].numel() * y[0].numel()
        sums[kind][1] += layer.weight.numel()

    for layer in parts(model, (nn.Conv2d, nn.Linear)):
        hooks.append(layer.register_forward_hook(add))
    model(torch.empty(1, 3, 224, 224, device="meta"))
    assert len(hooks) == 28                                        # section 3.2: 28 layers
    totals = [sum(column) for column in zip(*sums.values(), strict=True)]
    for kind, row in table.items():
        assert [100 * n / total for n, total in zip(sums[kind], totals, strict=True)] == pytest.approx(row, abs=0.02)


def test_without_separable_convolutions_mobilenet_costs_what_table_4_says():
    first, *convs = parts(on_meta("mobilenet_v1"), nn.Conv2d)
    size, parameters, operations = 112, first.weight.numel() + 1024 * 1000, first.weight.numel() * 112**2
    for depthwise, pointwise in zip(convs[::2], convs[1::2], strict=True):
        size //= depthwise.stride[0]
        weights = 9 * pointwise.weight.numel()
        parameters, operations = parameters + weights, operations + weights * size**2
    assert round(operations / 1e6) == 4866                         # without the linear layer's million
    assert round(parameters / 1e6, 1) == 29.3


def test_the_multipliers_cut_the_cost_to_about_the_square():
    full, (_, narrow), (_, low) = map(cost, ("mobilenet_v1", "mobilenet_v1_0_5", "mobilenet_v1_at_128"))
    assert 0.5**2 < narrow / full[1] < 0.5**2 + 0.02
    assert low / full[1] == pytest.approx((128 / 224)**2, rel=0.01)


def test_inverted_residuals_are_wide_inside_and_linear_at_the_end():
    torch.manual_seed(0)
    block = with_statistics(InvertedResidual(4, 8, 2, 6))
    widen, depthwise, narrow, _ = block.conv
    assert widen[0].out_channels == depthwise[0].groups == depthwise[0].in_channels == narrow.in_channels == 24
    x = 10 * torch.randn(2, 4, 6, 6)
    assert block(x).min() < 0 and depthwise(widen(x)).min() == 0 and depthwise(widen(x)).max() == 6
    assert len(InvertedResidual(4, 4, 1, 1).conv) == 3             # nothing to widen


def test_shortcuts_join_the_narrow_ends_where_the_shape_stays():
    blocks = parts(on_meta("mobilenet_v2"), InvertedResidual)
    assert [block.has_shortcut for block in blocks] == [False] + [i > 0 for n in (2, 3, 4, 3, 3, 1) for i in range(n)]
    block, x = InvertedResidual(8, 8, 1, 6), torch.randn(2, 8, 5, 4)
    nn.init.zeros_(block.conv[-1].weight)
    assert block(x).equal(x)


def test_the_shift_at_a_narrow_end_is_taken_away_by_the_next_batch_norm():
    # Between them are only sums and 1×1 convolutions, so all values of a map are shifted alike: no gradient.
    torch.manual_seed(0)
    model = MobileNetV2(10, width=0.35).double().train()
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    F.cross_entropy(model(x), torch.arange(4)).backward()
    ends = {block.conv[-1].bias for block in parts(model, InvertedResidual)}
    assert len(ends) == 17 and max(p.grad.abs().max() for p in ends) < 1e-12
    assert min(p.grad.abs().max() for p in model.parameters() if p not in ends) > 1e-8


def test_the_last_convolution_of_mobilenet_v2_is_never_narrower():
    with torch.device("meta"):
        widths = [MobileNetV2(width=width).classifier[1].in_features for width in (0.35, 1.0, 1.4)]
        assert widths == [1280, 1280, 1792]
        assert [MobileNetV1(width=width).fc.in_features for width in (0.25, 0.75)] == [256, 768]


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda: cifar_wide_resnet(28 + 1, 10), "depth is 29; it is 6n \\+ 4, such as .*28"),
    (lambda: wide_resnet(34), "depth is 34; there are 50 and 101"),
    (lambda: resnext(152, 32, 4), "depth is 152; the paper has 50 and 101"),
    (lambda: resnext(50, 32, 3), "32 groups of 3 have 96 channels; their number is a multiple of 64"),
    (lambda: se_resnet(34), "depth is 34; the paper has 50, 101 and 152"),
    (lambda: densenet(120), "depth is 120; there are 121, 161, 169, 201"),
    (lambda: cifar_densenet(41, 12, bottleneck=False), "depth is 41; it is 3n \\+ 4 without"),
    (lambda: cifar_densenet(43, 12, bottleneck=True), "depth is 43; it is 6n \\+ 4 with"),
    (lambda: Bottleneck(4, 16, 1, "B", stride_on="5x5"), "stride_on is '5x5'")])
def test_bad_input_is_one_clear_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        call()
    assert "\n" not in str(error.value)
