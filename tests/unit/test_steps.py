"""A check of a class: an object is made, its methods called and attributes read, one after the other."""

import json
from dataclasses import replace

import numpy as np
import pytest

from autograder.exercise import Exercise, Mistake, call, draw_hidden, ship
from cnnlab import report
from cnnlab.calls import Local
from cnnlab.checks import judge
from cnnlab.probes import from_json, to_json


class Scale:
    """Oracle: y = w x."""

    def __init__(self, w):
        self.w, self.grad = w, None

    def forward(self, x):
        self.x = x
        return self.w * x

    def backward(self, dy):
        self.grad = (dy * self.x).sum()
        return self.w * dy


class PilesUp(Scale):
    def backward(self, dy):
        old = self.grad or 0.0
        dx = super().backward(dy)
        self.grad += old
        return dx


class Stub:
    def __init__(self, w):
        self.w = w

    def forward(self, x):
        raise NotImplementedError()


def steps(seed):
    a, b = np.random.default_rng(seed).integers(-4, 5, (2, 3)).astype(float) + 0.5
    return [("forward", {"x": a}), ("backward", {"dy": b}), ("grad", None), ("backward", {"dy2": a}), ("grad", None)]


EXERCISE = Exercise(
    "scale", 1, Scale, [call(2.0, steps=steps(0))], lambda rng: call(3.0, steps=steps(rng.integers(99))),
    [Mistake("piles_up", "The gradient of the last call is still in it.", PilesUp)], [Scale, Scale], ["?"] * 4)


@pytest.fixture
def shipped():
    return from_json(json.loads(json.dumps(to_json(ship(EXERCISE, "Scale")))))


def test_a_right_class_passes_also_what_the_grader_draws(shipped):
    verdict = judge(shipped, Local(Scale), draw_hidden(EXERCISE, "Scale", 1).probes)
    assert verdict.score == 1 and len(verdict.outcomes) == 7


def test_a_mistake_is_named_and_the_step_shown(shipped):
    verdict = judge(shipped, Local(PilesUp))
    assert verdict.mistake == "piles_up"
    text = report.text(verdict)
    assert ("Called: `layer = Scale(2.0)`, then `layer.forward(x)`, then `layer.backward(dy)`, then `layer.grad`, "
            "then `layer.backward(dy2)`, then `layer.grad` with x of shape (3,), dy of shape (3,)") in text
    assert "`layer.grad`: " in text


def test_a_class_that_is_not_written_says_so(shipped):
    verdict = judge(shipped, Local(Stub))
    assert "not written yet" in report.text(verdict)
    assert verdict.score == 0


def test_a_missing_method_is_named(shipped):
    class Half(Scale):
        backward = None

    assert "NoneType" in report.text(judge(shipped, Local(Half)))
    assert "no attribute 'forward'" in report.text(judge(shipped, Local(type("Empty", (), {"__init__": Scale.__init__}))))


def test_a_method_that_changes_its_input_is_told_which(shipped):
    class Changes(Scale):
        def backward(self, dy):
            dx = super().backward(dy)
            dy *= 0
            return dx

    verdict = judge(shipped, Local(Changes))
    assert "`dy` is not what it was" in report.text(verdict)


def test_inputs_of_steps_count_for_the_smallest_failing_probe(shipped):
    (probe,) = shipped.probes
    assert probe.size == 1 + 4 * 3 - 3
    assert replace(probe, steps=()).size == 1
