"""A check of a PyTorch module: weights are set, it is used, and what comes out is data."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from autograder.exercise import FORBIDDEN_TORCH, Exercise, Mistake, call, draw_hidden, ship
from cnnlab import modules, report
from cnnlab.calls import Local
from cnnlab.checks import judge
from cnnlab.probes import from_json, to_json


class Residual(nn.Module):
    """Oracle: relu(x + bn(conv(x))), with a projection where the number of channels changes."""

    bias, add_input = False, True

    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, padding=1, bias=self.bias)
        self.bn = nn.BatchNorm2d(c_out)
        self.shortcut = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1, bias=False)

    def forward(self, x):
        y = self.bn(self.conv(x))
        return torch.relu(y + self.shortcut(x) if self.add_input else y)


class NamedOtherwise(nn.Module):
    """The same, written in another order and with other names."""

    def __init__(self, c_in, c_out):
        super().__init__()
        if c_in != c_out:
            self.project = nn.Sequential(nn.Conv2d(c_in, c_out, (1, 1), bias=False))
        self.body = nn.Sequential(nn.Conv2d(c_in, c_out, 3, 1, 1, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x):
        return nn.functional.relu(self.body(x) + (self.project(x) if hasattr(self, "project") else x))


class NoSkip(Residual):
    add_input = False


class Biased(Residual):
    bias = True


class InPlace(Residual):
    def forward(self, x):
        return super().forward(x.relu_())


def probes(rng):
    for c_in, c_out, mode in [(2, 3, "eval"), (3, 3, "train")]:
        x = rng.integers(-8, 9, (2, c_in, 4, 5)) / 4
        yield call(c_in, c_out, steps=[
            ("layers", {"input_size": (2, c_in, 4, 5)}), ("count_parameters", {}), ("set_weights", {"seed": 1}), (mode, {}),
            ("forward", {"x": x}), ("gradient", {"x2": x, "dy": rng.integers(-4, 5, (2, c_out, 4, 5)) / 4})], device="cpu")


EXERCISE = Exercise(
    "residual", 1, Residual, list(probes(np.random.default_rng(0))), lambda rng: next(probes(rng)),
    [Mistake("no_skip", "The input is not added.", NoSkip), Mistake("biased", "A bias before batch norm.", Biased)],
    [NamedOtherwise, NamedOtherwise], ["?"] * 4, FORBIDDEN_TORCH)


@pytest.fixture
def shipped():
    return from_json(json.loads(json.dumps(to_json(ship(EXERCISE, "Residual")))))


@pytest.mark.parametrize("answer", [Residual, NamedOtherwise])
def test_a_right_module_passes_whatever_its_layers_are_called(shipped, answer):
    verdict = judge(shipped, Local(answer), draw_hidden(EXERCISE, "Residual", 1).probes)
    assert verdict.score == 1, verdict.shown
    assert len(verdict.outcomes) == 8


def test_a_mistake_is_named_and_the_first_layer_that_differs_shown(shipped):
    assert judge(shipped, Local(NoSkip)).mistake == "no_skip"
    verdict = judge(shipped, Local(Biased))
    assert verdict.mistake == "biased"
    assert ("`layers(net, (2, 2, 4, 5))`, at [0]: It returned 'Conv2d (3, 2, 3, 3) + bias -> (2, 3, 4, 5)', expected "
            "'Conv2d (3, 2, 3, 3) -> (2, 3, 4, 5)'." in report.text(verdict))
    assert ("Called: `net = Residual(2, 3)`, then `layers(net, (2, 2, 4, 5))`, then `count_parameters(net)`, then "
            "`set_weights(net, 1)`, then `net.eval()`, then `net(x)`, then `gradient(net, x2, dy)` with x of shape (2, 2, 4, 5)"
            in report.text(verdict))


class Unwritten(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        raise NotImplementedError()


def test_a_class_that_calls_an_unwritten_one_is_not_told_that_it_is_not_written_itself(shipped):
    class Calls(nn.Module):
        def __init__(self, c_in, c_out):
            super().__init__()
            self.block = Unwritten(c_in, c_out)

    assert "It calls `Unwritten`, which is not written yet." in report.text(judge(shipped, Local(Calls)))
    assert "not written yet" in report.text(judge(shipped, Local(Unwritten))).splitlines()[0]


def test_a_module_that_changes_its_input_is_told(shipped):
    assert "`x` is not what it was" in report.text(judge(shipped, Local(InPlace)))


def test_layers_say_what_is_used_and_how_large_it_is():
    net = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 4 * 4, 10, bias=False))
    assert modules.layers(net, (3, 1, 8, 8)) == (
        "Conv2d (6, 1, 5, 5) + bias -> (3, 6, 4, 4)", "Linear (10, 96) -> (3, 10)")


def test_shapes_are_sorted_and_those_of_several_outputs_told_one_by_one():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Conv2d(1, 4, (1, 3))

        def forward(self, x):
            return self.b(x), self.a(x)

    assert modules.weight_shapes(Two()) == ("(4, 1, 1, 3)", "(2, 3)", "(2,)", "(4,)")
    assert modules.output_shape(Two(), (5, 1, 2, 3)) == ((5, 4, 2, 1), (5, 1, 2, 2))


def test_a_large_network_is_looked_at_without_its_memory():
    def large():
        return nn.Sequential(nn.Flatten(), nn.Linear(10**6, 10**6))

    with modules.on("meta"):
        assert modules.layers(large(), (2, 10**6)) == ("Linear (1000000, 1000000) + bias -> (2, 1000000)",)


def test_set_weights_depends_on_shapes_alone_and_keeps_the_signal():
    a, b = Residual(3, 8), NamedOtherwise(3, 8)
    x = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    for net in (a, b):
        modules.set_weights(net, 5)
    torch.testing.assert_close(a(x), b(x), rtol=1e-12, atol=1e-12)
    assert (a.bn.running_var > 0).all() and 0.1 < a.eval()(x).std() < 10
    modules.set_weights(b, 6)
    assert not torch.allclose(a.conv.weight, b.body[0].weight)


def test_functions_of_tensors_get_tensors_and_give_arrays():
    seen = []

    def double(x, k):
        seen.append(type(x))
        return 2 * x, (k, x.sum())

    exercise = Exercise("double", 1, double, [call(np.float32([1, 2]), 3, device="cpu")], None, [], [], [],
                        FORBIDDEN_TORCH)
    verdict = judge(ship(exercise, "double"), Local(double))
    assert verdict.score == 1 and set(seen) == {torch.Tensor}
    (whole,), (three, total) = verdict.outcomes[0].reply.value[0][:1], verdict.outcomes[0].reply.value[1]
    assert whole == 2 and three == 3 and isinstance(total, np.ndarray)


def test_what_is_random_is_the_same_for_everyone():
    def noisy(x):
        return x + torch.rand(3)

    before = torch.random.get_rng_state()
    exercise = Exercise("noisy", 1, noisy, [call(np.zeros(3, np.float32), device="cpu")], None, [], [], [],
                        FORBIDDEN_TORCH)
    assert judge(ship(exercise, "noisy"), Local(noisy)).score == 1
    assert torch.equal(before, torch.random.get_rng_state())
