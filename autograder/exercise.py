"""What an exercise is: one entry in `autograder/exercises/`, from which everything else follows."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from cnnlab import launch
from cnnlab.calls import carry_out, copied, name_of_error
from cnnlab.compare import same
from cnnlab.probes import Probe, Raises, Shipped, decode, encode

HIDDEN_PROBES = 6  # drawn afresh for each grading run

# What the NumPy exercises do without: it would do the work for them.
FORBIDDEN = ("torch", "scipy.signal", "scipy.ndimage", "cnnlab.layers")

# What those in PyTorch do without, for the same reason.
FORBIDDEN_TORCH = ("torchvision", "timm", "scipy.ndimage", "cnnlab.layers")


@dataclass(frozen=True)
class Mistake:
    """A misconception as runnable code.

    name: a word or two with underscores.
    says: what a good teaching assistant would say, in a sentence or two, without the solution.
    run: a function like the student's, wrong in this one way.
    """

    name: str
    says: str
    run: Callable


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    id: the name in `check("id", ...)`; unique in the course.
    points: what a full answer earns.
    oracle: a trusted, independent implementation with the student's signature: a function, or a class.
    probes: calls whose inputs tell wrong answers apart; shown to the student when they fail.
    random: draws one more such call from a NumPy generator, for the grader; None without arguments.
    mistakes: known wrong answers.
    alternatives: at least two correct answers, each written differently.
    hints: a question; a picture or tiny worked case; pseudocode with shapes; the reason.
    forbidden: modules that an answer may not use.
    """

    id: str
    points: float
    oracle: Callable
    probes: list[Probe]
    random: Callable[[np.random.Generator], Probe] | None
    mistakes: list[Mistake]
    alternatives: list[Callable]
    hints: list[str]
    forbidden: tuple[str, ...] = FORBIDDEN


def call(*args, part: str = "", steps: tuple = (), device: str = "", grid: tuple[int, ...] = (),
         written: tuple[int, ...] = (), **kwargs) -> Probe:
    """A probe: the student's function will be called with these arguments.

    steps: for a class, what is done with the object, as in cnnlab.probes.Probe:
    `call(weight, steps=[("forward", {"x": x}), ("backward", {"dy": dy}), ("grad_weight", None)])`.
    device: "cpu" or "meta" for an exercise in PyTorch, as there:
    `call(3, 8, steps=[("set_weights", {"seed": 1}), ("eval", None), ("forward", {"x": x})], device="cpu")`.
    grid, written: for a kernel, as there; the oracle is a function that returns what the written arguments hold
    afterwards: `call(x, y, 19, BLOCK=8, grid=(3,), written=(1,), device="cpu")`.
    """
    return Probe(args, kwargs, part=part, steps=tuple(steps), device=device, grid=grid, written=written)


def load_all() -> dict[str, list[Exercise]]:
    """Every exercise, by notebook slug, in the order of the course."""
    import autograder.exercises as package

    slugs = sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name[0].isdigit())
    return {s: importlib.import_module(f"autograder.exercises.{s}").EXERCISES for s in slugs}


def ship(exercise: Exercise, function: str) -> Shipped:
    """The exercise as data for the student: oracle and mistakes evaluated on the visible probes."""
    return _evaluate(exercise, function, exercise.probes)


def draw_hidden(exercise: Exercise, function: str, seed: int) -> Shipped | None:
    """Fresh probes for the grader, in the same form; the same seed gives the same probes."""
    if exercise.random is None:
        return None
    rng = np.random.default_rng([seed, *exercise.id.encode()])
    return _evaluate(exercise, function, [exercise.random(rng) for _ in range(HIDDEN_PROBES)])


def _evaluate(exercise, function, probes):
    if any(p.grid for p in probes) and (problem := launch.obstacle()):
        raise ValueError(f"{exercise.id}: {problem}")
    filled = []
    for probe in map(_as_shipped, probes):
        expected = answer(exercise.oracle, probe)
        if isinstance(expected, Raises):
            raise ValueError(f"{exercise.id}: the oracle itself raises {expected.name} on a probe.")
        filled.append(replace(probe, expected=expected, mistakes=WrongAnswers(exercise.mistakes, probe, expected)))
    return Shipped(exercise.id, exercise.points, function,
                   tuple(inspect.signature(exercise.oracle).parameters), tuple(filled),
                   {m.name: m.says for m in exercise.mistakes}, tuple(exercise.hints),
                   exercise.forbidden)


class WrongAnswers(Mapping):
    """What each mistake returns for a probe, by name, where that is not what is expected.

    Worked out when it is asked for: a grader asks only if an answer is wrong, and then only for the mistakes that
    fit what it saw before.
    """

    def __init__(self, mistakes: list[Mistake], probe: Probe, expected):
        self._run = {m.name: m.run for m in mistakes}
        self._probe, self._expected, self._known = probe, expected, {}

    def __getitem__(self, name):
        if name not in self._known:
            self._known[name] = answer(self._run[name], self._probe)
        if _equal(self._expected, self._known[name]):
            raise KeyError(name)
        return self._known[name]

    def __iter__(self):
        return (name for name in self._run if name in self)

    def __len__(self):
        return sum(1 for _ in self)


def _as_shipped(probe):
    """The probe with its inputs as they will be read from JSON, rounded there to 13 digits.

    Expected values must belong to these inputs: after a cancellation the difference would show.
    """
    return probe.mapped(lambda value: decode(encode(value)))


def answer(function: Callable, probe: Probe):
    """What `function` gives for the probe, on copies of its inputs, or Raises."""
    try:
        with np.errstate(all="ignore"):
            return carry_out(function, copied(probe))
    except Exception as e:  # noqa: BLE001  a mistake may fail in any way; which one is the data
        return Raises(name_of_error(e))


def _equal(expected, value):
    return not isinstance(value, Raises) and same(expected, value)
