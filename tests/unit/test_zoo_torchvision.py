"""Weights go from torchvision to the zoo and back by key and shape; where it is installed, outputs are equal."""

import hashlib
import math

import pytest
import torch

from solutions.gpu.models import NETWORKS, create, load_torchvision, to_torchvision
from solutions.gpu.models.convert import COUNTERPARTS, torchvision_keys

# layout(model.state_dict()) of torchvision 0.28's networks, which the last test but one computes.
LAYOUTS = {
    "alexnet": "9c198ebd",
    "vgg11": "cb3dc23f", "vgg11_bn": "8b6717e7", "vgg13": "67c1dc8b", "vgg13_bn": "f6b0597d",
    "vgg16": "35c4623e", "vgg16_bn": "34737158", "vgg19": "4723255a", "vgg19_bn": "fc3ff6fa",
    "googlenet": "7f541ca2", "inception_v3": "aab0ac2c",
    "resnet18": "84fb10d9", "resnet34": "28f9096d", "resnet50": "d7e4f8bb", "resnet101": "02c0f34f",
    "resnet152": "685c6620",
    "wide_resnet50_2": "41203d1d", "wide_resnet101_2": "4f088c0a",
    "resnext50_32x4d": "e3bad165", "resnext101_32x8d": "da7dd752", "resnext101_64x4d": "90caac80",
    "densenet121": "aa0fd992", "densenet161": "82d337d4", "densenet169": "e2d0f02d", "densenet201": "0d234ad7",
    "mobilenet_v2": "37bbbce8",
    "efficientnet_b0": "a04d0792", "efficientnet_b1": "9aaba074", "efficientnet_b2": "a6d3677e",
    "efficientnet_b3": "49511144", "efficientnet_b4": "2974b9d3", "efficientnet_b5": "281af15a",
    "efficientnet_b6": "c32e05b4", "efficientnet_b7": "3d2a7737",
}
WITH_HEADS = ("googlenet", "inception_v3")  # auxiliary heads, which a network of torchvision has unless told not to


def layout(state_dict):
    """All keys and shapes, in their order, as eight hexadecimal digits."""
    text = "\n".join(f"{key} {tuple(tensor.shape)}" for key, tensor in state_dict.items())
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def on_meta(name, **arguments):
    with torch.device("meta"):
        return create(name, **arguments)


def filled(model):
    """The model with random weights; quicker than drawing each, they are slices of the same noise."""
    noise = torch.randn(2**20, generator=torch.Generator().manual_seed(0))
    model = model.to_empty(device="cpu")
    for i, (key, tensor) in enumerate(model.state_dict().items()):
        n = tensor.numel()
        if key.endswith("num_batches_tracked"):
            tensor.fill_(i)
        else:
            values = (noise[i:].repeat(math.ceil(n / 2**19)) if n > 2**19 else noise[i:])[:n].view_as(tensor)
            tensor.copy_(values.abs() + 0.5 if tensor.ndim == 1 else values * (2 / tensor[0].numel()) ** 0.5)
    return model.eval()


def same(ours, theirs, size=64, classes=1000, channels=3):
    x = torch.randn(2, channels, size, size + 8)
    with torch.no_grad():
        y = theirs(x)
        assert y.shape == (2, classes) and y.std() > 0.01
        torch.testing.assert_close(ours.eval()(x), y, rtol=1e-4, atol=1e-4 * y.std().item())


@pytest.mark.parametrize("name", COUNTERPARTS)
def test_a_counterpart_has_torchvisions_keys_and_shapes(name):
    model = on_meta(COUNTERPARTS[name], **({"aux_heads": True} if name in WITH_HEADS else {}))
    keys = torchvision_keys(model)
    assert layout({keys[key]: tensor for key, tensor in model.state_dict().items()}) == LAYOUTS[name]


@pytest.mark.parametrize(("name", "arguments"), [
    ("resnet18", {"num_classes": 7, "in_channels": 2}), ("googlenet_torchvision", {"aux_heads": True}),
    ("googlenet_torchvision", {"aux_heads": False, "num_classes": 3}),
    ("inception_v3", {"aux_heads": True, "num_classes": 5}), ("inception_v3", {"aux_heads": False, "in_channels": 1}),
    ("densenet121", {"num_classes": 4, "in_channels": 1}), ("mobilenet_v2", {"num_classes": 2}),
    ("efficientnet_b0", {"num_classes": 2})])
def test_weights_go_there_and_come_back(name, arguments):
    model = filled(on_meta(name, **arguments))
    back = load_torchvision(NETWORKS[name].torchvision, to_torchvision(model))
    assert repr(back) == repr(model)
    for (key, tensor), (ours, copy) in zip(model.state_dict().items(), back.state_dict().items(), strict=True):
        assert ours == key and copy.equal(tensor) and copy.data_ptr() != tensor.data_ptr(), key
    assert back.training and all(p.requires_grad and p.dtype == torch.float32 for p in back.parameters())


def test_half_precision_becomes_float32_and_counts_of_batches_may_be_missing():
    state = to_torchvision(filled(on_meta("resnet18", num_classes=2)).half())
    state = {key: tensor for key, tensor in state.items() if not key.endswith("num_batches_tracked")}
    model = load_torchvision("resnet18", state)
    assert model.fc.weight.dtype == torch.float32 and model.fc.weight.half().equal(state["fc.weight"])
    assert model.bn1.num_batches_tracked == 0


def test_what_does_not_fit_is_refused_in_one_sentence():
    state = to_torchvision(on_meta("resnet18"))
    for name, wrong, sentence in [
            ("resnet18", {k: t for k, t in state.items() if not k.startswith("layer4.1")},
             "lacks 'layer4.1.conv1.weight' and 9 more$"),
            ("resnet18", {k: t for k, t in state.items() if k != "fc.weight"}, "lacks 'fc.weight'$"),
            ("resnet18", state | {"epoch": 3}, "also has 'epoch'$"),
            ("resnet18", {f"module.{k}": t for k, t in state.items()}, "lacks 'conv1.weight'.*also has 'module.conv1"),
            ("resnet34", state, "torchvision's resnet34: it lacks 'layer1.2.conv1.weight' and 79 more$"),
            ("resnet18", state | {"bn1.weight": state["layer2.0.bn1.weight"]},
             r"'bn1.weight' has shape \(128,\).*\(64,\)"),
            ("resnet50_v1_5", state, "no torchvision network of this zoo; there are .*resnet50,")]:
        with pytest.raises(ValueError, match=sentence) as error:
            load_torchvision(name, wrong)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["resnet50", "plain18", "googlenet", "alexnet", "vgg16_c", "vgg11_lrn", "lenet",
                                  "cifar_wide_resnet16_8", "se_resnet50", "cifar_densenet40_12", "mobilenet_v2_1_4"])
def test_a_network_that_torchvision_computes_otherwise_is_refused(name):
    with pytest.raises(ValueError, match="torchvision has no .* like this one.*resnet50_v1_5"):
        to_torchvision(on_meta(name))


@pytest.mark.parametrize("name", COUNTERPARTS)
def test_torchvisions_weights_give_torchvisions_outputs(name):
    models = pytest.importorskip("torchvision").models
    heads = {"aux_logits": True, "init_weights": False} if name in WITH_HEADS else {}
    with torch.device("meta"):
        theirs = models.get_model(name, **heads)
    assert layout(theirs.state_dict()) == LAYOUTS[name]
    theirs = filled(theirs)
    ours = load_torchvision(name, theirs.state_dict())
    same(ours, theirs, size=80 if name == "inception_v3" else 64)
    if name in WITH_HEADS:
        size = 299 if name == "inception_v3" else 64
        x = torch.randn(2, 3, size, size)
        for model in (ours.train(), theirs.train()):
            for module in model.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0
        with torch.no_grad():
            logits, *heads = theirs(x)  # the last head first
            for a, b in zip(ours(x), (logits, *reversed(heads)), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * b.std().item())


def test_torchvisions_pretrained_googlenet_normalises_the_image_again():
    models = pytest.importorskip("torchvision").models
    with torch.device("meta"):
        theirs = models.googlenet(aux_logits=False, init_weights=False, transform_input=True)
    theirs = filled(theirs)
    ours = load_torchvision("googlenet", theirs.state_dict()).eval()
    image = torch.rand(1, 3, 64, 64)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        torch.testing.assert_close(ours((image - 0.5) / 0.5), theirs((image - mean) / std), rtol=1e-3, atol=1e-3)
