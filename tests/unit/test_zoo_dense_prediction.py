"""FCN and ENet give logits for every pixel: what they take over, where their maps lie, and what they are made of."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from solutions.gpu.models import NETWORKS, __main__, create, fcn, initialise, residual, resnet, vgg
from solutions.gpu.models.enet import Bottleneck, Downsampling, Initial, Upsampling
from solutions.gpu.models.fcn import FCN, ResNetBackbone, Upsample, VGGBackbone, as_convolution
from solutions.gpu.models.network import count_multiply_adds, count_parameters

SEGMENTATION = [name for name, network in NETWORKS.items() if network.segmentation]


def on_meta(name, **arguments):
    with torch.device("meta"):
        return create(name, **arguments)


def tiny_vgg(widths=(4, 6, 6, 8, 8), fc=(16, 12)):
    """A VGG network of five layers and fc6 to fc8, for 5 classes, in evaluation mode."""
    with torch.device("meta"):
        model = vgg.vgg("A")
    model.features = vgg.make_features(tuple(v for width in widths for v in (width, "pool")), 3, batch_norm=False)
    model.classifier = nn.Sequential(nn.Linear(widths[-1] * 49, fc[0]), nn.ReLU(), nn.Dropout(0.5),
                                     nn.Linear(*fc), nn.ReLU(), nn.Dropout(0.5), nn.Linear(fc[1], 5))
    initialise.he(model)
    for layer in model.modules():
        if getattr(layer, "bias", None) is not None:
            nn.init.normal_(layer.bias, std=0.1)
    return model.eval()


def tiny_resnet():
    return resnet.ResNet(residual.BasicBlock, (1, 1, 1, 1), 64).eval()


def tiny_fcn(stride, kind="vgg"):
    """An FCN for 3 classes whose scores are not 0, in evaluation mode."""
    torch.manual_seed(0)
    backbone = VGGBackbone(tiny_vgg()) if kind == "vgg" else ResNetBackbone(tiny_resnet())
    model = FCN(backbone, stride, num_classes=3).eval()
    for score in model.score.values():
        nn.init.normal_(score.weight, std=0.1)
    return model


# Both


def test_they_give_logits_for_every_pixel():
    assert len(SEGMENTATION) == 5
    for name in SEGMENTATION:
        images = torch.empty(2, 4, 72, 56, device="meta")
        assert on_meta(name, num_classes=7, in_channels=4)(images).shape == (2, 7, 72, 56)


def test_the_table_marks_them(capsys):
    assert __main__.main(["fcn32s_vgg16", "lenet"]) == 0
    said = capsys.readouterr().out
    assert "fcn32s_vgg16 †" in said and "lenet  " in said and "† gives logits for every pixel" in said
    __main__.main(["lenet"])
    assert "†" not in capsys.readouterr().out


# FCN: a classifier's weights


def test_a_layer_as_a_convolution_computes_at_every_place_what_it_computes_from_the_window():
    torch.manual_seed(0)
    fc, x = nn.Linear(4 * 3 * 3, 5), torch.randn(2, 4, 6, 5)
    y = as_convolution(fc, 4, 3)(x)
    assert y.shape == (2, 5, 4, 3)
    for i in range(4):
        for j in range(3):
            torch.testing.assert_close(y[:, :, i, j], fc(x[:, :, i:i + 3, j:j + 3].flatten(1)))
    without = as_convolution(nn.Linear(4, 2, bias=False, dtype=torch.float64), 4, 1)
    assert without.bias is None and without.weight.dtype == torch.float64


def test_a_layer_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="takes 37 values; 4 maps of 3×3 have 36"):
        as_convolution(nn.Linear(37, 5), 4, 3)


def test_an_fcn_takes_the_weights_of_a_vgg_over_and_computes_the_same_from_them():
    torch.manual_seed(0)
    classifier, x = tiny_vgg(), torch.randn(2, 3, 224, 224)
    net = VGGBackbone(classifier).eval()
    theirs = [p for name, p in classifier.named_parameters() if not name.startswith("classifier.6.")]
    for ours, other in zip(net.parameters(), theirs, strict=True):
        assert ours.flatten().equal(other.flatten()) and ours.data_ptr() != other.data_ptr()
    fc7 = net.fc(net.to_32(net.to_16(net.to_8(x))))  # without the padding of the image, there is one place for fc6
    torch.testing.assert_close(fc7[:, :, 0, 0], classifier.classifier[:6](classifier.features(x).flatten(1)))
    assert fc7.shape == (2, 12, 1, 1) and not any(pool.ceil_mode for pool in classifier.features[2::3])


def test_an_fcn_has_vgg_16s_parameters_except_those_of_fc8():
    vgg16 = on_meta("vgg16")
    net = VGGBackbone(vgg16)
    assert net.channels == {8: 256, 16: 512, 32: 4096} and net.fc[0].weight.shape == (4096, 512, 7, 7)
    assert count_parameters(net) == count_parameters(vgg16) - 4097 * 1000
    assert count_parameters(on_meta("fcn32s_vgg16")) == count_parameters(net) + 4097 * 21
    net = fcn.fcn_vgg16(8, classifier=vgg16)
    assert {p.device.type for p in net.backbone.parameters()} == {"meta"}


def test_a_resnet_is_taken_over_too():
    torch.manual_seed(0)
    classifier, x = tiny_resnet(), torch.randn(2, 3, 40, 50)
    with torch.no_grad():
        last = ResNetBackbone(classifier).eval()(x)[32]
        torch.testing.assert_close(classifier.fc(last.mean(dim=(2, 3))), classifier(x))
    assert fcn.fcn_resnet50(8, classifier=classifier).backbone.channels == {8: 128, 16: 256, 32: 512}


# FCN: where the maps lie


def seen(net, size, stride, unit):
    """The first and last column of the image on which a unit of the maps of a stride depends."""
    for name, module in list(net.named_modules()):
        if isinstance(module, nn.MaxPool2d):  # which looks at one value only; the average looks at the same window
            pool = nn.AvgPool2d(module.kernel_size, module.stride, module.padding, module.ceil_mode)
            parent, _, last = name.rpartition(".")
            setattr(net.get_submodule(parent), last, pool)
        elif isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    x = torch.ones(1, 3, size, size, dtype=torch.float64, requires_grad=True)
    net.double()(x)[stride][0, 0, unit, unit].backward()
    columns = x.grad[0, 0].abs().sum(dim=0).nonzero().flatten()
    return columns[0].item(), columns[-1].item()


@pytest.mark.parametrize(("stride", "unit"), [(8, 40), (16, 24), (32, 8)])
def test_a_unit_of_vgg_stands_where_the_table_says_and_fc6_sees_404_pixels(stride, unit):
    layers = tuple(v if v == "pool" else 1 for v in vgg.CONFIGURATIONS["D"])
    classifier = tiny_vgg(widths=(1,))
    classifier.features = vgg.make_features(layers, 3, batch_norm=False)
    first, last = seen(VGGBackbone(classifier).eval(), 520, stride, unit)
    assert first > 0 and last < 519
    assert (first + last) / 2 == stride * unit + VGGBackbone.starts[stride]
    assert last - first + 1 == {8: 44, 16: 100, 32: 404}[stride]  # 404: table 1


@pytest.mark.parametrize(("stride", "unit"), [(8, 12), (16, 6), (32, 3)])
def test_a_unit_of_a_resnet_stands_on_a_multiple_of_the_stride(stride, unit):
    first, last = seen(ResNetBackbone(tiny_resnet()), 193, stride, unit)
    assert (first + last) / 2 == stride * unit == 96


def test_the_rows_and_columns_that_are_kept_are_those_of_the_authors():
    kept = {32: {"1": -19}, 16: {"16": 5, "1": -27}, 8: {"16": 5, "8": 9, "1": -31}}
    sizes = {32: {"1": 64}, 16: {"16": 4, "1": 32}, 8: {"16": 4, "8": 4, "1": 16}}
    for stride in (32, 16, 8):
        model = on_meta(f"fcn{stride}s_vgg16")
        assert {key: up.offset for key, up in model.up.items()} == kept[stride]
        assert {key: up.kernel_size[0] for key, up in model.up.items()} == sizes[stride]


@pytest.mark.parametrize("stride", [32, 16, 8])
@pytest.mark.parametrize(("kind", "size"), [("vgg", 58), ("vgg", 90), ("resnet", 65)])
def test_the_mirror_image_of_an_image_gives_the_mirror_image_of_the_result(stride, kind, size):
    model = tiny_fcn(stride, kind)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            w = layer.weight
            layer.weight.data = (w + w.flip(2) + w.flip(3) + w.flip(2, 3)) / 4
    x = torch.randn(1, 3, size, size + 32)
    with torch.no_grad():
        y = model(x)
        assert y.std() > 1e-3
        for axes in ((2,), (3,)):
            torch.testing.assert_close(model(x.flip(axes)), y.flip(axes), rtol=1e-3, atol=1e-4 * y.abs().max().item())


@pytest.mark.parametrize("kind", ["vgg", "resnet"])
def test_every_pixel_of_an_image_of_any_size_gets_a_score(kind):
    for stride in (32, 16, 8):
        model = tiny_fcn(stride, kind)
        for score in model.score.values():
            nn.init.zeros_(score.weight)
            nn.init.ones_(score.bias)
        for size in [*range(1, 36, 5), 57, 64, 100]:
            y = model(torch.zeros(1, 3, size, 100 - size // 2))
            assert y.shape == (1, 3, size, 100 - size // 2)
            assert (y > 0).all(), (stride, size)


# FCN: up-sampling


@pytest.mark.parametrize("factor", [2, 8, 32])
def test_upsampling_starts_as_bilinear_interpolation(factor):
    x = torch.randn(1, 3, 5, 4, dtype=torch.float64)
    even = Upsample(3, factor, 0.5).double()
    inside = slice(factor, -factor)
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    h = factor // 2  # what is not from four values: half a window of zeros around the maps
    torch.testing.assert_close(even(x)[:, :, inside, inside], expected[:, :, h:-h, h:-h])
    odd = Upsample(3, factor, 0, groups=3).double()
    size = (4 * factor + 1, 3 * factor + 1)
    expected = F.interpolate(x, size, mode="bilinear", align_corners=True)
    torch.testing.assert_close(odd(x)[:, :, factor - 1:1 - factor, factor - 1:1 - factor], expected)


def test_all_but_the_last_upsampling_is_learned():
    model = tiny_fcn(8)
    model(torch.randn(2, 3, 30, 30)).square().sum().backward()
    for name, p in model.named_parameters():
        assert (p.grad is None) is (name == "up.1.weight") is not p.requires_grad
        assert p.grad is None or p.grad.any(), name
    assert model.up["16"].weight.shape == (3, 3, 4, 4) and model.up["1"].weight.shape == (3, 1, 16, 16)


def test_the_first_loss_is_that_of_a_guess():
    model = FCN(VGGBackbone(tiny_vgg()), 8)
    loss = F.cross_entropy(model(torch.randn(1, 3, 20, 30)), torch.randint(21, (1, 20, 30)))
    assert loss.item() == pytest.approx(math.log(21))


def test_other_strides_are_refused():
    with pytest.raises(ValueError, match="stride is 4; the paper has 32, 16 and 8"):
        fcn.fcn_resnet50(4, classifier=tiny_resnet())


# ENet


def test_enets_blocks_have_the_sizes_of_table_1():
    model, seen = on_meta("enet", num_classes=12).eval(), {}
    for name, module in model.named_children():
        module.register_forward_hook(
            lambda m, x, y, name=name: seen.update({name: tuple((y[0] if isinstance(y, tuple) else y).shape[1:])}))
    model(torch.empty(1, 3, 512, 512, device="meta"))
    assert seen == {"initial": (16, 256, 256), "down1": (64, 128, 128), "stage1": (64, 128, 128),
                    "down2": (128, 64, 64), "stage2": (128, 64, 64), "stage3": (128, 64, 64), "up4": (64, 128, 128),
                    "stage4": (64, 128, 128), "up5": (16, 256, 256), "stage5": (16, 256, 256),
                    "fullconv": (12, 512, 512)}
    assert [len(stage) for stage in (model.stage1, model.stage2, model.stage3, model.stage4)] == [4, 8, 8, 2]


def test_sections_2_and_3_alternate_dilated_and_asymmetric_convolutions():
    model = on_meta("enet")
    for stage in (model.stage2, model.stage3):
        kinds = [[(m.kernel_size, m.dilation[0]) for m in block.branch if isinstance(m, nn.Conv2d)][1:-1]
                 for block in stage]
        long = [((5, 1), 1), ((1, 5), 1)]
        assert kinds == [[((3, 3), 1)], [((3, 3), 2)], long, [((3, 3), 4)], [((3, 3), 1)], [((3, 3), 8)], long,
                         [((3, 3), 16)]]


def test_maps_are_dropped_as_in_section_3():
    rates = [m.p for m in on_meta("enet").modules() if isinstance(m, nn.Dropout2d)]
    assert rates == 5 * [0.01] + 22 * [0.1]


def test_enet_has_the_papers_parameters_only_with_the_statistics_of_batch_norm():
    model = on_meta("enet")
    statistics = sum(b.numel() for name, b in model.named_buffers() if "running" in name)
    assert count_parameters(model) + statistics == 372_371
    assert NETWORKS["enet"].parameters.agrees(372_371) and round(29.46e6 / 372_371) == 79  # of SegNet's: abstract


def silent(block):
    """The block, in evaluation mode, with nothing from its branch, and with a slope of 1/4 below 0."""
    nn.init.zeros_(block.branch[-2].weight)
    return block.eval()


def leaky(x):
    return F.leaky_relu(x, 0.25)


def test_a_bottleneck_adds_its_input_and_maps_of_zeros():
    x = torch.randn(2, 4, 6, 8)
    torch.testing.assert_close(silent(Bottleneck(4, 4, 0.1, "asymmetric", 5))(x), leaky(x))
    y = silent(Bottleneck(4, 8, 0.1, "dilated", 4))(x)
    torch.testing.assert_close(y[:, :4], leaky(x))
    assert y.shape == (2, 8, 6, 8) and not y[:, 4:].any()


def test_upsampling_puts_values_where_the_maxima_were_that_downsampling_took():
    torch.manual_seed(0)
    x = torch.randn(2, 4, 6, 8)
    small, indices = silent(Downsampling(4, 8, 0.1))(x)
    largest = x.unflatten(2, (3, 2)).unflatten(4, (4, 2)).amax(dim=(3, 5))
    torch.testing.assert_close(small[:, :4], leaky(largest))
    assert small.shape == (2, 8, 3, 4) and not small[:, 4:].any()
    up = silent(Upsampling(8, 4, 0.1))
    nn.init.zeros_(up.project[0].weight)
    nn.init.ones_(up.project[1].bias)  # so there is a 1 wherever a value is put
    is_largest = x == largest.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert up(small, indices).equal(is_largest.float())


def test_the_initial_block_has_the_image_beside_13_filters():
    block = Initial(3).eval()
    for H, W in ((8, 6), (7, 5)):
        x = torch.rand(1, 3, H, W)
        y = block(x)
        assert y.shape == (1, 16, 4, 3)
        expected = F.max_pool2d(x, 2, ceil_mode=True)
        torch.testing.assert_close(y[:, 13:] * (1 + 1e-3) ** 0.5, expected)


def test_every_parameter_of_enet_gets_a_gradient():
    torch.manual_seed(0)
    model = create("enet", num_classes=3)
    F.cross_entropy(model(torch.randn(2, 3, 32, 40)), torch.randint(3, (2, 32, 40))).backward()
    for name, p in model.named_parameters():
        assert p.grad.isfinite().all() and p.grad.any(), name


def test_enet_refuses_images_that_it_cannot_halve_three_times():
    with pytest.raises(ValueError, match="images are 40×36; ENet takes sides that are multiples of 8") as error:
        on_meta("enet")(torch.empty(1, 3, 40, 36, device="meta"))
    assert "\n" not in str(error.value)


def test_the_classifier_costs_less_than_half_of_resnet_18():
    ours, resnet18 = (count_multiply_adds(on_meta(name), (3, 224, 224)) for name in ("enet_classifier", "resnet18"))
    assert round(2 * ours / 1e9, 1) == 1.6 and round(2 * resnet18 / 1e9, 1) == 3.6  # G-ops, as its author has them
    dropped = [m.p for m in on_meta("enet_classifier").modules() if isinstance(m, nn.Dropout2d)]
    assert sorted(dropped) == 5 * [0.01] + 7 * [0.1]
