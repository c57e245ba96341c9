"""The zoo's networks are the papers': their counts, sizes and blocks; and they can be used in all the usual ways."""

import functools
import itertools
import math
import os
import re
import subprocess
import sys
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from autograder.sources import ROOT
from solutions.gpu.models import NETWORKS, __main__, cifar_resnet, create, lenet, residual, resnet, vgg, wide_resnet
from solutions.gpu.models.alexnet import LocalResponseNorm
from solutions.gpu.models.densenet import DenseNet
from solutions.gpu.models.efficientnet import EfficientNet
from solutions.gpu.models.googlenet import INCEPTIONS
from solutions.gpu.models.mobilenet_v1 import MobileNetV1
from solutions.gpu.models.mobilenet_v2 import MobileNetV2
from solutions.gpu.models.nasnet import NASNet
from solutions.gpu.models.network import Network, Published, count_multiply_adds, count_parameters
from solutions.gpu.models.senet import SEBottleneck

# Quick on a processor, with all that the large ones have, for images of 32×32: (how to make it, channels of the image).
SMALL = {
    "lenet": (lenet.LeNet, 1),
    "lenet of 1998": (lenet.HistoricLeNet, 1),
    "googlenet": (partial(create, "googlenet_no_heads", num_classes=10), 3),
    "bottlenecks": (partial(resnet.ResNet, residual.Bottleneck, (1, 1, 1, 1), 256, num_classes=10), 3),
    "padded shortcuts": (partial(cifar_resnet.cifar_resnet, 8), 3),
    "plain": (partial(cifar_resnet.cifar_resnet, 8, shortcut=None), 3),
    "wide resnet": (partial(wide_resnet.cifar_wide_resnet, 10, 2), 3),
    "groups": (partial(resnet.ResNet, partial(residual.Bottleneck, widening=2, groups=8), (1, 1, 1, 1), 64, 10), 3),
    "squeeze and excitation": (partial(resnet.ResNet, SEBottleneck, (1, 1, 1, 1), 64, 10), 3),
    "densenet": (partial(DenseNet, (2, 1, 1, 2), 8, 10), 3),
    "densenet for cifar": (partial(DenseNet, (2, 1, 1), 8, 10, bottleneck=False, large=False), 3),
    "mobilenet_v1": (partial(MobileNetV1, 10, width=0.25), 3),
    "mobilenet_v2": (partial(MobileNetV2, 10, width=0.35), 3),
    "efficientnet": (partial(EfficientNet, 0.25, 0.3, 0.2, num_classes=10), 3),
    "nasnet": (partial(NASNet, 1, 48, 8, False, 0.0, num_classes=10), 3),
    "enet": (partial(create, "enet_classifier", num_classes=10), 3),
}
LARGE = ["alexnet", "zfnet", "vgg11_lrn"]
small = pytest.mark.parametrize("name", SMALL)


def make(name):
    """A small network in evaluation mode, and two images for it."""
    torch.manual_seed(0)
    create_small, C = SMALL[name]
    return create_small().eval(), torch.randn(2, C, 32, 32)


@functools.cache
def blank(name):
    """The network without weights, on the meta device, in evaluation mode; not to be changed."""
    return on_meta(name).eval()


def on_meta(name, **arguments):
    with torch.device("meta"):
        return create(name, **arguments)


def image(name, N=2, C=None, size=None):
    """Images for the network on the meta device, of its usual size or of another."""
    channels, *usual = NETWORKS[name].input
    return torch.empty(N, C or channels, *(size or usual), device="meta")


def outputs(model, x):
    """The shape of what each layer gives, without N, and the layer: a list in the order of the computation."""
    seen = []
    hooks = [m.register_forward_hook(lambda m, _, y: seen.append((tuple(y.shape[1:]), m)))
             for m in model.modules() if not list(m.children())]
    model.eval()(x)
    for hook in hooks:
        hook.remove()
    return seen


# Counts


@pytest.fixture(scope="module")
def counts():
    """(parameters, multiply-adds) of every network."""
    return {name: (count_parameters(blank(name)), count_multiply_adds(blank(name), NETWORKS[name].input))
            for name in NETWORKS}


def test_every_count_is_the_published_one_or_says_why_not(counts):
    for name, network in NETWORKS.items():
        for count, published in zip(counts[name], (network.parameters, network.multiply_adds), strict=True):
            if published:
                assert published.agrees(count) is not bool(published.but), (name, count, published)
    known = [name for name, network in NETWORKS.items() if network.parameters and network.parameters.exact]
    assert len(known) == 46


def test_published_numbers_agree_to_the_digits_that_are_printed():
    assert Published("0.27M", "").agrees(269_722) and not Published("0.27M", "").agrees(275_001)
    assert Published("60,000", "").agrees(60_000) and not Published("60,000", "").agrees(60_001)
    assert Published("1.814G", "").agrees(1_814_073_344) and not Published("1.813G", "").agrees(1_814_073_344)


def test_multiply_adds_are_weights_times_places(counts):
    for name in ("lenet", "lenet_1998", "alexnet", "zfnet_wide", "vgg16_c", "googlenet", "resnet50", "cifar_resnet20",
                 "cifar_wide_resnet16_8", "resnext50_32x4d", "se_resnet50", "densenet121", "mobilenet_v2"):
        expected = sum(layer.weight[0].numel() * torch.Size(shape).numel()
                       for shape, layer in outputs(blank(name), image(name, N=1)) if hasattr(layer, "weight")
                       and not isinstance(layer, nn.BatchNorm2d))
        assert counts[name][1] == expected, name


def test_counting_leaves_the_mode_as_it_was():
    model = lenet.LeNet()
    for training in (True, False):
        count_multiply_adds(model.train(training), (1, 32, 32))
        assert model.training is training


def test_the_papers_tables_of_parameters(counts):
    vgg_table_2 = {"vgg11": 133, "vgg11_lrn": 133, "vgg13": 133, "vgg16_c": 134, "vgg16": 138, "vgg19": 144}
    assert {name: round(counts[name][0] / 1e6) for name in vgg_table_2} == vgg_table_2
    assert blank("vgg16").classifier[0].weight.numel() == 102_760_448
    assert counts["alexnet"][0] == 60_965_224 and counts["alexnet_one_tower"][0] == 62_378_344
    assert count_parameters(blank("alexnet").features[0]) == 34_944
    assert counts["lenet"][0] == 61_706
    for depth in (20, 32, 44, 56, 110):  # shortcuts that are padded with zeros cost nothing
        assert counts[f"cifar_resnet{depth}"] == counts[f"cifar_plain{depth}"]
    with torch.device("meta"):
        assert count_parameters(resnet.resnet(34, shortcut="A")) == counts["plain34"][0]


def test_lenets_layers_have_the_parameters_and_connections_of_the_paper():
    model = blank("lenet_1998")
    layers = {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164, "output": 0}
    assert {name: count_parameters(getattr(model, name)) for name in layers} == layers
    biases = 6 * 28**2 + 16 * 10**2 + 120 + 84
    subsampling = 5 * (6 * 14**2 + 16 * 5**2)  # four pixels and a bias for each value
    assert count_multiply_adds(model, (1, 32, 32)) + biases + subsampling + model.output.codes.numel() == 340_908


def test_googlenets_table_1():
    # In K = 1024, as the table seems to count; its rows of parameters for 4c and 5a are not what its sizes give.
    table = {"3a": (159, 128), "3b": (380, 304), "4a": (364, 73), "4b": (437, 88), "4d": (580, 119), "4e": (840, 170),
             "5b": (1388, 71)}
    inceptions, channels, size = blank("googlenet").inceptions, 192, {"3": 28, "4": 14, "5": 7}
    for name, module in inceptions.items():
        if name in table:
            parameters, operations = table[name]
            assert count_parameters(module) / 1024 == pytest.approx(parameters, rel=0.02), name
            counted = count_multiply_adds(module, (channels, size[name[0]], size[name[0]]))
            assert counted / 1e6 == pytest.approx(operations, rel=0.02), name
        one, _, three, _, five, project = INCEPTIONS[name]
        channels = one + three + five + project
    assert channels == 1024


# Sizes


@pytest.mark.parametrize(("name", "sizes"), [
    ("lenet", [(6, 28), (6, 14), (16, 10), (16, 5)]), ("lenet_1998", [(6, 28), (6, 14), (16, 10), (16, 5)]),
    ("alexnet", [(96, 55), (96, 27), (256, 27), (256, 13), (384, 13), (256, 13), (256, 6)]),
    ("alexnet_torchvision", [(64, 55), (64, 27), (192, 27), (192, 13), (384, 13), (256, 13), (256, 6)]),
    ("zfnet", [(96, 110), (96, 55), (256, 26), (256, 13), (384, 13), (256, 13), (256, 6)]),
    ("zfnet_wide", [(96, 110), (96, 55), (256, 26), (256, 13), (512, 13), (1024, 13), (512, 13), (512, 6)]),
    ("vgg16", [(64, 224), (64, 112), (128, 112), (128, 56), (256, 56), (256, 28), (512, 28), (512, 14), (512, 7)]),
    ("resnet50", [(64, 112), (64, 56), (256, 56), (512, 28), (1024, 14), (2048, 7)]),
    ("plain34", [(64, 112), (64, 56), (128, 28), (256, 14), (512, 7)]),
    ("cifar_resnet20", [(16, 32), (32, 16), (64, 8)]),
    ("cifar_wide_resnet28_10", [(16, 32), (160, 32), (320, 16), (640, 8)]),
    ("wide_resnet50_2", [(64, 112), (64, 56), (128, 56), (256, 56), (256, 28), (512, 28), (512, 14), (1024, 7),
                         (2048, 7)]),
    ("resnext50_32x4d", [(64, 112), (64, 56), (128, 56), (256, 56), (256, 28), (512, 28), (512, 14), (1024, 7),
                         (2048, 7)]),
    ("densenet121", [(64, 112), (64, 56), (128, 56), (32, 56), (128, 28), (256, 14), (512, 7), (1024, 7)]),
    ("densenet161", [(96, 112), (96, 56), (192, 28), (384, 14), (1056, 7), (2208, 7)]),
    ("cifar_densenet40_12", [(16, 32), (160, 16), (304, 8), (448, 8)]),
    ("cifar_densenet_bc100_12", [(24, 32), (108, 16), (150, 8), (342, 8)]),
    ("mobilenet_v1", [(32, 112), (64, 112), (64, 56), (128, 56), (256, 28), (512, 14), (512, 7), (1024, 7)]),
    ("mobilenet_v2", [(32, 112), (16, 112), (96, 112), (96, 56), (24, 56), (32, 28), (64, 14), (96, 14), (160, 7),
                      (320, 7), (1280, 7)]),
    ("inception_v3", [(32, 149), (32, 147), (64, 147), (64, 73), (80, 73), (192, 71), (192, 35), (96, 17), (192, 8)]),
    ("enet_classifier", [(16, 112), (64, 56), (128, 56), (256, 28), (512, 14), (1024, 7)]),
    ("efficientnet_b0", [(32, 112), (16, 112), (24, 56), (40, 28), (80, 14), (112, 14), (192, 7), (320, 7),
                         (1280, 7)])])
def test_the_maps_shrink_as_in_the_papers_table(name, sizes):
    seen = [shape for shape, _ in outputs(blank(name), image(name)) if len(shape) == 3]
    shapes = iter(seen)
    assert all((C, size, size) in shapes for C, size in sizes), seen  # in this order


def test_googlenets_modules_have_the_sizes_of_table_1():
    model = on_meta("googlenet")
    sizes = {}
    for name, module in model.eval().inceptions.items():
        module.register_forward_hook(lambda m, x, y, name=name: sizes.update({name: tuple(y.shape[1:])}))
    model(image("googlenet"))
    assert sizes == {"3a": (256, 28, 28), "3b": (480, 28, 28), "4a": (512, 14, 14), "4b": (512, 14, 14),
                     "4c": (512, 14, 14), "4d": (528, 14, 14), "4e": (832, 14, 14), "5a": (832, 7, 7),
                     "5b": (1024, 7, 7)}


def test_depth_is_the_number_of_layers_with_weights_on_the_way_through():
    for name in NETWORKS:
        if depth := re.fullmatch(r"(?:cifar_|se_)?(?:plain|resnet|vgg|resnext|densenet_?(?:bc)?|wide_resnet(?=50|101))"
                                 r"(\d+).*", name):
            layers = [m for path, m in blank(name).named_modules()
                      if isinstance(m, (nn.Conv2d, nn.Linear)) and "shortcut" not in path and ".se." not in path]
            assert len(layers) == int(depth[1]), name


# Uses


@pytest.mark.parametrize("family", [["lenet", "lenet_1998"], ["alexnet", "alexnet_one_tower", "alexnet_torchvision"],
                                    ["zfnet", "zfnet_wide"], ["vgg11", "vgg11_lrn", "vgg16_c_bn"],
                                    ["googlenet", "googlenet_torchvision"], ["plain18", "resnet18", "resnet50_v1_5"],
                                    ["cifar_plain20", "cifar_resnet110"],
                                    ["cifar_wide_resnet40_1", "wide_resnet50_2"], ["resnext50_32x4d"], ["se_resnet50"],
                                    ["densenet121", "cifar_densenet40_12", "cifar_densenet_bc100_12"],
                                    ["mobilenet_v1_0_25", "mobilenet_v2", "mobilenet_v2_1_4"],
                                    ["inception_v3", "inception_v3_no_heads"], ["efficientnet_b0", "efficientnet_b5"],
                                    ["nasnet_mobile", "nasnet_cifar"], ["enet_classifier"]])
def test_any_number_of_classes_and_channels(family):
    for name in family:
        assert on_meta(name, num_classes=7, in_channels=2).eval()(image(name, N=3, C=2)).shape == (3, 7)


@pytest.mark.parametrize(("name", "least"), [("alexnet", 67), ("alexnet_torchvision", 63), ("zfnet", 47), ("vgg11", 32),
                                             ("googlenet", 31), ("googlenet_torchvision", 15), ("resnet50", 1),
                                             ("cifar_resnet20", 1), ("cifar_wide_resnet16_8", 1),
                                             ("resnext50_32x4d", 1), ("se_resnet50", 1), ("densenet121", 29),
                                             ("cifar_densenet40_12", 4), ("mobilenet_v1", 1), ("mobilenet_v2", 1),
                                             ("inception_v3", 75), ("efficientnet_b0", 1), ("nasnet_mobile", 3),
                                             ("nasnet_cifar", 1), ("enet_classifier", 31)])
def test_images_of_other_sizes_work_from_the_least_on(name, least):
    for size in ((least, least + 40), (least + 301, least)):
        assert blank(name)(image(name, N=1, size=size)).shape[0] == 1
    if least > 1:
        with pytest.raises(RuntimeError, match="too small|can't be greater"):
            blank(name)(image(name, N=1, size=(least - 1, 224)))


@small
def test_half_precision_works(name):
    model, x = make(name)
    exact = model(x)
    for dtype in (torch.bfloat16, torch.float16):
        y = model.to(dtype)(x.to(dtype))
        assert y.dtype == dtype
        torch.testing.assert_close(y.float(), exact, rtol=0.03, atol=0.03 * exact.abs().max().item())


@pytest.mark.parametrize("name", LARGE)
def test_half_precision_goes_all_the_way_through_large_networks(name):
    assert on_meta(name).bfloat16()(image(name).bfloat16()).dtype == torch.bfloat16


@small
def test_channels_last_gives_the_same_and_stays_so(name):
    model, x = make(name)
    y = model(x)
    model, x = (v.to(memory_format=torch.channels_last) for v in (model, x))
    maps = []
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d, LocalResponseNorm, lenet.Subsample,
                               residual.ResidualBlock)):
            module.register_forward_hook(lambda m, x, y: maps.append(y))
    torch.testing.assert_close(model(x), y, rtol=1e-3, atol=1e-3 * y.abs().max().item())
    assert len(maps) >= 2 and all(y.is_contiguous(memory_format=torch.channels_last) for y in maps)


# Those left out have nothing that the others have not, and take seconds.
SLOW_TO_COMPILE = ("bottlenecks", "groups", "mobilenet_v1", "mobilenet_v2", "nasnet", "enet")


@pytest.mark.parametrize("name", [name for name in SMALL if name not in SLOW_TO_COMPILE])
def test_networks_compile_into_one_graph(name):
    torch._dynamo.reset()
    model, x = make(name)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model, backend="eager", fullgraph=True)(x), model(x))


@pytest.mark.parametrize("name", LARGE)
def test_large_networks_compile_into_one_graph(name):
    torch._dynamo.reset()
    with torch.no_grad():
        assert torch.compile(blank(name), backend="eager", fullgraph=True)(image(name)).shape == (2, 1000)


# MobileNet v2 has shifts without gradient; see test_zoo_after_resnet.py.
@pytest.mark.parametrize("name", [name for name in SMALL if name not in ("googlenet", "mobilenet_v2")])
def test_every_parameter_gets_a_gradient(name):
    model, x = make(name)
    F.cross_entropy(model.train()(x), torch.tensor([0, 2])).backward()
    for key, p in model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all() and p.grad.any(), key


# Parts


@pytest.mark.parametrize("towers", [1, 2])
def test_local_response_norm_is_pytorchs_in_each_tower(towers):
    x = 30 * torch.randn(2, 8, 3, 4, dtype=torch.float64)
    oracle = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)  # alpha / 5 is the paper's
    expected = torch.cat([oracle(half) for half in x.chunk(towers, dim=1)], dim=1)
    torch.testing.assert_close(LocalResponseNorm(towers)(x), expected, rtol=1e-5, atol=1e-5)


def test_local_response_norm_of_large_values_is_finite_in_float16():
    y = LocalResponseNorm()(torch.full((1, 8, 2, 2), 1000.0, dtype=torch.float16))
    assert y.dtype == torch.float16 and y.isfinite().all() and (y > 9).all()


def test_a_tower_of_alexnet_sees_its_own_maps_between_conv3_and_fc6_and_between_conv1_and_conv3():
    convs = [layer for layer in blank("alexnet").features if isinstance(layer, nn.Conv2d)]
    assert [conv.groups for conv in convs] == [1, 2, 1, 2, 2]
    assert [conv.weight.shape[1] for conv in convs] == [3, 48, 256, 192, 192]
    norm, x = LocalResponseNorm(towers=2), torch.randn(1, 96, 2, 2)
    other = torch.cat([x[:, :48], torch.randn(1, 48, 2, 2)], dim=1)
    assert norm(x)[:, :48].equal(norm(other)[:, :48])


def test_c3_is_a_dense_convolution_where_table_i_leaves_connections_out():
    torch.manual_seed(0)
    conv, x = lenet.TableConv(), torch.randn(2, 6, 14, 14)
    rows = [*lenet.THREE, *lenet.FOUR, tuple(range(6))]
    circle = [{i, (i + 1) % 6, (i + 2) % 6} for i in range(6)] + [{(i + j) % 6 for j in range(4)} for i in range(6)]
    assert [set(row) for row in rows] == [*circle, {0, 1, 3, 4}, {1, 2, 4, 5}, {0, 2, 3, 5}, set(range(6))]
    weight = torch.zeros(16, 6, 5, 5)
    kernels = [kernel for part in (conv.three, conv.four, conv.six) for kernel in part.weight.detach()]
    for i, (row, kernel) in enumerate(zip(rows, kernels, strict=True)):
        weight[i, list(row)] = kernel
    bias = torch.cat([conv.three.bias, conv.four.bias, conv.six.bias])
    torch.testing.assert_close(conv(x), F.conv2d(x, weight, bias))


def test_subsampling_adds_four_pixels_and_the_squashing_is_1_at_1():
    layer = lenet.Subsample(2)
    with torch.no_grad():
        layer.coefficient.copy_(torch.tensor([2.0, -1.0]).view(2, 1, 1))
        layer.bias.copy_(torch.tensor([0.5, 0.0]).view(2, 1, 1))
    y = layer(torch.arange(8.0).view(1, 2, 2, 2))
    assert y.flatten().tolist() == [2 * (0 + 1 + 2 + 3) + 0.5, -(4 + 5 + 6 + 7)]
    assert lenet.Squash()(torch.tensor([1.0, -1.0])).tolist() == pytest.approx([1, -1], abs=1e-4)


def test_the_code_that_f6_draws_wins_at_distance_0():
    output = lenet.Distances(13)
    scores = output(output.codes)
    assert scores.argmax(dim=1).tolist() == list(range(13)) and (scores.diag() == 0).all()
    assert output.codes.abs().eq(1).all()
    assert scores.masked_fill(torch.eye(13, dtype=bool), -100).max() <= -4 * 5  # two differ in 5 pixels or more
    assert lenet.Distances(13).codes.equal(output.codes)


@pytest.mark.parametrize(("shortcut", "shape"), [("A", (4, 8, 2)), ("B", (4, 8, 2)), ("A", (4, 4, 1))])
def test_a_block_that_computes_nothing_passes_its_shortcut_on(shortcut, shape):
    block = residual.BasicBlock(*shape, shortcut).eval()
    nn.init.zeros_(block.bn2.weight)
    x = torch.randn(2, 4, 5, 6)
    expected = x[:, :, ::shape[2], ::shape[2]]
    if shortcut == "B":
        conv, norm = block.shortcut
        expected = norm(torch.einsum("nchw,oc->nohw", expected, conv.weight[:, :, 0, 0]))
    elif shape[1] > 4:
        expected = torch.cat([expected, torch.zeros(2, 4, 3, 3)], dim=1)
    torch.testing.assert_close(block(x), expected.relu(), rtol=1e-4, atol=1e-4)


def test_a_plain_block_passes_nothing_on():
    block = residual.BasicBlock(4, 4, 1, None).eval()
    nn.init.zeros_(block.bn2.weight)
    assert not block(torch.randn(2, 4, 5, 6)).any() and not [k for k in block.state_dict() if "shortcut" in k]


def test_the_stride_of_a_bottleneck_is_on_the_1x1_or_on_the_3x3():
    for stride_on, strides in (("1x1", (2, 1)), ("3x3", (1, 2))):
        with torch.device("meta"):
            block = resnet.resnet(50, stride_on=stride_on).conv3_x[0]
        assert (block.conv1.stride[0], block.conv2.stride[0], block.conv3.stride[0]) == (*strides, 1)
        assert block.shortcut[0].stride == (2, 2)


def test_convolutions_in_front_of_batch_norm_have_no_bias_except_in_vgg():
    for name in NETWORKS:
        layers = [m for m in blank(name).modules() if not list(m.children())]
        if any(isinstance(m, nn.BatchNorm2d) for m in layers):
            has = {conv.bias is not None for conv, norm in itertools.pairwise(layers)
                   if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)}
            assert has == {name.startswith("vgg")}, name


def test_torchvisions_googlenet_has_a_3x3_where_the_paper_has_a_5x5():
    for name, size in (("googlenet", (5, 5)), ("googlenet_torchvision", (3, 3))):
        assert {module.five[1].conv.kernel_size for module in blank(name).inceptions.values()} == {size}


def test_googlenet_has_two_more_outputs_while_it_trains():
    model, x = on_meta("googlenet", num_classes=5), image("googlenet")
    logits = model(x)
    assert [y.shape for y in logits] == [(2, 5)] * 3
    torch.cat(logits).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.eval()(x).shape == (2, 5)
    without = on_meta("googlenet_no_heads")
    assert without.training and without(image("googlenet")).shape == (2, 1000)
    assert not [key for key in without.state_dict() if key.startswith("aux")]


def test_inception_v3s_modules_have_the_sizes_of_the_paper():
    model = on_meta("inception_v3")
    sizes = {}
    for name, module in model.eval().named_children():
        if name.startswith("Mixed"):
            module.register_forward_hook(lambda m, x, y, name=name: sizes.update({name[-2:]: tuple(y.shape[1:])}))
    model(image("inception_v3"))
    assert sizes == {"5b": (256, 35, 35), "5c": (288, 35, 35), "5d": (288, 35, 35), "6a": (768, 17, 17),
                     "6b": (768, 17, 17), "6c": (768, 17, 17), "6d": (768, 17, 17), "6e": (768, 17, 17),
                     "7a": (1280, 8, 8), "7b": (2048, 8, 8), "7c": (2048, 8, 8)}


def test_inception_v3_has_one_more_output_while_it_trains():
    model = on_meta("inception_v3", num_classes=5)
    for size in (107, 140, 299):
        assert [y.shape for y in model(image("inception_v3", size=(size, size + 1)))] == [(2, 5)] * 2
    torch.cat(model(image("inception_v3"))).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.eval()(image("inception_v3")).shape == (2, 5)
    without = on_meta("inception_v3_no_heads")
    assert without(image("inception_v3")).shape == (2, 1000)
    assert not [key for key in without.state_dict() if "Aux" in key]


def test_first_weights_are_those_of_the_papers():
    torch.manual_seed(0)
    model = resnet.ResNet(residual.BasicBlock, (1, 1, 1, 1), 64)
    assert model.conv5_x[0].conv1.weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)
    assert not model.fc.bias.any() and (model.bn1.weight == 1).all()
    model = create("alexnet", num_classes=2)
    layers = [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    assert [layer.bias.unique().tolist() for layer in layers] == [[0], [1], [0], [1], [1], [1], [1], [0]]
    assert {round(layer.weight[:2].std().item(), 3) for layer in layers} == {0.01}
    model = create("lenet_1998")
    assert 2.3 / 400 < model.c5.weight.abs().max() <= 2.4 / 400 and model.c3.three.weight.abs().max() <= 2.4 / 25


@small
def test_the_first_loss_is_that_of_a_guess(name):
    model, x = make(name)
    loss = F.cross_entropy(model.train()(x), torch.tensor([3, 7])).item()
    assert loss == pytest.approx(math.log(10), abs=0.3)  # two images


def test_the_same_seed_makes_the_same_network():
    for name in ("lenet", "lenet_1998", "cifar_resnet20"):
        first, second = (torch.manual_seed(3) and create(name) for _ in range(2))
        assert all(a.equal(b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True))


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda: create("resnet19"), "no network 'resnet19'; did you mean .*resnet18"),
    (lambda: create("?"), r"no network '\?'; there are lenet, "),
    (lambda: resnet.resnet(19), "depth is 19; the paper has 18, 34, 50, 101, 152"),
    (lambda: resnet.resnet(18, shortcut="D"), "shortcut is 'D'"),
    (lambda: resnet.resnet(50, stride_on="5x5"), "stride_on is '5x5'"),
    (lambda: cifar_resnet.cifar_resnet(21), "depth is 21; it is 6n \\+ 2"),
    (lambda: vgg.vgg("F"), "configuration is 'F'; the paper has A, A-LRN, B, C, D, E"),
    (lambda: create("lenet")(torch.ones(1, 1, 28, 28)), r"shape \(1, 1, 28, 28\).*\(N, C, 32, 32\)"),
    (lambda: create("lenet_1998")(torch.ones(1, 32, 32)), r"shape \(1, 32, 32\).*\(N, C, 32, 32\)")])
def test_bad_input_is_one_clear_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        call()
    assert "\n" not in str(error.value)


# The table


def test_the_command_prints_the_table():
    done = subprocess.run([sys.executable, "-m", "solutions.gpu.models", "resnet18", "cifar_resnet20"], cwd=ROOT,
                          capture_output=True, encoding="utf-8", env=os.environ | {"PYTHONIOENCODING": "utf-8"})
    assert done.returncode == 0, done.stderr
    head, first, second, *_ = done.stdout.splitlines()
    assert re.split(r"  +", first) == ["resnet18", "3×224×224", "11,689,512", "11,689,512", "torchvision", "0",
                                       "1,814,073,344", "1.814G", "torchvision", "0"]
    assert re.split(r"  +", second) == ["cifar_resnet20", "3×32×32", "269,722", "0.27M", "paper, table 6", "0",
                                        "40,551,040"]
    assert head.startswith("network")


def test_the_command_says_which_networks_there_are():
    with pytest.raises(SystemExit, match="no network 'lenet6'; there are lenet, lenet_1998, alexnet"):
        __main__.main(["lenet", "lenet6"])


@pytest.mark.parametrize(("published", "code", "shown"), [
    (Published("61,706", "us"), 0, "61,706  us  0"), (Published("61,707", "us"), 1, "61,707  us  -1 !"),
    (Published("0.07M", "us"), 1, "0.07M  us  -11.8 % !"),
    (Published("0.07M", "us", but="it is"), 0, "0.07M  us  -11.8 % [1]")])
def test_the_command_fails_where_a_count_differs_without_a_reason(monkeypatch, capsys, published, code, shown):
    monkeypatch.setitem(NETWORKS, "lenet", Network(lenet.LeNet, (1, 32, 32), published))
    assert __main__.main(["lenet"]) == code
    said = capsys.readouterr().out
    assert shown in re.sub(r"  +", "  ", said)
    assert ("no reason given: lenet." in said) is bool(code)
    assert ("[1] it is." in said) is bool(published.but)
