"""Modules on our kernels are PyTorch's: same outputs, same gradients, same state; networks train with them alike."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from solutions.gpu import layers
from solutions.gpu.layers import use_kernels

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

PAIRS = {
    "convolution": (nn.Conv2d(3, 5, (3, 2), stride=(2, 1), padding=1, dilation=(1, 2)), (2, 3, 9, 8)),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2, bias=False), (2, 4, 6, 7)),
    "depthwise": (nn.Conv2d(5, 5, 3, padding=1, groups=5), (2, 5, 6, 7)),
    "max pooling": (nn.MaxPool2d(3, stride=2, padding=1), (2, 3, 8, 7)),
    "average pooling": (nn.AvgPool2d(2, padding=1), (2, 3, 7, 6)),
    "batch norm": (nn.BatchNorm2d(4, eps=1e-3, momentum=0.2), (3, 4, 5, 6)),
}


def both(module):
    """A copy of the module on PyTorch, and one on our kernels, with equal parameters."""
    theirs = copy.deepcopy(module).to(DEVICE)
    ours = use_kernels(copy.deepcopy(theirs))
    assert type(ours) is not type(theirs) and isinstance(ours, type(theirs))
    return ours, theirs


def gradients(module, x, dy):
    x = x.clone().requires_grad_()
    y = module(x)
    return y.detach(), *torch.autograd.grad((y * dy).sum(), [x, *module.parameters()])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", PAIRS)
def test_outputs_gradients_and_running_statistics_are_pytorchs(name, layout):
    torch.manual_seed(0)
    (module, shape) = PAIRS[name]
    (ours, theirs), x = both(module), torch.randn(shape, device=DEVICE).to(memory_format=layout)
    dy = torch.randn_like(theirs(x))
    for a, b in zip(gradients(ours.train(), x, dy), gradients(theirs.train(), x, dy), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert ours(x).is_contiguous(memory_format=layout)
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-4, atol=1e-5)


def test_the_running_statistics_move_as_pytorchs():
    ours, theirs = both(nn.BatchNorm2d(4, momentum=0.2))
    for seed in range(3):
        x = 2 + torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(seed)).to(DEVICE)
        ours(x), theirs(x)
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value, rtol=1e-5, atol=1e-6)


def test_in_evaluation_mode_gradients_still_come_back():
    ours, theirs = both(nn.BatchNorm2d(4))
    x = torch.randn(2, 4, 3, 3, device=DEVICE)
    for a, b in zip(gradients(ours.eval(), x, x), gradients(theirs.eval(), x, x), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("make", [
    lambda: layers.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), lambda: layers.Conv2d(1, 1, 3, padding="same"),
    lambda: layers.MaxPool2d(2, ceil_mode=True), lambda: layers.AvgPool2d(2, padding=1, count_include_pad=False),
    lambda: layers.BatchNorm2d(2, affine=False)])
def test_what_the_kernels_do_not_do_is_refused(make):
    with pytest.raises(ValueError, match="there is no kernel for .*: "):
        make()


def test_what_the_kernels_do_not_do_stays_pytorchs():
    net = use_kernels(nn.Sequential(nn.Conv2d(1, 1, 3), nn.MaxPool2d(2, ceil_mode=True), nn.ReLU()))
    assert [type(m) for m in net] == [layers.Conv2d, nn.MaxPool2d, nn.ReLU]


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Conv2d(4, 4, 3, groups=4), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 3))


def test_training_takes_the_same_course():
    x = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    labels, losses = torch.tensor([0, 1, 2, 0, 1, 2], device=DEVICE), []
    for net, loss in ((use_kernels(small_net()), layers.CrossEntropyLoss()), (small_net(), F.cross_entropy)):
        net.to(DEVICE).train()
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        course = []
        for _ in range(5):
            value = loss(net(x), labels)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            course.append(value.item())
        losses.append(course)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4) and losses[0][-1] < losses[0][0]
